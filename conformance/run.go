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

package conformance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ackwal/ackwal/conformance/wire"
)

// Options say what is run. The zero value of a field means its default.
type Options struct {
	Sender Sender
	// Cases are the names of those to run; all by default.
	Cases []string
	// Rules of the receivers, [Strict] by default.
	Rules Rules
	// Backend stores what is sent, instead of the suite itself, if it is not nil; Rules
	// are of no use then.
	Backend *Backend
	// Protocol is what the sender is configured for and the only one that
	// receivers take; by default the sender chooses and they take both.
	Protocol wire.Protocol
	// Series of the target, 200 by default.
	Series int
	// Interval between scrapes, 200ms by default.
	Interval time.Duration
	// LostAfter is how many scrapes may pass without anything arriving that is
	// missing until it counts as lost, 100 by default.
	LostAfter int64
	// Parallel is how many cases run at a time, 1 by default.
	Parallel int
	// NoDuplicates makes it a fault to send again what was acknowledged,
	// except after a crash.
	NoDuplicates bool
	// Dir holds the sender's data and output and the two logs of each case. It
	// is temporary, and removed at the end, by default.
	Dir string
}

func (o *Options) complete() error {
	if o.Rules == "" {
		o.Rules = Strict
	}
	if o.Rules != Strict && o.Rules != Lenient {
		return fmt.Errorf("there are no rules %q, only %s and %s", o.Rules, Strict, Lenient)
	}
	if o.Series < 1 {
		o.Series = 200
	}
	if o.Interval <= 0 {
		o.Interval = 200 * time.Millisecond
	}
	if o.LostAfter < 1 {
		o.LostAfter = 100
	}
	o.Parallel = max(o.Parallel, 1)
	return o.Sender.Validate()
}

// Verdict is the judgement on one case.
type Verdict string

// The verdicts.
const (
	OK            Verdict = "ok"
	Contained     Verdict = "contained" // Lost a part of what the damaged file held, or what a full disk had no room for, and nothing else.
	NotApplicable Verdict = "n/a"
	LostSamples   Verdict = "lost"
	Reordered     Verdict = "reordered"
	Invented      Verdict = "wrong"
	Duplicates    Verdict = "duplicated"
	Ended         Verdict = "ended" // The sender did not start, or ended by itself.
	Failed        Verdict = "error" // The case did not come to its end for another reason.
)

// Passes says whether the verdict is in the sender's favour.
func (v Verdict) Passes() bool { return v == OK || v == Contained || v == NotApplicable }

// Result is what one case showed at one receiver.
type Result struct {
	Case     string `json:"case"`
	Receiver string `json:"receiver,omitempty"` // If there are several.
	Counts
	AtRisk  int      `json:"atRisk,omitempty"` // Samples that only the damaged data held.
	Verdict Verdict  `json:"verdict"`
	Notes   []string `json:"notes,omitempty"`
	// Seconds is how long the case took, StopSeconds the longest graceful stop.
	Seconds     float64 `json:"seconds"`
	StopSeconds float64 `json:"stopSeconds,omitempty"`
}

// containedShare is the share of what was at risk that damage of one byte may
// cost. Formats differ in how much they protect by one checksum; a sender that
// gives up everything because of one byte has not contained it.
const containedShare = 4

func verdict(t Counts, atRisk int, crash, noDuplicates bool) Verdict {
	switch {
	case t.Scraped == 0:
		return Failed
	case t.Wrong > 0:
		return Invented
	case t.Lost > t.LostBefore+t.LostWhileFull, t.LostBefore > atRisk/containedShare:
		return LostSamples
	case t.OutOfOrder > 0:
		return Reordered
	case t.Duplicated > 0 && !crash && noDuplicates:
		return Duplicates
	case t.LostBefore+t.LostWhileFull > 0:
		return Contained
	}
	return OK
}

// Run runs the cases. The error is about the suite itself; what a sender does
// wrong is in the results, which are in the order of the cases.
func Run(ctx context.Context, o Options) ([]Result, error) {
	if err := o.complete(); err != nil {
		return nil, err
	}
	cases, err := selected(o.Cases)
	if err != nil {
		return nil, err
	}
	if o.Dir == "" {
		if o.Dir, err = os.MkdirTemp("", "conformance-"); err != nil {
			return nil, fmt.Errorf("directory for the data: %w", err)
		}
		defer os.RemoveAll(o.Dir)
	}

	results := make([][]Result, len(cases))
	slots := make(chan struct{}, o.Parallel)
	var running sync.WaitGroup
	for i, c := range cases {
		slots <- struct{}{}
		running.Go(func() {
			defer func() { <-slots }()
			results[i] = RunCase(ctx, o, c)
		})
	}
	running.Wait()
	return slices.Concat(results...), ctx.Err()
}

func selected(names []string) ([]Case, error) {
	all := Cases()
	if len(names) == 0 {
		return all, nil
	}
	chosen := []Case{}
	for _, name := range names {
		i := slices.IndexFunc(all, func(c Case) bool { return c.Name == name })
		if i < 0 {
			known := []string{}
			for _, c := range all {
				known = append(known, c.Name)
			}
			return nil, fmt.Errorf("there is no case %q, only %s", name, strings.Join(known, ", "))
		}
		chosen = append(chosen, all[i])
	}
	return chosen, nil
}

// RunCase runs one case, in a directory of its name below that of the options,
// which has to be set.
func RunCase(ctx context.Context, o Options, c Case) []Result {
	started := time.Now()
	if err := o.complete(); err != nil {
		return []Result{{Case: c.Name, Verdict: Failed, Notes: []string{err.Error()}}}
	}
	if c.Needs != nil {
		if lacks := c.Needs(o.Sender); lacks != "" {
			return []Result{{Case: c.Name, Verdict: NotApplicable, Notes: []string{lacks}}}
		}
	}
	if o.Backend != nil && c.Rules {
		return []Result{{Case: c.Name, Verdict: NotApplicable, Notes: []string{"a database has its own rules"}}}
	}
	if o.Backend == nil && c.Database {
		return []Result{{Case: c.Name, Verdict: NotApplicable, Notes: []string{"there is no database"}}}
	}
	receivers := c.Receivers
	if len(receivers) == 0 {
		receivers = []string{"main"}
	}
	rig, err := newRig(ctx, o, filepath.Join(o.Dir, c.Name), receivers...)
	if err != nil {
		return []Result{{Case: c.Name, Verdict: Failed, Notes: []string{err.Error()}}}
	}
	err = c.Run(rig)
	rig.close()
	err = errors.Join(err, rig.writeLogs())

	results := []Result{}
	for _, seen := range rig.rows {
		results = append(results, Result{
			Case: c.Name, Receiver: seen.label, Counts: seen.counts, AtRisk: rig.atRisk,
			Verdict: verdict(seen.counts, rig.atRisk, c.Crash, o.NoDuplicates),
		})
	}
	if err != nil {
		// What went before says nothing without the end.
		results = []Result{{Case: c.Name, Verdict: Failed}}
		switch {
		case errors.Is(err, errLeftOut):
			results[0].Verdict = NotApplicable
		case errors.Is(err, errEnded):
			results[0].Verdict = Ended
		}
		rig.Note("%s", err)
	}
	for i := range results {
		results[i].Seconds = time.Since(started).Seconds()
		results[i].StopSeconds = rig.stopped.Seconds()
	}
	results[0].Notes = append(results[0].Notes, rig.notes...)
	return results
}

// writeLogs leaves the logs that the result was computed from, a line of JSON
// for each scrape and request, and what the case did.
func (r *Rig) writeLogs() error {
	err := writeLines(filepath.Join(r.dir, "target.jsonl"), r.Target.Log())
	err = errors.Join(err, writeLines(filepath.Join(r.dir, "events.jsonl"), r.events))
	for _, receiver := range r.Receivers {
		err = errors.Join(err, writeLines(filepath.Join(r.dir, "receiver-"+receiver.name+".jsonl"), receiver.Log()))
	}
	return err
}

func writeLines[T any](path string, items []T) error {
	file, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("writing a log: %w", err)
	}
	encoder := json.NewEncoder(file)
	for _, item := range items {
		err = errors.Join(err, encoder.Encode(item))
	}
	return errors.Join(err, file.Close())
}
