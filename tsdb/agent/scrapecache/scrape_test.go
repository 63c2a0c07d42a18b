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

package scrapecache_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/model"
	"github.com/prometheus/common/promslog"
	"github.com/stretchr/testify/require"

	"github.com/ackwal/ackwal/tsdb/agent/scrapecache"

	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/discovery/targetgroup"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/scrape"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
)

// recorder is a storage that forgets series now and then, and remembers what each scrape
// appended.
type recorder struct {
	mtx     sync.Mutex
	rnd     *rand.Rand
	epoch   uint64
	forgot  int
	soon    bool // It forgets what the last scrapes had, too.
	next    storage.SeriesRef
	refs    map[string]storage.SeriesRef
	series  map[storage.SeriesRef]string
	used    map[storage.SeriesRef]int // In which scrape.
	scrapes [][]string
}

func newRecorder() *recorder {
	return &recorder{rnd: rand.New(rand.NewPCG(1, 2)), refs: map[string]storage.SeriesRef{}, series: map[storage.SeriesRef]string{}, used: map[storage.SeriesRef]int{}}
}

func (r *recorder) Epoch() uint64 {
	r.mtx.Lock()
	defer r.mtx.Unlock()
	return r.epoch
}

func (r *recorder) Knows(ref storage.SeriesRef) bool {
	r.mtx.Lock()
	defer r.mtx.Unlock()
	_, ok := r.series[ref]
	return ok
}

func (r *recorder) AppenderV2(context.Context) storage.AppenderV2 { return &recording{recorder: r} }

// forget takes half of the series out of memory that the last scrapes did not have.
func (r *recorder) forget() {
	r.epoch++
	var all []string
	for lset := range r.refs {
		all = append(all, lset)
	}
	slices.Sort(all)
	for _, lset := range all {
		if (r.soon || r.used[r.refs[lset]] < len(r.scrapes)-1) && r.rnd.IntN(2) == 0 {
			r.forgot++
			delete(r.series, r.refs[lset])
			delete(r.refs, lset)
		}
	}
}

// recording is the appender of one scrape.
type recording struct {
	*recorder
	samples []string
}

func (a *recording) Append(ref storage.SeriesRef, ls labels.Labels, st, _ int64, v float64, h *histogram.Histogram, fh *histogram.FloatHistogram, opts storage.AOptions) (storage.SeriesRef, error) {
	a.mtx.Lock()
	defer a.mtx.Unlock()
	text, ok := a.series[ref]
	if !ok {
		if ls.IsEmpty() {
			return 0, fmt.Errorf("%w: %w", scrapecache.ErrUnknownRef, tsdb.ErrInvalidSample)
		}
		text = ls.String()
		if ref, ok = a.refs[text]; !ok {
			a.next++
			ref = a.next
			a.refs[text], a.series[ref] = ref, text
		}
	}
	a.used[ref] = len(a.scrapes)
	sample := strconv.FormatFloat(v, 'g', -1, 64)
	switch {
	case value.IsStaleNaN(v):
		sample = "stale"
	case h != nil:
		sample = h.String()
	case fh != nil:
		sample = fh.String()
	case strings.Contains(text, "scrape_duration_seconds"):
		sample = "some time"
	}
	for _, e := range opts.Exemplars {
		sample += fmt.Sprint(" ", e.Labels, e.Value)
	}
	a.samples = append(a.samples, fmt.Sprint(text, " ", sample, " ", st))
	return ref, nil
}

func (a *recording) Commit() error {
	a.mtx.Lock()
	defer a.mtx.Unlock()
	slices.Sort(a.samples)
	a.scrapes = append(a.scrapes, a.samples)
	a.forget()
	return nil
}

func (*recording) Rollback() error { return nil }

// page is what a target answers to one scrape.
type page struct {
	contentType, text string
	status            int
}

const (
	textFormat  = "text/plain; version=0.0.4"
	openMetrics = "application/openmetrics-text; version=1.0.0"
)

// pages are scrapes of a target whose series come, go, come back, change their order and
// the way they are written, are dropped and have timestamps; some scrapes fail.
func pages() (out []page) {
	rnd := rand.New(rand.NewPCG(3, 4))
	for n := range 30 {
		var lines []string
		for i := range 12 {
			switch {
			case rnd.IntN(6) == 0:
				continue
			case rnd.IntN(10) == 0:
				lines = append(lines, fmt.Sprintf("m{ i=\"%d\" , } %d", i, n))
			case i == 11:
				lines = append(lines, fmt.Sprintf("m{i=\"%d\"} %d %d", i, n, time.Now().UnixMilli()))
			default:
				lines = append(lines, fmt.Sprintf("m{i=\"%d\"} %d", i, n))
			}
		}
		lines = append(lines, fmt.Sprintf("dropped{i=\"1\"} %d", n), fmt.Sprintf("renamed{i=\"%d\"} 1", n%2))
		if n%5 == 0 {
			rnd.Shuffle(len(lines), func(i, j int) { lines[i], lines[j] = lines[j], lines[i] })
		}
		if n%7 == 6 {
			lines = append(lines, lines[0])
		}
		p := page{contentType: textFormat, status: http.StatusOK}
		switch n % 6 {
		case 3:
			lines = []string{
				"# TYPE c counter", fmt.Sprintf("c_total{i=\"1\"} %d # {id=\"x\"} 0.5", n), "# TYPE h histogram",
				`h_bucket{le="1.0"} 3`, `h_bucket{le="+Inf"} 4`, "h_count 4", "h_sum 3.5", fmt.Sprintf("m{i=\"1\"} %d", n), "# EOF",
			}
			p.contentType = openMetrics
		case 0, 1, 4:
			if n%12 > 8 || n%6 == 4 { // Up to four in a row.
				p.status = http.StatusInternalServerError
			}
		case 5:
			if n > 12 {
				lines = append(lines, "this is no sample")
			}
		}
		p.text = strings.Join(lines, "\n") + "\n"
		out = append(out, p)
	}
	return out
}

// scrapes has a manager scrape a target that serves pages, one after the other, and
// returns what it appended with each.
func scrapes(t *testing.T, settings string, pages []page, byRef, soon bool) [][]string {
	r := newRecorder()
	r.soon = soon
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		r.mtx.Lock()
		p := pages[min(len(r.scrapes), len(pages)-1)]
		r.mtx.Unlock()
		w.Header().Set("Content-Type", p.contentType)
		w.WriteHeader(p.status)
		_, _ = w.Write([]byte(p.text))
	}))
	defer server.Close()
	conf, err := config.Load(`{global: {scrape_interval: 300ms, scrape_timeout: 300ms}, scrape_configs: [{job_name: job, metric_relabel_configs: [
		{source_labels: [__name__], regex: dropped, action: drop},
		{source_labels: [__name__], regex: renamed, target_label: __name__, replacement: other}], `+settings+`}]}`, promslog.NewNopLogger())
	require.NoError(t, err)
	opts := &scrape.Options{DiscoveryReloadInterval: model.Duration(10 * time.Millisecond)}
	if byRef {
		field := reflect.ValueOf(opts).Elem().FieldByName("SeriesRefs")
		if !field.IsValid() {
			t.Skip("scrape.Options.SeriesRefs is there in the fork only")
		}
		field.Set(reflect.ValueOf(r))
	}
	m, err := scrape.NewManager(opts, promslog.NewNopLogger(), nil, nil, r, prometheus.NewRegistry())
	require.NoError(t, err)
	require.NoError(t, m.ApplyConfig(conf))
	sets, ended := make(chan map[string][]*targetgroup.Group), make(chan error)
	go func() { ended <- m.Run(sets) }()
	target, err := url.Parse(server.URL)
	require.NoError(t, err)
	// The address is the same for both, so that labels are.
	sets <- map[string][]*targetgroup.Group{"job": {{Targets: []model.LabelSet{{
		model.AddressLabel: model.LabelValue(target.Host), model.InstanceLabel: "target",
	}}}}}
	var got [][]string
	require.Eventually(t, func() bool {
		r.mtx.Lock()
		defer r.mtx.Unlock()
		got = slices.Clone(r.scrapes)
		return len(got) >= len(pages)
	}, time.Minute, 10*time.Millisecond)
	m.Stop()
	require.NoError(t, <-ended)
	require.Greater(t, r.forgot, 10)
	return got[:len(pages)]
}

// Scraping appends the same samples, stale markers, exemplars and reports on itself
// whether labels are kept or the storage is asked, while that forgets series.
func TestScrapesAreTheSame(t *testing.T) {
	for name, settings := range map[string]string{
		"plain":               "",
		"no timestamps":       "honor_timestamps: false",
		"staleness by time":   "track_timestamps_staleness: true",
		"sample limit":        "sample_limit: 10",
		"classic to native":   "convert_classic_histograms_to_nhcb: true",
		"extra, label limits": "label_limit: 5, extra_scrape_metrics: true",
		"forgets soon":        "",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pages, soon := pages(), name == "forgets soon"
			var byRef, stock [][]string
			done := make(chan struct{})
			go func() {
				defer close(done)
				stock = scrapes(t, settings, pages, false, soon)
			}()
			byRef = scrapes(t, settings, pages, true, soon)
			<-done
			stale := 0
			for i := range pages {
				if soon { // A forgotten series gets no stale marker.
					is := func(sample string) bool { return strings.Contains(sample, " stale ") }
					require.Equal(t, slices.DeleteFunc(stock[i], is), slices.DeleteFunc(byRef[i], is), "scrape %d of:\n%s", i, pages[i].text)
					continue
				}
				require.Equal(t, stock[i], byRef[i], "scrape %d of:\n%s", i, pages[i].text)
				for _, sample := range stock[i] {
					if strings.Contains(sample, " stale ") {
						stale++
					}
				}
			}
			require.True(t, soon || stale > 10)
		})
	}
}
