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

package peers

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/stretchr/testify/require"

	"github.com/ackwal/ackwal/test/bench/agent/exposition"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/textparse"
)

// Agents ask like this, the first of them where native histograms are wanted.
const (
	acceptAll  = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.6,application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.4,*/*;q=0.1"
	acceptOpen = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.4,*/*;q=0.1"
	acceptText = "text/plain;version=0.0.4;q=1,*/*;q=0.1"
)

func scrape(t *targets, of *target, accept string, w http.ResponseWriter) {
	request := httptest.NewRequest(http.MethodGet, "/metrics", http.NoBody)
	request.Header.Set("Accept", accept)
	request.Header.Set("Accept-Encoding", "gzip")
	t.ServeHTTP(w, request.WithContext(context.WithValue(request.Context(), targetKey{}, of)))
}

// count returns how many samples upstream's parser finds in an answer.
func count(t *testing.T, answer *httptest.ResponseRecorder) (samples int) {
	body := io.Reader(answer.Body)
	if answer.Header().Get("Content-Encoding") == "gzip" {
		var err error
		body, err = gzip.NewReader(body)
		require.NoError(t, err)
	}
	text, err := io.ReadAll(body)
	require.NoError(t, err)
	parser, err := textparse.New(text, answer.Header().Get("Content-Type"), labels.NewSymbolTable(), textparse.ParserOptions{})
	require.NoError(t, err)
	for {
		entry, err := parser.Next()
		if errors.Is(err, io.EOF) {
			return samples
		}
		require.NoError(t, err)
		if entry == textparse.EntrySeries || entry == textparse.EntryHistogram {
			samples++
		}
	}
}

func TestTargetsServeWhatTheyCount(t *testing.T) {
	for _, compress := range []bool{false, true} {
		targets := newTargets(TargetSettings{Series: 2000, Sizes: exposition.Sizes{Large: 200, Small: 50}, Compress: compress})
		samples, scrapes := 0, 0
		seen := map[string]bool{}
		for _, accept := range []string{acceptAll, acceptOpen, acceptText} {
			for _, of := range targets.all {
				answer := httptest.NewRecorder()
				scrape(targets, of, accept, answer)
				require.Equal(t, compress, answer.Header().Get("Content-Encoding") == "gzip")
				require.Equal(t, of.Series, count(t, answer))
				samples += of.Series
				scrapes++
				seen[answer.Header().Get("Content-Type")] = true
			}
			require.Equal(t, samples, int(targets.stats().Samples))
			require.Equal(t, scrapes, int(targets.stats().Scrapes))
		}
		require.Len(t, seen, 3)
		require.Zero(t, targets.stats().Failed)
	}
}

// broken is a client that goes away in the middle.
type broken struct{ http.ResponseWriter }

func (broken) Write([]byte) (int, error) { return 0, errors.New("gone") }

func TestScrapesThatFailDoNotCount(t *testing.T) {
	targets := newTargets(TargetSettings{Series: 100, Sizes: exposition.Sizes{Large: 100, Small: 50}})
	scrape(targets, targets.all[0], acceptText, broken{httptest.NewRecorder()})
	require.Equal(t, TargetStats{Failed: 1}, targets.stats())
}

// A scrape that waits may be of an agent that is dead by the end of the pause:
// what it would be served would count as lost by that agent.
func TestPausedTargetsServeNothing(t *testing.T) {
	targets := newTargets(TargetSettings{Series: 100, Sizes: exposition.Sizes{Large: 100, Small: 50}})
	for _, end := range []func(cancel context.CancelFunc){
		func(context.CancelFunc) { targets.resume() },
		func(cancel context.CancelFunc) { cancel() },
	} {
		targets.pause()
		ctx, cancel := context.WithCancel(context.WithValue(context.Background(), targetKey{}, targets.all[0]))
		broken := make(chan any)
		request := httptest.NewRequest(http.MethodGet, "/metrics", http.NoBody).WithContext(waiting{ctx, make(chan struct{})})
		go func() {
			defer func() { broken <- recover() }()
			targets.ServeHTTP(httptest.NewRecorder(), request)
		}()
		<-request.Context().(waiting).asked
		end(cancel)
		require.Equal(t, http.ErrAbortHandler, <-broken)
		require.Equal(t, TargetStats{}, targets.stats())
		cancel()
	}
	targets.resume()
	scrape(targets, targets.all[0], acceptText, httptest.NewRecorder())
	require.Equal(t, int64(1), targets.stats().Scrapes)
}

// waiting tells when a handler begins to wait for the end of a context.
type waiting struct {
	context.Context
	asked chan struct{}
}

func (w waiting) Done() <-chan struct{} {
	close(w.asked)
	return w.Context.Done()
}

func TestChurnIsWhatWasAskedFor(t *testing.T) {
	targets := newTargets(TargetSettings{Series: 20_000, Sizes: exposition.Sizes{Large: 1000, Small: 50}, Churn: 0.01})
	now := time.Unix(0, 0)
	for range 60 {
		for _, of := range targets.all {
			of.render(nil, of.Form, now, targets)
		}
		now = now.Add(15 * time.Second)
	}
	// The first scrapes have nothing before them.
	require.InDelta(t, 20_000*0.01*59*15/60, targets.stats().Replaced, 100)
	require.Less(t, targets.credit, 100.0)
}

func TestTargetsHaveAddressesOfTheirOwn(t *testing.T) {
	seen := map[string]bool{}
	for i := range 130_000 {
		seen[TargetHost(i)] = true
	}
	require.Len(t, seen, 130_000)
}
