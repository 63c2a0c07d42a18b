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
	"bufio"
	"bytes"
	"context"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/golang/snappy"
	"github.com/stretchr/testify/require"

	"github.com/prometheus/prometheus/prompb"
)

const asSender = "reference-sender"

// TestMain runs the reference sender if the suite starts this program as one.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == asSender {
		if err := referenceSender(os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// reference is the simplest sender there can be: one line of a file, or only
// of memory, for each scrape, sent one after the other. It has the faults that
// the suite is to find, each behind a flag.
type reference struct {
	dir, target string
	urls        []string
	interval    time.Duration
	forgetful   bool // Keeps nothing on disk.
	impatient   bool // Tries once.
	twice       bool // Sends everything twice.
	disorderly  bool // Swaps neighbours.
	careless    bool // Drops a request that is refused.
	mtx         sync.Mutex
	journal     *os.File
	scrapes     []scraped
	more        chan struct{} // Closed and replaced at each scrape.
}

type scraped struct {
	at     int64
	number int64
	series int
}

func referenceSender(args []string) error {
	r := &reference{more: make(chan struct{})}
	f := flag.NewFlagSet(asSender, flag.ContinueOnError)
	f.StringVar(&r.dir, "dir", "", "")
	f.StringVar(&r.target, "target", "", "")
	f.DurationVar(&r.interval, "interval", 0, "")
	f.Func("url", "", func(u string) error {
		r.urls = append(r.urls, u)
		return nil
	})
	f.BoolVar(&r.forgetful, "forgetful", false, "")
	f.BoolVar(&r.impatient, "impatient", false, "")
	f.BoolVar(&r.twice, "twice", false, "")
	f.BoolVar(&r.disorderly, "disorderly", false, "")
	f.BoolVar(&r.careless, "careless", false, "")
	if err := f.Parse(args); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if err := r.open(); err != nil {
		return err
	}
	for i := range r.urls {
		go r.deliver(i)
	}
	for tick := time.NewTicker(r.interval); ; {
		select {
		case <-tick.C:
			if err := r.scrape(); err != nil {
				return err
			}
		case <-ctx.Done():
			return nil
		}
	}
}

func (r *reference) open() (err error) {
	if r.forgetful {
		return nil
	}
	name := filepath.Join(r.dir, "journal")
	text, err := os.ReadFile(name)
	if err != nil && !os.IsNotExist(err) {
		return err
	}
	for line := range strings.Lines(string(text)) {
		s := scraped{}
		// A damaged line costs what it held.
		if n, err := fmt.Sscan(line, &s.at, &s.number, &s.series); n == 3 && err == nil {
			r.scrapes = append(r.scrapes, s)
		}
	}
	r.journal, err = os.OpenFile(name, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o666)
	return err
}

func (r *reference) scrape() error {
	response, err := http.Get("http://" + r.target + "/metrics")
	if err != nil {
		return err
	}
	defer response.Body.Close()
	s := scraped{at: time.Now().UnixMilli()}
	for lines := bufio.NewScanner(response.Body); lines.Scan(); {
		_, value, ok := strings.Cut(lines.Text(), "} ")
		if !ok {
			continue
		}
		s.series++
		if s.number, err = strconv.ParseInt(value, 10, 64); err != nil {
			return err
		}
	}
	r.mtx.Lock()
	defer r.mtx.Unlock()
	if n := len(r.scrapes); n > 0 {
		s.at = max(s.at, r.scrapes[n-1].at+1)
	}
	if r.journal != nil {
		if _, err := fmt.Fprintln(r.journal, s.at, s.number, s.series); err != nil {
			return err
		}
	}
	r.scrapes = append(r.scrapes, s)
	close(r.more)
	r.more = make(chan struct{})
	return nil
}

// deliver sends to one receiver for ever.
func (r *reference) deliver(receiver int) {
	position := filepath.Join(r.dir, "position-"+strconv.Itoa(receiver))
	next := 0
	if !r.forgetful {
		if text, err := os.ReadFile(position); err == nil {
			// Whatever is no number is no position.
			next, _ = strconv.Atoi(string(text))
		}
	}
	client := &http.Client{Timeout: 5 * time.Second}
	for {
		r.mtx.Lock()
		ready, more := r.scrapes[min(next, len(r.scrapes)):], r.more
		r.mtx.Unlock()
		ahead := 1
		if r.disorderly {
			ahead = 2
		}
		if len(ready) < ahead {
			<-more
			continue
		}
		for i := ahead - 1; i >= 0; i-- {
			r.send(client, r.urls[receiver], ready[i])
		}
		if r.twice {
			r.send(client, r.urls[receiver], ready[0])
		}
		next += ahead
		if !r.forgetful {
			_ = os.WriteFile(position+".new", []byte(strconv.Itoa(next)), 0o666)
			_ = os.Rename(position+".new", position)
		}
	}
}

// send repeats a scrape until it is answered. What is refused as a whole is sent once
// more series by series.
func (r *reference) send(client *http.Client, url string, s scraped) {
	if r.post(client, url, s, 0, s.series) == http.StatusBadRequest && !r.careless {
		for i := range s.series {
			r.post(client, url, s, i, i+1)
		}
	}
}

// post sends some of the series until they are answered, and returns the status.
func (r *reference) post(client *http.Client, url string, s scraped, from, to int) int {
	request := prompb.WriteRequest{}
	for i := from; i < to; i++ {
		request.Timeseries = append(request.Timeseries, prompb.TimeSeries{
			Labels:  []prompb.Label{{Name: "__name__", Value: Metric}, {Name: SeriesLabel, Value: strconv.Itoa(i)}},
			Samples: []prompb.Sample{{Timestamp: s.at, Value: float64(s.number)}},
		})
	}
	raw, _ := request.Marshal()
	for {
		status := 0
		response, err := client.Post(url, "application/x-protobuf", bytes.NewReader(snappy.Encode(nil, raw)))
		if err == nil {
			response.Body.Close()
			status = response.StatusCode
		}
		if r.impatient || (err == nil && status/100 != 5) {
			return status
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// options runs the reference sender with some of its faults.
func options(t *testing.T, faults ...string) Options {
	t.Helper()
	if testing.Short() {
		t.Skip("runs processes for some seconds")
	}
	return Options{
		Sender: Sender{
			Name:   asSender,
			Binary: os.Args[0],
			Args: append([]string{
				asSender, "--dir={{.DataDir}}", "--target={{.Target}}", "--interval={{.Interval}}",
				"{{range .Endpoints}}--url={{.URL}}\n{{end}}",
			}, faults...),
			Positions: []string{"position-*"},
		},
		Series:    5,
		Interval:  20 * time.Millisecond,
		Parallel:  4,
		LostAfter: 500,
		Dir:       t.TempDir(),
	}
}

// TestSuitePasses: a sender without faults passes, so the suite demands nothing
// that cannot be done.
func TestSuitePasses(t *testing.T) {
	o := options(t)
	results := RunTests(t, o)
	require.Len(t, results, len(Cases())+1, "isolation has two")
	for _, r := range results {
		// It cannot reload, has no database, and may not have a disk of its own.
		if r.Case == "reload-in-outage" || r.Case == "late" || r.Case == "full-disk" && r.Verdict == NotApplicable {
			require.Equal(t, NotApplicable, r.Verdict)
			continue
		}
		require.Positive(t, r.Scraped, r.Case)
		require.Equal(t, r.LostBefore+r.LostWhileFull, r.Lost, r.Case)
		require.FileExists(t, o.Dir+"/"+r.Case+"/target.jsonl")
	}
}

// TestSuiteFails: each fault is found, where it shows and only there.
func TestSuiteFails(t *testing.T) {
	cases := []string{"outage", "restart-in-outage", "restart-healthy", "poison"}
	for _, tc := range []struct {
		fault    string
		rules    Rules
		verdicts []Verdict // "" where it depends on the moment.
	}{
		{"", Strict, []Verdict{OK, OK, OK, OK}},
		{"--forgetful", Strict, []Verdict{OK, LostSamples, "", OK}},
		{"--careless", Strict, []Verdict{OK, OK, OK, LostSamples}},
		{"--impatient", Strict, []Verdict{LostSamples, LostSamples, OK, OK}},
		{"--twice", Lenient, []Verdict{Duplicates, Duplicates, Duplicates, Duplicates}},
		{"--disorderly", Strict, []Verdict{LostSamples, LostSamples, LostSamples, LostSamples}},
		{"--disorderly", Lenient, []Verdict{Reordered, Reordered, Reordered, Reordered}},
		{"--no-such-flag", Strict, []Verdict{Ended, Ended, Ended, Ended}},
	} {
		t.Run(tc.fault+"/"+string(tc.rules), func(t *testing.T) {
			o := options(t)
			if tc.fault != "" {
				o = options(t, tc.fault)
			}
			o.Cases, o.Rules, o.NoDuplicates = cases, tc.rules, tc.fault == "--twice"
			results, err := Run(t.Context(), o)
			require.NoError(t, err)
			report := NewReport(o, results)
			table := strings.Builder{}
			require.NoError(t, report.WriteTable(&table, true))
			got := []Verdict{}
			for i, r := range results {
				if tc.verdicts[i] == "" {
					r.Verdict = ""
				}
				got = append(got, r.Verdict)
			}
			require.Equal(t, tc.verdicts, got, table.String())
			require.Equal(t, tc.fault == "", report.Passed)
		})
	}
}
