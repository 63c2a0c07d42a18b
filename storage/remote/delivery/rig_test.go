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
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/golang/snappy"
	"github.com/oklog/ulid/v2"
	"github.com/prometheus/client_golang/prometheus"
	commonconfig "github.com/prometheus/common/config"
	"github.com/prometheus/common/model"
	"github.com/stretchr/testify/require"
	"go.uber.org/atomic"

	"github.com/ackwal/ackwal/storage/remote/delivery/client"
	"github.com/ackwal/ackwal/tsdb/wlog/cursor"
	"github.com/ackwal/ackwal/tsdb/wlog/epoch"
	"github.com/ackwal/ackwal/tsdb/wlog/gate"
	"github.com/ackwal/ackwal/tsdb/wlog/series"

	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/prompb"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/tsdb/record"
	"github.com/prometheus/prometheus/tsdb/wlog"
	"github.com/prometheus/prometheus/util/compression"
)

// journal writes a real log the way the agent's storage does.
type journal struct {
	t      testing.TB
	dir    string
	wal    *wlog.WL
	table  *series.Table
	gate   *gate.Gate
	run    ulid.ULID
	head   atomic.Pointer[cursor.Position]
	next   chunks.HeadSeriesRef
	time   int64
	all    map[string]int64 // Highest timestamp committed per series.
	count  int
	series []*series.Series // By number.
}

func openJournal(t testing.TB, dir string, table *series.Table) *journal {
	j := &journal{t: t, dir: dir, table: table, gate: gate.New(), run: ulid.Make(), all: map[string]int64{}}
	if table == nil {
		j.table = series.New(series.Options{})
	}
	var err error
	j.wal, err = wlog.NewSize(nil, nil, filepath.Join(dir, "wal"), 16*32*1024, compression.Snappy)
	require.NoError(t, err)
	j.log(epoch.Marker(j.run))
	return j
}

func (j *journal) log(recs ...[]byte) {
	require.NoError(j.t, j.wal.Log(recs...))
	seg, off, err := j.wal.LastSegmentAndOffset()
	require.NoError(j.t, err)
	j.head.Store(&cursor.Position{Segment: seg, Offset: cursor.RecordEnd(int64(off))})
}

// commit writes a sample of each of n series, with a time that rises by one.
func (j *journal) commit(n int) {
	j.time++
	var (
		enc     record.Encoder
		defined []record.RefSeries
		samples []record.RefSample
	)
	for i := range n {
		lset := labels.FromStrings("__name__", "m", "i", strconv.Itoa(i))
		s, created := j.table.GetOrCreate(lset, func() chunks.HeadSeriesRef { j.next++; return j.next })
		if created {
			j.series = append(j.series, s)
			defined = append(defined, record.RefSeries{Ref: s.Ref(), Labels: lset})
		}
		samples = append(samples, record.RefSample{Ref: s.Ref(), T: j.time, V: float64(i)})
		j.all[lset.String()] = j.time
		j.count++
	}
	var recs [][]byte
	if len(defined) > 0 {
		recs = append(recs, enc.Series(defined, nil))
	}
	j.log(append(recs, enc.Samples(samples, nil))...)
}

// cut begins a new segment.
func (j *journal) cut() {
	_, err := j.wal.NextSegmentSync()
	require.NoError(j.t, err)
	j.log(epoch.Marker(j.run))
}

func (j *journal) source() Source {
	return Source{
		WALDir: filepath.Join(j.dir, "wal"), DataDir: j.dir, Table: j.table, Gate: j.gate, Run: j.run,
		Head: func() cursor.Position { return *j.head.Load() },
	}
}

// receiver stores what it is sent under the rules of a stock server without an
// out-of-order window: a request of remote write 1.0 is taken as a whole, or
// refused because of one sample that is not newer than its series' last.
type receiver struct {
	mtx      sync.Mutex
	last     map[string]int64
	samples  map[string]int // Per series, how many were stored.
	stored   int
	received int // Samples in all attempts.
	requests int
	answer   func(n int) *client.Result // Overrides the answer to the n-th request.
	after    func(n int) *client.Result // Likewise, after it was stored.
	entered  chan struct{}              // Sent to at each request, if not nil.
}

func newReceiver() *receiver {
	return &receiver{last: map[string]int64{}, samples: map[string]int{}}
}

// unpack reads the body of a request, and returns a refusal if it cannot.
func unpack(body []byte, req interface{ Unmarshal([]byte) error }) *client.Result {
	raw, err := snappy.Decode(nil, body)
	if err == nil {
		err = req.Unmarshal(raw)
	}
	if err != nil {
		return &client.Result{Status: 400, Outcome: client.Refused, Err: err}
	}
	return nil
}

func (*receiver) Close() {}

func (r *receiver) Store(ctx context.Context, body []byte, _ int) client.Result {
	var req prompb.WriteRequest
	if res := unpack(body, &req); res != nil {
		return *res
	}
	r.mtx.Lock()
	r.requests++
	n := r.requests
	for _, ts := range req.Timeseries {
		r.received += len(ts.Samples)
	}
	answer, after, entered := r.answer, r.after, r.entered
	r.mtx.Unlock()
	if entered != nil {
		select {
		case entered <- struct{}{}:
		case <-ctx.Done():
		}
	}
	if answer != nil {
		if res := answer(n); res != nil {
			if res.Status == hang {
				<-ctx.Done()
				return client.Result{Outcome: client.Retry, Ambiguous: true, Err: ctx.Err()}
			}
			return *res
		}
	}
	r.mtx.Lock()
	defer r.mtx.Unlock()
	seen := map[string]int64{}
	builder := labels.NewScratchBuilder(0)
	for _, ts := range req.Timeseries {
		name := ts.ToLabels(&builder, nil).String()
		for _, s := range ts.Samples {
			last, ok := seen[name]
			if !ok {
				last = r.last[name]
			}
			if s.Timestamp < last {
				return client.Result{Status: 400, Outcome: client.Refused, Late: true, Err: fmt.Errorf("out of order: %s at %d, have %d", name, s.Timestamp, last)}
			}
			seen[name] = s.Timestamp
		}
	}
	for _, ts := range req.Timeseries {
		name := ts.ToLabels(&builder, nil).String()
		for _, s := range ts.Samples {
			if s.Timestamp > r.last[name] {
				r.last[name] = s.Timestamp
				r.samples[name]++
				r.stored++
			}
		}
	}
	if after != nil {
		if res := after(n); res != nil {
			return *res
		}
	}
	return client.Result{Status: 204, Outcome: client.Delivered}
}

// hang as a status makes the receiver keep the request until it is broken off.
const hang = -1

func unavailable(int) *client.Result {
	return &client.Result{Status: 503, Outcome: client.Retry, Err: errors.New("unavailable")}
}

func (r *receiver) set(answer func(int) *client.Result) {
	r.mtx.Lock()
	defer r.mtx.Unlock()
	r.answer = answer
}

func (r *receiver) counts() (stored, received int) {
	r.mtx.Lock()
	defer r.mtx.Unlock()
	return r.stored, r.received
}

// asked returns how many requests there were.
func (r *receiver) asked() int {
	r.mtx.Lock()
	defer r.mtx.Unlock()
	return r.requests
}

// rig is a storage with receivers behind it, one for each host name.
type rig struct {
	*Storage
	t         testing.TB
	reg       *prometheus.Registry
	receivers map[string]*receiver
	journal   *journal
}

func newRig(t testing.TB, j *journal, receivers map[string]*receiver, opts Options) *rig {
	r := &rig{t: t, reg: prometheus.NewRegistry(), receivers: receivers, journal: j}
	if opts.newClient == nil {
		opts.newClient = func(c client.Config) (storer, error) { return receivers[c.URL.Host], nil }
	}
	var err error
	r.Storage, err = NewStorage(nil, r.reg, func() (int64, error) { return 0, nil }, j.dir, time.Minute, nil, false, opts)
	require.NoError(t, err)
	return r
}

// failingRig returns a rig that is at work for one endpoint, whose receiver does not answer
// yet.
func failingRig(t testing.TB) (*journal, *receiver, *rig) {
	j, rc := openJournal(t, t.TempDir(), nil), newReceiver()
	rc.set(unavailable)
	r := newRig(t, j, map[string]*receiver{"a": rc}, Options{})
	r.attach(remoteWrite("a"))
	return j, rc, r
}

// end closes the storage, and then the log.
func (r *rig) end() {
	r.t.Helper()
	require.NoError(r.t, r.Close())
	require.NoError(r.t, r.journal.wal.Close())
}

// remoteWrite is the configuration for the named host.
func remoteWrite(host string) *config.RemoteWriteConfig {
	c := config.DefaultRemoteWriteConfig
	c.Name = host
	c.URL = &commonconfig.URL{URL: &url.URL{Scheme: "http", Host: host, Path: "/write"}}
	c.MetadataConfig.Send = false
	c.QueueConfig.MinBackoff = model.Duration(time.Millisecond)
	c.QueueConfig.MaxBackoff = model.Duration(2 * time.Millisecond)
	c.QueueConfig.BatchSendDeadline = model.Duration(time.Millisecond)
	c.QueueConfig.MaxSamplesPerSend = 100
	c.QueueConfig.Capacity = 500
	c.QueueConfig.MaxShards = 4
	return &c
}

func (*rig) confWith(cs ...*config.RemoteWriteConfig) *config.Config {
	conf := config.DefaultConfig
	conf.RemoteWriteConfigs = cs
	return &conf
}

func (r *rig) apply(cs ...*config.RemoteWriteConfig) {
	r.t.Helper()
	require.NoError(r.t, r.ApplyConfig(r.confWith(cs...)))
}

// attach gives the storage its log and configuration.
func (r *rig) attach(cs ...*config.RemoteWriteConfig) {
	r.t.Helper()
	require.NoError(r.t, r.Attach(r.journal.source()))
	r.apply(cs...)
}

func (r *rig) commit(n int) {
	r.journal.commit(n)
	r.Notify()
}

// complete waits until a receiver has everything, and checks it.
func (r *rig) complete(host string, want int) {
	r.t.Helper()
	rc := r.receivers[host]
	require.Eventually(r.t, func() bool {
		stored, _ := rc.counts()
		return stored >= want
	}, time.Minute, 5*time.Millisecond, "%s", stringer(func() string {
		stored, received := rc.counts()
		return fmt.Sprintf("%s has %d of %d samples, received %d", host, stored, want, received)
	}))
	stored, _ := rc.counts()
	require.Equal(r.t, want, stored)
}

// stringer renders late, when the values of interest are final.
type stringer func() string

func (s stringer) String() string { return s() }

// value returns the sum of a metric over all its series that have the labels.
// expired sums up what limits and other engines took, of the type in match if there is one.
func (r *rig) expired(match map[string]string) (sum float64) {
	r.t.Helper()
	others := maps.Clone(match)
	delete(others, "type")
	for _, class := range []string{"samples", "histograms", "exemplars"} {
		if typ := match["type"]; typ == "" || typ == class {
			sum += r.value("prometheus_remote_storage_"+class+"_expired_total", others)
		}
	}
	return sum
}

func (r *rig) value(name string, match map[string]string) (sum float64) {
	r.t.Helper()
	families, err := r.reg.Gather()
	require.NoError(r.t, err)
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
	metric:
		for _, m := range f.GetMetric() {
			have := map[string]string{}
			for _, l := range m.GetLabel() {
				have[l.GetName()] = l.GetValue()
			}
			for k, v := range match {
				if have[k] != v {
					continue metric
				}
			}
			sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	return sum
}

// logBuffer is a log that several goroutines write.
type logBuffer struct {
	mtx sync.Mutex
	buf bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mtx.Lock()
	defer b.mtx.Unlock()
	return b.buf.Write(p)
}

// all returns what was logged.
func (b *logBuffer) all() string {
	b.mtx.Lock()
	defer b.mtx.Unlock()
	return b.buf.String()
}

// take returns what was logged since the last call.
func (b *logBuffer) take() string {
	b.mtx.Lock()
	defer b.mtx.Unlock()
	defer b.buf.Reset()
	return b.buf.String()
}

// syncedBuffer is a buffer for logs.
type syncedBuffer struct {
	mtx sync.Mutex
	buf bytes.Buffer
}

func (b *syncedBuffer) Write(p []byte) (int, error) {
	b.mtx.Lock()
	defer b.mtx.Unlock()
	return b.buf.Write(p)
}

func (b *syncedBuffer) String() string {
	b.mtx.Lock()
	defer b.mtx.Unlock()
	return b.buf.String()
}

// fileSize returns how many bytes a file has, 0 if it is not there.
func fileSize(path string) int64 {
	info, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return info.Size()
}
