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
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/ackwal/ackwal/storage/remote/delivery/internal/queue"
	"github.com/ackwal/ackwal/tsdb/wlog/cursor"
	"github.com/ackwal/ackwal/tsdb/wlog/savepoint"
	"github.com/ackwal/ackwal/tsdb/wlog/vfs/faultfs"
)

// TestLastSave defends I8: whatever of a state is written to the savepoint, a
// change of it is noticed.
func TestLastSave(t *testing.T) {
	now := time.Now()
	at := func(offset int64) cursor.Point { return cursor.Point{Position: cursor.Position{Offset: offset}} }
	whole := func() *endpointState {
		st := stateAt("01M330EBW0K4T9ZJ2D4X0G6V8Q", savepoint.Identity{Name: "a"}, "a", at(1), at(2).Position)
		st.removed = &now
		second := stateAt("", savepoint.Identity{}, "", at(4), cursor.Position{})
		st.fresh = &freshRange{from: at(3), acked: second.acked, dispatched: at(7).Position}
		return st
	}
	head := cursor.Position{Segment: 4, Offset: 9}
	file := func(states ...*endpointState) savepoint.File {
		f := savepoint.File{
			Run: "01M330EBW09RD0Q8ATQY5WM9KZ", Segment: head.Segment, End: head.Offset, Checkpoint: -1,
			Partitions: queue.Partitions, Segments: map[int]uint32{0: 1},
		}
		for _, st := range states {
			f.Endpoints = append(f.Endpoints, st.saved())
		}
		return f
	}
	saved := func(f savepoint.File) *lastSave {
		f.Written = now
		data, err := savepoint.Encode(f)
		require.NoError(t, err)
		return &lastSave{data: data, written: now, segment: f.Segment, end: f.End}
	}
	l := saved(file(whole()))
	later := file(whole())
	later.Written = now.Add(time.Hour)
	require.True(t, l.holds(later), "the time alone is no change")
	for name, change := range map[string]func(st *endpointState){
		"id":              func(st *endpointState) { st.id = "01M330EBW0Q7R5N3H8Y1C2B4WD" },
		"identity":        func(st *endpointState) { st.identity.TenantHash = "b" },
		"mark":            func(st *endpointState) { st.dispatched.Offset++ },
		"position":        func(st *endpointState) { st.acked[63].Offset++ },
		"checksum":        func(st *endpointState) { st.acked[63].CRC++ },
		"skip":            func(st *endpointState) { st.acked[1].Skip++ },
		"isolated":        func(st *endpointState) { st.apart = []isolatedMark{{Series: 1, Mark: st.acked[1]}} },
		"removed later":   func(st *endpointState) { later := now.Add(1); st.removed = &later },
		"counted":         func(st *endpointState) { st.counted = []savepoint.Range{{Segment: 1, To: 2}} },
		"memory":          func(st *endpointState) { st.memory[queue.Samples]++ },
		"forfeited":       func(st *endpointState) { st.forfeitedBefore++ },
		"not removed":     func(st *endpointState) { st.removed = nil },
		"one range":       func(st *endpointState) { st.fresh = nil },
		"from":            func(st *endpointState) { st.fresh.from.Offset++ },
		"checksum there":  func(st *endpointState) { st.fresh.from.CRC++ },
		"fresh mark":      func(st *endpointState) { st.fresh.dispatched.Segment++ },
		"fresh marks":     func(st *endpointState) { st.fresh.acked[0].Skip++ },
		"fresh, isolated": func(st *endpointState) { st.fresh.apart = []isolatedMark{{Series: 1, Mark: st.fresh.acked[1]}} },
	} {
		st := whole()
		change(st)
		require.False(t, l.holds(file(st)), name)
		require.False(t, saved(file(st)).holds(file(whole())), name)
	}
	require.False(t, l.holds(file()))
	for name, change := range map[string]func(f *savepoint.File){
		"another segment":     func(f *savepoint.File) { f.Segment = 5 },
		"more of the segment": func(f *savepoint.File) { f.End = 10 },
		"a clean stop":        func(f *savepoint.File) { f.Clean = true },
		"no fingerprint":      func(f *savepoint.File) { f.Segments = nil },
		"what is not valid":   func(f *savepoint.File) { f.Run = "" },
	} {
		f := file(whole())
		change(&f)
		require.False(t, l.holds(f), name)
	}
	partial := file(whole())
	partial.Segments = nil
	require.False(t, saved(partial).holds(file(whole())), "the first had no fingerprint")
	l.data = nil
	require.False(t, l.holds(file(whole())), "what there is is not known")
}

// TestSavesOnlyChanges: no savepoint is written if nothing
// happened, and it does not grow old by that, as with a single endpoint that takes
// nothing; after a failure it is written again, and a durable savepoint always
// is.
func TestSavesOnlyChanges(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	fsys, err := faultfs.New(dir)
	require.NoError(t, err)
	j := openJournal(t, dir, nil)
	r := newRig(t, j, map[string]*receiver{"a": newReceiver()}, Options{FS: fsys})
	r.attach(remoteWrite("a"))
	r.commit(5)
	r.complete("a", 5)
	head := *j.head.Load()
	require.Eventually(t, func() bool {
		return r.Persist(t.Context()) == nil && j.gate.Floor().Position == head
	}, time.Minute, time.Millisecond)

	writes := func() float64 { return testutil.ToFloat64(r.metrics.savepointWrites.WithLabelValues("false")) }
	before := writes()
	for range 10 {
		require.NoError(t, r.save(false))
	}
	require.Equal(t, before, writes())
	r.metrics.savepointWritten.set(time.Now().Add(-time.Hour))
	require.NoError(t, r.save(false))
	require.Less(t, r.metrics.savepointWritten.age(), 60.0, "what is on the disk is as it would be written now")
	require.Equal(t, before, writes())

	fsys.Inject(faultfs.Fault{Err: faultfs.Broken})
	require.ErrorIs(t, r.save(true), faultfs.Broken)
	fsys.Count(nil)
	require.Eventually(t, func() bool {
		return r.save(false) == nil && writes() > before
	}, time.Minute, time.Millisecond)
	before = writes()
	require.NoError(t, r.save(false))
	require.Equal(t, before, writes())
	r.end()
}

// TestSavesByWhatIsSettled covers that a savepoint is not written four times a second for
// a few samples, but once a second at the least, and at once when much would be sent again
// to one of the endpoints after a crash, however many others there are (I8).
func TestSavesByWhatIsSettled(t *testing.T) {
	j := openJournal(t, t.TempDir(), nil)
	receivers := map[string]*receiver{"a": newReceiver(), "dead": newReceiver(), "dead too": newReceiver()}
	receivers["dead"].set(unavailable)
	receivers["dead too"].set(unavailable)
	r := newRig(t, j, receivers, Options{})
	r.attach(remoteWrite("a"), remoteWrite("dead"), remoteWrite("dead too"))
	r.commit(5)
	r.complete("a", 5)
	require.Eventually(t, func() bool { return r.settledItems()[r.running[0]] == 5 }, time.Minute, time.Millisecond)
	r.cancel() // The savepoint writer ends.
	r.wg.Wait()
	require.NoError(t, r.Persist(t.Context()))
	written := r.last.written
	require.False(t, r.saveDue(written.Add(saveInterval)))
	require.True(t, r.saveDue(written.Add(slowSaves)))
	r.running[0].countSettled(queue.Counts{queue.Samples: muchSettled - 1})
	require.False(t, r.saveDue(written.Add(saveInterval)))
	r.running[0].countSettled(queue.Counts{queue.Histograms: 1})
	require.True(t, r.saveDue(written.Add(saveInterval)))
	require.NoError(t, r.Persist(t.Context()))
	require.False(t, r.saveDue(r.last.written.Add(saveInterval)))
	require.NoError(t, r.Close())
	require.NoError(t, j.wal.Close())
}

// beyondMark returns an endpoint's stream that has delivered what there is, and a
// position for which its dispatch watermark has to be raised.
func beyondMark(t *testing.T) (r *rig, s *stream, end cursor.Position) {
	j := openJournal(t, t.TempDir(), nil)
	r = newRig(t, j, map[string]*receiver{"a": newReceiver()}, Options{})
	r.attach(remoteWrite("a"))
	r.commit(10)
	r.complete("a", 10)
	s = r.running[0].streams()[0]
	end = *j.head.Load()
	end.Offset += 10 * watermarkAhead
	return r, s, end
}

// TestWatermarkAdvancesOnce covers that senders which need the dispatch watermark raised at
// the same time wait for one savepoint, and do not each write another.
func TestWatermarkAdvancesOnce(t *testing.T) {
	r, s, end := beyondMark(t)
	entered := make(chan struct{}, 8)
	s.endpoint.persist = func(done func() bool) error {
		entered <- struct{}{}
		return r.saveUnless(done)
	}
	written := func() float64 {
		return r.value("prometheus_remote_storage_savepoint_writes_total", map[string]string{"durable": "true"})
	}
	before := written()
	r.saveMtx.Lock()
	var senders sync.WaitGroup
	for range cap(entered) {
		senders.Go(func() { s.reserve(end) })
	}
	for range cap(entered) {
		<-entered
	}
	r.saveMtx.Unlock()
	senders.Wait()
	require.True(t, s.dispatched.covers(end))
	require.Equal(t, before+1, written())
	require.NoError(t, r.Close())
	require.NoError(t, r.journal.wal.Close())
}

// TestMarkOfStreamThatEnds covers that a sender does not wait for ever for a
// savepoint that says nothing of its stream, and sends nothing without (I8).
func TestMarkOfStreamThatEnds(t *testing.T) {
	r, s, end := beyondMark(t)
	writes := 0
	s.endpoint.persist = func(func() bool) error {
		writes++
		if writes == 3 {
			s.cancel()
		}
		return nil
	}
	require.False(t, s.reserve(end))
	require.Equal(t, 3, writes)
	require.False(t, s.dispatched.covers(end))
	require.NoError(t, r.Close())
	require.NoError(t, r.journal.wal.Close())
}
