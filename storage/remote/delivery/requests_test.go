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
	"context"
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/golang/snappy"
	"github.com/prometheus/common/model"
	"github.com/stretchr/testify/require"
	"go.uber.org/atomic"

	"github.com/ackwal/ackwal/storage/remote/delivery/client"

	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/relabel"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/tsdb/record"
)

// sizes passes requests on and notes how large they are before compression.
type sizes struct {
	storer
	largest atomic.Int64
}

func (s *sizes) Store(ctx context.Context, body []byte, attempt int) client.Result {
	if n, err := snappy.DecodedLen(body); err == nil && int64(n) > s.largest.Load() {
		s.largest.Store(int64(n))
	}
	return s.storer.Store(ctx, body, attempt)
}

// commitWide writes a sample of each of n series with labels of a size in bytes.
func (j *journal) commitWide(n, size int) {
	j.time++
	var (
		enc     record.Encoder
		defined []record.RefSeries
		samples []record.RefSample
	)
	for i := range n {
		lset := labels.FromStrings("__name__", "wide", "i", strconv.Itoa(i), "text", strings.Repeat(string(rune('a'+i%26)), size))
		s, created := j.table.GetOrCreate(lset, func() chunks.HeadSeriesRef { j.next++; return j.next })
		if created {
			defined = append(defined, record.RefSeries{Ref: s.Ref(), Labels: lset})
		}
		samples = append(samples, record.RefSample{Ref: s.Ref(), T: j.time, V: 1})
		j.count++
	}
	var recs [][]byte
	if len(defined) > 0 {
		recs = append(recs, enc.Series(defined, nil))
	}
	j.log(append(recs, enc.Samples(samples, nil))...)
}

// TestRequestsAreBoundedInBytes: however large labels are, no request is much
// larger than it may be, live and in a catch-up, with rules and shared ones too,
// and nothing is left out.
func TestRequestsAreBoundedInBytes(t *testing.T) {
	const limit, label, most = 64 << 10, 5 << 10, 64<<10 + 6<<10
	j := openJournal(t, t.TempDir(), nil)
	receivers, seen := map[string]*receiver{}, map[string]*sizes{}
	var confs []*config.RemoteWriteConfig
	for _, name := range []string{"a", "b", "ruled"} {
		receivers[name] = newReceiver()
		seen[name] = &sizes{storer: receivers[name]}
		c := remoteWrite(name)
		c.QueueConfig.MaxSamplesPerSend = 2000
		c.QueueConfig.Capacity = 10000
		if name == "ruled" {
			c.WriteRelabelConfigs = []*relabel.Config{{TargetLabel: "more", Replacement: "x", Action: relabel.Replace, Regex: relabel.MustNewRegexp(".*"), NameValidationScheme: model.UTF8Validation}}
		}
		confs = append(confs, c)
	}
	opts := Options{MaxRequestBytes: limit, newClient: func(c client.Config) (storer, error) { return seen[c.URL.Host], nil }}
	r := newRig(t, j, receivers, opts)
	r.attach(confs...)
	for range 3 {
		j.commitWide(100, label)
		r.Notify()
	}
	for _, c := range confs {
		r.complete(c.Name, j.count)
	}
	require.NoError(t, r.Close())
	for range 20 {
		for range 10 {
			j.commitWide(100, label)
		}
		j.cut()
	}
	r = newRig(t, j, receivers, opts)
	r.attach(confs...)
	for _, c := range confs {
		r.complete(c.Name, j.count)
		require.LessOrEqual(t, seen[c.Name].largest.Load(), int64(most))
		require.Greater(t, seen[c.Name].largest.Load(), int64(limit/2))
	}
	require.Zero(t, r.value("prometheus_remote_storage_samples_failed_total", nil))
	r.end()
}

// TestTooLargeWhateverItsSize: a receiver that finds every request too large is
// not sent each sample alone.
func TestTooLargeWhateverItsSize(t *testing.T) {
	j, rc := openJournal(t, t.TempDir(), nil), newReceiver()
	rc.set(func(int) *client.Result {
		return &client.Result{Status: 413, Outcome: client.TooLarge, Err: errors.New("too large")}
	})
	r := newRig(t, j, map[string]*receiver{"a": rc}, Options{})
	c := remoteWrite("a")
	c.QueueConfig.MaxSamplesPerSend = 2000
	c.QueueConfig.Capacity = 10000
	r.attach(c)
	r.commit(2000)
	require.Eventually(t, func() bool {
		return r.value("prometheus_remote_storage_refused_total", map[string]string{"code": "413"}) == 2000
	}, time.Minute, time.Millisecond)
	rc.mtx.Lock()
	require.LessOrEqual(t, rc.requests, divideFirst*3*mostRefusals+probeMany*(1+probes)+soundings+2*8, "the size halves until it cannot be the reason")
	rc.mtx.Unlock()
	r.end()
}

// TestStopInAWindow defends what the README says of a graceful stop: if the
// receiver fails in the middle of a window and the agent is then stopped, nothing
// of it is sent twice.
func TestStopInAWindow(t *testing.T) {
	j, rc := openJournal(t, t.TempDir(), nil), newPicky()
	conf := remoteWrite("a")
	conf.QueueConfig.MaxSamplesPerSend = 500
	conf.QueueConfig.Capacity = 100000
	open := func() *rig {
		r := newRig(t, j, nil, Options{newClient: func(client.Config) (storer, error) { return rc, nil }})
		r.attach(conf)
		return r
	}
	all := func(string) bool { return true }
	r := open()
	r.commit(640)
	require.Eventually(t, func() bool { return rc.has(all) == j.count }, time.Minute, time.Millisecond)
	require.NoError(t, r.Close())
	for range 6 {
		for range 40 {
			j.commit(640)
		}
		j.cut()
	}
	for after := 20; after < 40; after += 3 {
		rc.do(func() { rc.requests, rc.failAfter = 0, after })
		r = open()
		require.Eventually(t, func() (failing bool) {
			rc.do(func() { failing = rc.requests > after })
			return failing || rc.has(all) == j.count
		}, time.Minute, time.Millisecond)
		require.NoError(t, r.Close())
	}
	rc.do(func() { rc.failAfter = 0 })
	r = open()
	require.Eventually(t, func() bool { return rc.has(all) == j.count }, time.Minute, time.Millisecond)
	require.NoError(t, r.Close())
	rc.do(func() {
		require.Zero(t, rc.again)
		require.Zero(t, rc.early, "I4")
	})
	require.NoError(t, j.wal.Close())
}
