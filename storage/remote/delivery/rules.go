// Copyright The Prometheus Authors
// Licensed under the Apache License, Version 2.0 (the "License");
// you may not use this file except in compliance with the License.
// You may obtain a copy of the License at
//
// http://www.apache.org/licenses/LICENSE-2.0
//
// Unless required by applicable law or agreed to in writing, software
// distributed under the License is distributed on an "AS IS" BASIS,
// WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
// See the License for the specific language governing permissions and
// limitations under the License.

package delivery

import (
	"strings"
	"sync"

	"go.yaml.in/yaml/v2"

	"github.com/ackwal/ackwal/storage/remote/delivery/internal/queue"
	"github.com/ackwal/ackwal/tsdb/wlog/series"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/relabel"
	"github.com/prometheus/prometheus/tsdb/chunks"
)

// verdict is what the rules make of one series.
type verdict uint64

const (
	unjudged        verdict = iota
	keep                    // Sent with its own labels and the external ones.
	drop                    // Not sent.
	change                  // Sent with other labels, see rules.changed.
	verdictBits     = 2
	verdictsPerWord = 64 / verdictBits
	wordsPerPage    = 128
	refsPerPage     = wordsPerPage * verdictsPerWord
)

// rules applies external labels and write_relabel_configs. Endpoints with equal
// ones share one, and with it the results: two bits per series, and labels only
// for series that a rule changes. Without rules nothing at all is stored:
// external labels are merged while encoding.
//
// mu guards the results; configs and external never change.
type rules struct {
	external []labels.Label // Sorted by name.
	configs  []*relabel.Config

	mu      sync.RWMutex
	pages   map[chunks.HeadSeriesRef]*[wordsPerPage]uint64
	changed map[chunks.HeadSeriesRef]labels.Labels

	gone goneSeries // Has a lock of its own.
}

func newRules(external labels.Labels, configs []*relabel.Config) *rules {
	r := &rules{
		configs: configs,
		pages:   map[chunks.HeadSeriesRef]*[wordsPerPage]uint64{},
		changed: map[chunks.HeadSeriesRef]labels.Labels{},
	}
	external.Range(func(l labels.Label) { r.external = append(r.external, l) })
	return r
}

// rulesKey identifies equal rules.
func rulesKey(external labels.Labels, configs []*relabel.Config) (string, error) {
	b, err := yaml.Marshal(configs)
	var key strings.Builder
	key.WriteString(external.String() + "\n" + string(b))
	for _, c := range configs {
		key.WriteString(c.NameValidationScheme.String()) // Not part of the YAML.
	}
	return key.String(), err
}

// judgement is the outcome for one series.
type judgement struct {
	drop    bool
	changed bool          // Else the series is sent with its own labels and the external ones.
	labels  labels.Labels // If changed, external ones included.
}

// judge returns the outcome for every series that each yields. One lock
// operation serves the whole request, unless series are new. Rules are applied
// without a lock: regular expressions take their time, and an endpoint that
// catches up is not to hold up those that share the rules with it (I5).
func (r *rules) judge(n int, at func(int) *series.Series, out []judgement) []judgement {
	out = out[:0]
	if len(r.configs) == 0 {
		return append(out, make([]judgement, n)...)
	}
	var toJudge, gone []int
	r.mu.RLock()
	for i := range n {
		s := at(i)
		j, v := r.lookup(s)
		switch {
		case v != unjudged:
		case s.Gone():
			gone = append(gone, i)
		default:
			toJudge = append(toJudge, i)
		}
		out = append(out, j)
	}
	r.mu.RUnlock()
	if gone = r.gone.find(gone, at, out); len(gone) > 0 {
		r.gone.remember(r.decideAll(gone, at, out))
	}
	if len(toJudge) > 0 {
		r.store(r.decideAll(toJudge, at, out))
	}
	return out
}

// decided is what the rules make of a series, before it is stored.
type decided struct {
	judgement
	bytes int // What the series and its labels take if no table has them.
}

// decideAll applies the rules to those of some series that which says, to each of
// them once, and puts the outcomes in their places.
func (r *rules) decideAll(which []int, at func(int) *series.Series, out []judgement) map[*series.Series]decided {
	all := make(map[*series.Series]decided, len(which))
	b := labels.NewBuilder(labels.EmptyLabels())
	for _, i := range which {
		s := at(i)
		d, ok := all[s]
		if !ok {
			d = r.decide(s, b)
			all[s] = d
		}
		out[i] = d.judgement
	}
	return all
}

// lookup returns the stored outcome. There is none for a series that has left
// the table: its ref may mean another by now. A series leaves before its
// outcome is forgotten, and that is forgotten before the ref means another,
// so that under mu one look at the series will do. Callers hold mu.
func (r *rules) lookup(s *series.Series) (judgement, verdict) {
	if s.Gone() {
		return judgement{}, unjudged
	}
	ref := s.Ref()
	v := unjudged
	if pg := r.pages[ref/refsPerPage]; pg != nil {
		word, shift := wordOf(ref)
		v = verdict(pg[word]>>shift) & (1<<verdictBits - 1)
	}
	switch v {
	case keep:
		return judgement{}, v
	case change:
		return judgement{changed: true, labels: r.changed[ref]}, v
	default:
		return judgement{drop: true}, v
	}
}

func wordOf(ref chunks.HeadSeriesRef) (word, shift uint) {
	i := uint(ref % refsPerPage)
	return i / verdictsPerWord, i % verdictsPerWord * verdictBits
}

// decide applies the rules to a series.
func (r *rules) decide(s *series.Series, b *labels.Builder) decided {
	own := s.Labels()
	b.Reset(own)
	for _, l := range r.external {
		if b.Get(l.Name) == "" {
			b.Set(l.Name, l.Value)
		}
	}
	merged := b.Labels()
	d := decided{judgement{drop: true}, queue.DetachedBytes(own)}
	if relabel.ProcessBuilder(b, r.configs...) {
		d.judgement = judgement{}
		if final := b.Labels(); !labels.Equal(final, merged) {
			d.judgement = judgement{changed: true, labels: final}
			d.bytes += int(final.ByteSize())
		}
	}
	return d
}

// store keeps outcomes, except those of series that have left the table meanwhile,
// which forget is not called for again.
func (r *rules) store(all map[*series.Series]decided) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for s, d := range all {
		if s.Gone() {
			continue
		}
		ref, v := s.Ref(), keep
		switch {
		case d.drop:
			v = drop
		case d.changed:
			v = change
			r.changed[ref] = d.labels
		}
		pg := r.pages[ref/refsPerPage]
		if pg == nil {
			pg = new([wordsPerPage]uint64)
			r.pages[ref/refsPerPage] = pg
		}
		word, shift := wordOf(ref)
		pg[word] |= uint64(v) << shift
	}
}

// forget drops the outcomes of series that left the table.
func (r *rules) forget(refs []chunks.HeadSeriesRef) {
	if len(r.configs) == 0 {
		return
	}
	r.gone.age() // Nothing else does once no endpoint has to catch up any more.
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, ref := range refs {
		if pg := r.pages[ref/refsPerPage]; pg != nil {
			word, shift := wordOf(ref)
			pg[word] &^= (1<<verdictBits - 1) << shift
			if *pg == [wordsPerPage]uint64{} {
				delete(r.pages, ref/refsPerPage)
			}
		}
		delete(r.changed, ref)
	}
}

// rulebook hands out shared rules.
type rulebook struct {
	mu    sync.Mutex
	rules map[string]*rules
}

// get returns the rules for a configuration, shared with all callers that asked for
// equal ones since the last retain.
func (rb *rulebook) get(external labels.Labels, configs []*relabel.Config) (*rules, error) {
	key, err := rulesKey(external, configs)
	if err != nil {
		return nil, err
	}
	rb.mu.Lock()
	defer rb.mu.Unlock()
	if rb.rules == nil {
		rb.rules = map[string]*rules{}
	}
	r := rb.rules[key]
	if r == nil {
		r = newRules(external, configs)
		rb.rules[key] = r
	}
	return r, nil
}

// retain forgets rules that no endpoint uses any more.
func (rb *rulebook) retain(used map[*rules]bool) {
	rb.mu.Lock()
	defer rb.mu.Unlock()
	for k, r := range rb.rules {
		if !used[r] {
			delete(rb.rules, k)
		}
	}
}

// forget drops what is stored for series that left the table.
func (rb *rulebook) forget(refs []chunks.HeadSeriesRef) {
	rb.mu.Lock()
	all := make([]*rules, 0, len(rb.rules))
	for _, r := range rb.rules {
		all = append(all, r)
	}
	rb.mu.Unlock()
	for _, r := range all {
		r.forget(refs)
	}
}

const (
	// evictedGeneration is how many series are remembered that are not in the table,
	// before those are forgotten that were not met since about as many others, and
	// evictedBytes how large they may be together.
	evictedGeneration = 8192
	evictedBytes      = 8 << 20
)

// goneSeries remembers what rules make of series that are in no table. An
// endpoint that catches up meets each of them again and again, and nothing can be
// stored by their ref. How many are remembered is bounded as it is where they come
// from, see evictedSeries: those that were not met since about as many others are
// forgotten (I6).
type goneSeries struct {
	mtx        sync.Mutex // Held for moments only.
	young, old map[*series.Series]decided
	bytes      int // Of the young ones.
}

// find puts what is remembered of series in its place, and returns those of
// which nothing is.
func (g *goneSeries) find(which []int, at func(int) *series.Series, out []judgement) (unknown []int) {
	if len(which) == 0 {
		return nil
	}
	g.mtx.Lock()
	defer g.mtx.Unlock()
	unknown = which[:0]
	for _, i := range which {
		s := at(i)
		d, ok := g.young[s]
		if !ok {
			if d, ok = g.old[s]; ok {
				g.add(s, d)
			}
		}
		if !ok {
			unknown = append(unknown, i)
			continue
		}
		out[i] = d.judgement
	}
	return unknown
}

// remember adds outcomes.
func (g *goneSeries) remember(all map[*series.Series]decided) {
	g.mtx.Lock()
	defer g.mtx.Unlock()
	for s, d := range all {
		g.add(s, d)
	}
}

// age forgets what was not met since it was called last.
func (g *goneSeries) age() {
	g.mtx.Lock()
	defer g.mtx.Unlock()
	g.young, g.old, g.bytes = nil, g.young, 0
}

// add makes a series one of the young ones. Callers hold mtx.
func (g *goneSeries) add(s *series.Series, d decided) {
	if g.young == nil || len(g.young) >= evictedGeneration || g.bytes >= evictedBytes {
		g.young, g.old, g.bytes = make(map[*series.Series]decided), g.young, 0
	}
	if _, known := g.young[s]; !known { // Two senders may have met it at once.
		g.bytes += d.bytes
	}
	g.young[s] = d
}
