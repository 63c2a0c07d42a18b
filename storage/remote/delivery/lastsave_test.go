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

	"github.com/ackwal/ackwal/tsdb/wlog/cursor"
	"github.com/ackwal/ackwal/tsdb/wlog/savepoint"
	"github.com/ackwal/ackwal/tsdb/wlog/vfs/faultfs"
)

// TestLastSave defends I8: whatever of a stand is written to the savepoint, a
// change of it is noticed.
func TestLastSave(t *testing.T) {
	now := time.Now()
	at := func(offset int64) cursor.Point { return cursor.Point{Position: cursor.Position{Offset: offset}} }
	whole := func() *stand {
		st := standAt("id", savepoint.Identity{Name: "a"}, "a", at(1), at(5).Position)
		st.removed = &now
		second := standAt("", savepoint.Identity{}, "", at(3), cursor.Position{})
		st.fresh = &freshRange{from: at(3), marks: second.marks, mark: at(7).Position}
		return st
	}
	head := cursor.Position{Segment: 4, Offset: 9}
	l := lastSave{done: true, whole: true, stands: []*stand{whole()}, head: head}
	require.True(t, l.holds([]*stand{whole()}, head, false))
	for name, change := range map[string]func(st *stand){
		"id":            func(st *stand) { st.id = "other" },
		"identity":      func(st *stand) { st.identity.TenantHash = "b" },
		"mark":          func(st *stand) { st.mark.Offset++ },
		"position":      func(st *stand) { st.marks[63].Offset++ },
		"checksum":      func(st *stand) { st.marks[63].CRC++ },
		"skip":          func(st *stand) { st.marks[1].Skip++ },
		"removed later": func(st *stand) { later := now.Add(1); st.removed = &later },
		"counted":       func(st *stand) { st.counted = []savepoint.Stretch{{Segment: 1, To: 2}} },
		"memory":        func(st *stand) { st.memory[classSamples]++ },
		"not removed":   func(st *stand) { st.removed = nil },
		"one range":     func(st *stand) { st.fresh = nil },
		"from":          func(st *stand) { st.fresh.from.Offset++ },
		"fresh mark":    func(st *stand) { st.fresh.mark.Segment++ },
		"fresh marks":   func(st *stand) { st.fresh.marks[0].Skip++ },
	} {
		st := whole()
		change(st)
		require.False(t, l.holds([]*stand{st}, head, false), name)
		require.False(t, (&lastSave{done: true, whole: true, stands: []*stand{st}, head: head}).holds([]*stand{whole()}, head, false), name)
	}
	require.False(t, l.holds(nil, head, false))
	require.False(t, l.holds([]*stand{whole()}, cursor.Position{Segment: 5, Offset: 9}, false), "another segment")
	require.False(t, l.holds([]*stand{whole()}, cursor.Position{Segment: 4, Offset: 10}, false), "more of the segment")
	require.False(t, l.holds([]*stand{whole()}, head, true), "a clean stop")
	for _, l := range []lastSave{{whole: true}, {done: true}} {
		l.stands, l.head = []*stand{whole()}, head
		require.False(t, l.holds([]*stand{whole()}, head, false))
	}
}

// TestSavesOnlyChanges: four times a second nothing is written if nothing
// happened; after a failure it is written again, and a durable savepoint always
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

	fsys.Inject(faultfs.Fault{Err: faultfs.Broken})
	require.ErrorIs(t, r.save(true), faultfs.Broken)
	fsys.Count(nil)
	require.Eventually(t, func() bool {
		return r.save(false) == nil && writes() > before
	}, time.Minute, time.Millisecond)
	before = writes()
	require.NoError(t, r.save(false))
	require.Equal(t, before, writes())
	require.NoError(t, r.Close())
	require.NoError(t, j.wal.Close())
}

// beyondMark returns an endpoint's lane that has delivered what there is, and a
// position for which its dispatch mark has to be raised.
func beyondMark(t *testing.T) (r *rig, l *lane, end cursor.Position) {
	j := openJournal(t, t.TempDir(), nil)
	r = newRig(t, j, map[string]*receiver{"a": newReceiver()}, Options{})
	r.attach(remoteWrite("a"))
	r.commit(10)
	r.complete("a", 10)
	l = r.running[0].lanes()[0]
	end = *j.head.Load()
	end.Offset += 10 * markAhead
	return r, l, end
}

// TestMarkIsRaisedOnce covers that senders which need the dispatch mark raised at
// the same time wait for one savepoint, and do not each write another.
func TestMarkIsRaisedOnce(t *testing.T) {
	r, l, end := beyondMark(t)
	entered := make(chan struct{}, 8)
	l.persist = func(done func() bool) error {
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
		senders.Go(func() { l.reserve(end) })
	}
	for range cap(entered) {
		<-entered
	}
	r.saveMtx.Unlock()
	senders.Wait()
	require.True(t, l.marks.covers(end))
	require.Equal(t, before+1, written())
	require.NoError(t, r.Close())
	require.NoError(t, r.journal.wal.Close())
}

// TestMarkOfLaneThatEnds covers that a sender does not wait for ever for a
// savepoint that says nothing of its lane, and sends nothing without (I8).
func TestMarkOfLaneThatEnds(t *testing.T) {
	r, l, end := beyondMark(t)
	writes := 0
	l.persist = func(func() bool) error {
		writes++
		if writes == 3 {
			l.cancel()
		}
		return nil
	}
	require.False(t, l.reserve(end))
	require.Equal(t, 3, writes)
	require.False(t, l.marks.covers(end))
	require.NoError(t, r.Close())
	require.NoError(t, r.journal.wal.Close())
}
