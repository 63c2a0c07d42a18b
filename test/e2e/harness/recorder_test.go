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

package harness

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/prometheus/prometheus/model/labels"
)

// The tests here defend the witnesses: a recorder that misses a repetition or
// an overtaking would let every suite pass.

func request(t int64, series ...SeriesID) *Request {
	req := &Request{}
	for _, id := range series {
		req.entries = append(req.entries, entry{Point{id, SampleKind, t}, FloatValue(float64(t))})
	}
	return req
}

func TestRecorderResends(t *testing.T) {
	r := newRecorder()
	r.SetRun(0)
	first := request(10, 1, 2)
	r.arrive(first)
	r.answer(first, http.StatusServiceUnavailable)
	retry := request(10, 1, 2)
	r.arrive(retry)
	require.Empty(t, r.Resends(), "a retry of what was not acknowledged is no resend")
	r.forwarded(retry, http.StatusNoContent)
	r.answer(retry, http.StatusNoContent)

	r.SetRun(1)
	again := request(10, 2)
	r.arrive(again)
	require.Len(t, r.Resends(), 1)
	require.Equal(t, Point{2, SampleKind, 10}, r.Resends()[0].Point)
	require.Equal(t, 0, r.Resends()[0].AckedRun)
	require.Equal(t, 1, r.Resends()[0].Run)
	require.Empty(t, r.Findings(NewSymbols()))
}

func TestRecorderMissing(t *testing.T) {
	r := newRecorder()
	due := Set{{1, SampleKind, 10}: 0, {1, SampleKind, 20}: 0, {2, SampleKind, 20}: 0}
	missing, hopeless := r.Missing(due)
	require.Equal(t, []int{3, 0}, []int{missing, hopeless})

	taken := request(20, 1)
	r.arrive(taken)
	r.forwarded(taken, http.StatusNoContent)
	missing, hopeless = r.Missing(due)
	require.Equal(t, []int{2, 0}, []int{missing, hopeless}, "taken without an answer")
	r.answer(taken, http.StatusNoContent)
	missing, hopeless = r.Missing(due)
	require.Equal(t, []int{2, 1}, []int{missing, hopeless}, "overtaken by a newer sample")
}

func TestRecorderFindings(t *testing.T) {
	symbols := NewSymbols()
	id := symbols.ID(labels.FromStrings("__name__", "x"))
	for name, tc := range map[string]struct {
		feed  func(*Recorder)
		found int
	}{
		"in order": {func(r *Recorder) {
			for at := range int64(3) {
				req := request(at, id)
				r.arrive(req)
				r.answer(req, http.StatusOK)
			}
		}, 0},
		"overtaken": {func(r *Recorder) {
			early, late := request(1, id), request(2, id)
			r.arrive(early)
			r.arrive(late)
			r.answer(late, http.StatusOK)
			r.answer(early, http.StatusOK)
		}, 1},
		"replayed": {func(r *Recorder) {
			for _, at := range []int64{1, 2, 1, 2, 3} {
				req := request(at, id)
				r.arrive(req)
				r.answer(req, http.StatusOK)
			}
		}, 0},
		"two values": {func(r *Recorder) {
			req := request(1, id)
			r.arrive(req)
			r.answer(req, http.StatusOK)
			other := request(1, id)
			other.entries[0].value++
			r.arrive(other)
		}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRecorder()
			tc.feed(r)
			require.Len(t, r.Findings(symbols), tc.found)
		})
	}
}

// TestRecorderLeftover defends the bound on what may be sent again: a request
// that is split after a refusal is in flight until its last part is answered.
func TestRecorderLeftover(t *testing.T) {
	r := newRecorder()
	send := func(status int, series ...SeriesID) *Request {
		req := request(10, series...)
		r.arrive(req)
		if status != 0 {
			r.answer(req, status)
		}
		return req
	}
	send(http.StatusBadRequest, 1, 2, 3)
	send(http.StatusNoContent, 1)
	left := r.Leftover(0)
	require.Len(t, left.Unfinished, 3, "two parts have no answer yet")

	send(http.StatusBadRequest, 2)
	send(http.StatusServiceUnavailable, 3)
	require.Len(t, r.Leftover(0).Unfinished, 3, "a part is to be tried again")
	last := send(http.StatusNoContent, 3)
	left = r.Leftover(0)
	require.Empty(t, left.Unfinished)
	for id := SeriesID(1); id <= 3; id++ {
		require.Equal(t, last.answered, left.Settled[Point{id, SampleKind, 10}], "the parts are settled when the whole is")
	}

	send(0, 4)
	require.Len(t, r.Leftover(0).Unfinished, 1, "no answer at all")
	require.Empty(t, r.Leftover(1).Unfinished)
}
