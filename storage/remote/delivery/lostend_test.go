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
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/common/promslog"
	"github.com/stretchr/testify/require"

	"github.com/ackwal/ackwal/storage/remote/delivery/client"
	"github.com/ackwal/ackwal/storage/remote/delivery/internal/queue"
	"github.com/ackwal/ackwal/tsdb/wlog/cursor"
	"github.com/ackwal/ackwal/tsdb/wlog/repair"
	"github.com/ackwal/ackwal/tsdb/wlog/savepoint"
	"github.com/ackwal/ackwal/tsdb/wlog/series"
	"github.com/ackwal/ackwal/tsdb/wlog/vfs"

	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/tsdb/record"
	"github.com/prometheus/prometheus/tsdb/wlog"
)

// newBlockedRig returns a rig whose endpoint "a" is down, has its queue full, and has read
// a part of five segments.
func newBlockedRig(t *testing.T) (*journal, map[string]*receiver, *rig) {
	j, receivers := behind(t, 5)
	receivers["a"].set(unavailable)
	r := newRig(t, j, receivers, Options{})
	r.attach(remoteWrite("a"))
	q := r.running[0].streams()[0].queue
	require.Eventually(t, func() bool { return q.Stats().Full }, time.Minute, time.Millisecond)
	return j, receivers, r
}

// An endpoint forfeits segments to a limit of which it has a part in memory, and then
// the process is stopped or killed: what was in memory is lost with it, and counted. With
// what the limit took that is all that is not delivered, once, whether the segments were
// removed or not (I1).
func TestForfeitedIsCountedOnce(t *testing.T) {
	for _, tc := range []struct {
		name            string
		own             bool // Else it is a limit of the whole log.
		killed, removed bool
		before          bool // The savepoint is of a release that did not say what was forfeited.
	}{
		{name: "whole log, killed", killed: true, removed: true},
		{name: "whole log, killed before segments went", killed: true},
		{name: "whole log, stopped", removed: true},
		{name: "whole log, killed before an upgrade", killed: true, removed: true, before: true},
		{name: "endpoint, killed", own: true, killed: true},
		{name: "endpoint, stopped", own: true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			j, receivers, r := newBlockedRig(t)
			var ids []string
			if tc.own {
				ids = append(ids, r.running[0].id)
			}
			require.NoError(t, r.Forfeit(t.Context(), cursor.Position{Segment: 4}, "limit", ids...))
			require.NoError(t, r.Persist(t.Context()))
			left, err := os.ReadFile(filepath.Join(j.dir, savepoint.CurrentName))
			require.NoError(t, err)
			require.NoError(t, r.Close())
			lost := testutil.ToFloat64(r.metrics.expired[queue.Samples].WithLabelValues("a", "limit"))
			require.Positive(t, lost)
			if tc.before {
				f, err := savepoint.Decode(left)
				require.NoError(t, err)
				f.Endpoints[0].ForfeitedBefore = 0
				left, err = savepoint.Encode(f)
				require.NoError(t, err)
			}
			if tc.killed {
				require.NoError(t, os.WriteFile(filepath.Join(j.dir, savepoint.CurrentName), left, 0o600))
			}
			if tc.removed {
				require.NoError(t, j.wal.Truncate(4))
			}

			receivers["a"].set(nil)
			of := map[string]string{"remote_name": "a"}
			r = newRig(t, j, receivers, Options{})
			r.attach(remoteWrite("a"))
			r.complete("a", 2000)
			lost += r.expired(of)
			require.Equal(t, 8000.0, lost)
			require.Zero(t, r.value("prometheus_remote_storage_segments_missing_total", of))
			require.NoError(t, r.Close())
			r = newRig(t, j, receivers, Options{})
			r.attach(remoteWrite("a"))
			require.Zero(t, r.expired(of), "it is counted once")
			r.end()
		})
	}
}

// The writer of the log removes segments of which an endpoint has a part in memory: what
// it had not read counts as missing, once, and the next start counts the rest (I1).
func TestTruncatedByItsWriterIsCountedOnce(t *testing.T) {
	j, receivers, r := newBlockedRig(t)
	require.NoError(t, j.wal.Truncate(4))
	r.truncated(4)
	of := map[string]string{"remote_name": "a"}
	require.Positive(t, r.value("prometheus_remote_storage_segments_missing_total", of))
	require.NoError(t, r.Close())

	receivers["a"].set(nil)
	r = newRig(t, j, receivers, Options{})
	r.attach(remoteWrite("a"))
	r.complete("a", 2000)
	require.Positive(t, r.expired(map[string]string{"remote_name": "a", "reason": reasonStopped}))
	require.Zero(t, r.value("prometheus_remote_storage_segments_missing_total", of))
	r.end()
}

// What a savepoint says was forfeited of a log that was wiped since says nothing of the one
// that is there now (I2).
func TestForfeitedOfAnotherLog(t *testing.T) {
	j, receivers := behind(t, 5)
	receivers["a"].set(unavailable)
	r := newRig(t, j, receivers, Options{})
	r.attach(remoteWrite("a"))
	require.Eventually(t, func() bool { return r.running[0].streams()[0].queue.Stats().Queued > 0 }, time.Minute, time.Millisecond)
	require.NoError(t, r.Forfeit(t.Context(), cursor.Position{Segment: 4}, "limit", r.running[0].id))
	require.NoError(t, r.Persist(t.Context()))
	left, err := os.ReadFile(filepath.Join(j.dir, savepoint.CurrentName))
	require.NoError(t, err)
	r.end()
	require.NoError(t, os.RemoveAll(filepath.Join(j.dir, "wal")))
	f, err := savepoint.Decode(left)
	require.NoError(t, err)
	for i := range f.Endpoints {
		e := &f.Endpoints[i]
		if e.Identity.Name != "a" {
			continue
		}
		require.Equal(t, 4, e.ForfeitedBefore)
		for p := range e.Acked { // Marks inside of the segment, of which nothing is known then.
			e.Acked[p].Offset, e.Acked[p].CRC = 100, 1
		}
		e.Floor.Offset, e.Floor.CRC = 100, 1
	}
	left, err = savepoint.Encode(f)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(j.dir, savepoint.CurrentName), left, 0o600))

	j = openJournal(t, j.dir, nil)
	for range 5 {
		j.commit(100)
		j.cut()
	}
	receivers["a"].set(nil)
	r = newRig(t, j, receivers, Options{})
	r.attach(remoteWrite("a"))
	r.complete("a", j.count)
	require.Zero(t, r.expired(nil))
	r.end()
}

// half is a log that was killed: of its newest segment endpoint a has acknowledged ten
// commits of 100 samples, b nothing, and ten more came after. The segment before is
// delivered to both.
type half struct {
	*journal
	receivers map[string]*receiver
	path      string // Of the newest segment.
	acked     cursor.Position
	end       cursor.Position
}

func newHalf(t *testing.T) *half {
	h := &half{journal: openJournal(t, t.TempDir(), nil), receivers: map[string]*receiver{"a": newReceiver(), "b": newReceiver()}}
	r := newRig(t, h.journal, h.receivers, Options{})
	r.attach(remoteWrite("a"), remoteWrite("b"))
	for range 20 {
		r.commit(100)
	}
	r.complete("a", 2000)
	r.complete("b", 2000)
	saved := func(name string) savepoint.File {
		require.NoError(t, r.Persist(t.Context()))
		f, _, err := r.store.Load()
		require.NoError(t, err)
		for _, e := range f.Endpoints {
			if e.Identity.Name == name {
				f.Endpoints = []savepoint.Endpoint{e}
			}
		}
		return f
	}
	states := func(name string, at cursor.Position) {
		t.Helper()
		require.Eventually(t, func() bool { return saved(name).Endpoints[0].Floor.Position == at }, time.Minute, time.Millisecond)
	}
	states("b", *h.head.Load())
	h.cut()
	h.receivers["b"].set(unavailable)
	for range 10 {
		r.commit(100)
	}
	r.complete("a", 3000)
	h.acked = *h.head.Load()
	states("a", h.acked)
	h.receivers["a"].set(unavailable)
	for range 10 {
		r.commit(100)
	}
	h.end = *h.head.Load()
	require.Equal(t, h.end.Offset, saved("a").End)
	h.path = wlog.SegmentName(filepath.Join(h.dir, "wal"), h.end.Segment)
	left, err := os.ReadFile(filepath.Join(h.dir, savepoint.CurrentName))
	require.NoError(t, err)
	require.NoError(t, r.Close())
	require.NoError(t, os.WriteFile(filepath.Join(h.dir, savepoint.CurrentName), left, 0o600))
	require.NoError(t, h.wal.Close())
	for _, rc := range h.receivers {
		rc.set(func(int) *client.Result { return nil })
	}
	return h
}

// open begins another run.
func (h *half) open() *rig {
	h.t.Helper()
	_, err := repair.Directory(filepath.Join(h.dir, "wal"), repair.Options{FS: vfs.OS, Logger: promslog.NewNopLogger()})
	require.NoError(h.t, err)
	next := openJournal(h.t, h.dir, h.table)
	next.next, next.series, next.time = h.next, h.series, h.time
	return newRig(h.t, next, h.receivers, Options{})
}

// counted returns what a run has counted so far.
func (h *half) counted(r *rig) (bytes, items, segments map[string]float64) {
	bytes, items, segments = map[string]float64{}, map[string]float64{}, map[string]float64{}
	for name := range h.receivers {
		of := map[string]string{"remote_name": name}
		bytes[name] = r.value("prometheus_remote_storage_unreadable_bytes_total", of)
		items[name] = r.value("prometheus_remote_storage_unreadable_total", of)
		segments[name] = r.value("prometheus_remote_storage_segments_missing_total", of)
	}
	return bytes, items, segments
}

// restart starts another run, and returns what is counted when all that is left has been
// delivered.
func (h *half) restart() (bytes, items, segments map[string]float64) {
	h.t.Helper()
	return h.finish(h.open())
}

func (h *half) finish(r *rig) (bytes, items, segments map[string]float64) {
	h.t.Helper()
	r.attach(remoteWrite("a"), remoteWrite("b"))
	r.commit(1)
	require.Eventually(h.t, func() bool {
		return r.Persist(h.t.Context()) == nil && r.journal.gate.Floor().Position == *r.journal.head.Load()
	}, time.Minute, time.Millisecond)
	bytes, items, segments = h.counted(r)
	require.NoError(h.t, r.Close())
	require.NoError(h.t, r.journal.wal.Close())
	return bytes, items, segments
}

// The newest segment is gone after a kill: what each endpoint had not acknowledged of it
// is counted, as far as the log was written when the last savepoint was, and once (I9).
func TestNewestSegmentIsGoneAfterKill(t *testing.T) {
	for how, damage := range map[string]func(path string) error{
		"removed": os.Remove,
		"emptied": func(path string) error { return os.Truncate(path, 0) },
		"zeros":   func(path string) error { return os.WriteFile(path, make([]byte, fileSize(path)), 0o666) },
	} {
		h := newHalf(t)
		require.NoError(t, damage(h.path))
		bytes, items, segments := h.restart()
		require.InEpsilon(t, h.end.Offset-h.acked.Offset, bytes["a"], 0.1, how)
		require.InEpsilon(t, h.end.Offset, bytes["b"], 0.1)
		require.InEpsilon(t, 1000, items["a"], 0.4)
		require.InEpsilon(t, 2000, items["b"], 0.4)
		if how == "removed" {
			require.Equal(t, map[string]float64{"a": 1, "b": 1}, segments)
		}
		bytes, items, segments = h.restart()
		for _, counted := range []map[string]float64{bytes, items, segments} {
			require.Equal(t, map[string]float64{"a": 0, "b": 0}, counted)
		}
	}
}

// The newest segment has lost its end after a kill: the endpoint that had come further
// loses what it had not acknowledged, the one that had not, what is missing (I9).
func TestNewestSegmentIsCutAfterKill(t *testing.T) {
	h := newHalf(t)
	require.NoError(t, os.Truncate(h.path, h.acked.Offset/2))
	r, said := h.open(), &logBuffer{}
	r.logger, r.losses = slog.New(newSparse(slog.NewTextHandler(said, nil))), slog.New(slog.NewTextHandler(said, nil))
	bytes, items, segments := h.finish(r)
	lines := said.take()
	for name := range h.receivers {
		require.Regexp(t, "an endpoint had not been sent.* remote_name="+name+" .* bytes="+strconv.Itoa(int(bytes[name])), lines)
	}
	require.InEpsilon(t, h.end.Offset-h.acked.Offset, bytes["a"], 0.1)
	require.InEpsilon(t, h.end.Offset-h.acked.Offset/2, bytes["b"], 0.1)
	require.InEpsilon(t, 1000, items["a"], 0.4)
	require.InEpsilon(t, 1500, items["b"], 0.4)
	require.Zero(t, segments["a"])
}

// What the newest segment lost after a kill is counted once, whatever becomes of the run
// that finds it: that endpoints are not at work in it, or do not read so far (I9).
func TestCutIsCountedOnceWhateverRestarts(t *testing.T) {
	slow := func(name string) *config.RemoteWriteConfig {
		c := remoteWrite(name)
		c.QueueConfig.MaxSamplesPerSend, c.QueueConfig.Capacity = 1, 1
		return c
	}
	for name, tc := range map[string]struct {
		configured []*config.RemoteWriteConfig // Nil for no configuration at all.
		gone       bool                        // All of the segment.
	}{
		"no configuration":      {},
		"removed":               {configured: []*config.RemoteWriteConfig{}},
		"removed, all gone":     {configured: []*config.RemoteWriteConfig{}, gone: true},
		"one removed":           {configured: []*config.RemoteWriteConfig{remoteWrite("a")}},
		"not read yet":          {configured: []*config.RemoteWriteConfig{slow("a"), slow("b")}},
		"not read yet, no file": {configured: []*config.RemoteWriteConfig{slow("a"), slow("b")}, gone: true},
	} {
		for _, killed := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, killed %t", name, killed), func(t *testing.T) {
				h := newHalf(t)
				cut := h.acked.Offset / 2
				if tc.gone {
					cut = 0
					require.NoError(t, os.Remove(h.path))
				} else {
					require.NoError(t, os.Truncate(h.path, cut))
				}
				for _, rc := range h.receivers {
					rc.set(unavailable)
				}
				bytes, items := map[string]float64{}, map[string]float64{}
				for range 2 {
					r := h.open()
					require.NoError(t, r.Attach(r.journal.source()))
					if tc.configured != nil {
						r.apply(tc.configured...)
					}
					r.commit(1)
					require.NoError(t, r.Persist(t.Context()))
					left, err := os.ReadFile(filepath.Join(h.dir, savepoint.CurrentName))
					require.NoError(t, err)
					b, i, _ := h.counted(r)
					for name := range h.receivers {
						bytes[name] += b[name]
						items[name] += i[name]
					}
					require.NoError(t, r.Close())
					if killed {
						require.NoError(t, os.WriteFile(filepath.Join(h.dir, savepoint.CurrentName), left, 0o600))
					}
					require.NoError(t, r.journal.wal.Close())
				}
				for _, rc := range h.receivers {
					rc.set(nil)
				}
				b, i, _ := h.restart()
				for name, of := range map[string]struct{ bytes, items float64 }{
					"a": {float64(h.end.Offset - h.acked.Offset), 1000},
					"b": {float64(h.end.Offset - cut), 2000 * float64(h.end.Offset-cut) / float64(h.end.Offset)},
				} {
					require.InEpsilon(t, of.bytes, bytes[name]+b[name], 0.1, name)
					require.InEpsilon(t, of.items, items[name]+i[name], 0.4, name)
				}
				bytes, items, _ = h.restart()
				require.Equal(t, []map[string]float64{{"a": 0, "b": 0}, {"a": 0, "b": 0}}, []map[string]float64{bytes, items})
			})
		}
	}
}

// What an endpoint lost of the end of a segment is what no partition had acknowledged, of
// the backlog and of what was delivered before its turn, and something if only an isolated
// series waited there.
func TestCutOfRanges(t *testing.T) {
	at := func(segment int, offset int64) savepoint.Mark {
		return savepoint.Mark{Point: cursor.Point{Position: cursor.Position{Segment: segment, Offset: offset}}}
	}
	all := func(m savepoint.Mark) []savepoint.Mark { return slices.Repeat([]savepoint.Mark{m}, queue.Partitions) }
	fresh := func(from, acked savepoint.Mark) *savepoint.Fresh {
		return &savepoint.Fresh{From: from.Point, Acked: all(acked)}
	}
	apart := func(m savepoint.Mark) []savepoint.Isolated { return []savepoint.Isolated{{Series: 1, Mark: m}} }
	for name, tc := range map[string]struct {
		e    savepoint.Endpoint
		want int64
	}{
		"behind":                       {savepoint.Endpoint{Acked: all(at(3, 10))}, 600},
		"within":                       {savepoint.Endpoint{Acked: all(at(5, 700))}, 300},
		"beyond":                       {savepoint.Endpoint{Acked: all(at(5, 1000))}, 0},
		"only an isolated series":      {savepoint.Endpoint{Acked: all(at(5, 1000)), Isolated: apart(at(4, 1))}, 1},
		"fresh begins before it":       {savepoint.Endpoint{Acked: all(at(3, 10)), Isolated: apart(at(3, 1)), Fresh: fresh(at(4, 0), at(5, 1000))}, 0},
		"fresh begins before, within":  {savepoint.Endpoint{Acked: all(at(3, 10)), Fresh: fresh(at(5, 100), at(5, 900))}, 100},
		"fresh begins in it":           {savepoint.Endpoint{Acked: all(at(3, 10)), Fresh: fresh(at(5, 600), at(5, 900))}, 300},
		"fresh begins behind it":       {savepoint.Endpoint{Acked: all(at(3, 10)), Fresh: fresh(at(6, 0), at(6, 0))}, 600},
		"fresh has an isolated series": {savepoint.Endpoint{Acked: all(at(3, 10)), Fresh: &savepoint.Fresh{From: at(4, 0).Point, Acked: all(at(5, 1000)), Isolated: apart(at(5, 20))}}, 1},
	} {
		lost := cutOf(series.New(series.Options{}), queue.UnreadPart{Missing: true, Range: savepoint.Range{Segment: 5, From: 400, To: 1000}}, &tc.e)
		require.Equal(t, tc.want, lost.Bytes(), name)
		require.Equal(t, min(tc.want, 1), lost.Sums()[2], name)
	}
}

// Nothing is wrong with the log after a kill: nothing is counted.
func TestNothingIsGoneAfterKill(t *testing.T) {
	h := newHalf(t)
	bytes, items, segments := h.restart()
	for _, counted := range []map[string]float64{bytes, items, segments} {
		require.Equal(t, map[string]float64{"a": 0, "b": 0}, counted)
	}
}

// A finished segment of which an endpoint had acknowledged half is gone: the other half is
// counted, wherever its size is known from (I9).
func TestHalfOfSegmentThatIsGone(t *testing.T) {
	for name, damage := range map[string]func(path string) error{
		"removed": os.Remove,
		"emptied": func(path string) error { return os.Truncate(path, 0) },
	} {
		h := newHalf(t)
		h.journal = openJournal(t, h.dir, h.table) // Finishes it, as a run does that sends nothing.
		h.cut()
		require.NoError(t, h.wal.Close())
		require.NoError(t, damage(h.path))
		bytes, items, segments := h.restart()
		require.InEpsilon(t, h.end.Offset-h.acked.Offset, bytes["a"], 0.1, name)
		require.InEpsilon(t, h.end.Offset, bytes["b"], 0.1, name)
		require.InEpsilon(t, 1000, items["a"], 0.4)
		require.InEpsilon(t, 2000, items["b"], 0.4)
		if name == "removed" {
			require.Equal(t, map[string]float64{"a": 1, "b": 1}, segments)
		}
	}
}

// The oldest segments are gone at a start of which an endpoint had acknowledged a part:
// what they held for it is counted, about, and once; as forfeited to another engine if one
// had the log in between and removed them (I1). What is left of them is delivered.
func TestOldestSegmentsAreGone(t *testing.T) {
	for name, tc := range map[string]struct {
		stock bool
		first int // That is left.
	}{
		"removed":            {false, 3},
		"by stock":           {true, 3},
		"by stock, all ours": {true, 6},
	} {
		t.Run(name, func(t *testing.T) {
			j, receivers := behind(t, 5)
			receivers["b"].set(unavailable)
			r := newRig(t, j, receivers, Options{})
			r.attach(remoteWrite("a"), remoteWrite("b"))
			r.complete("a", j.count)
			require.Eventually(t, func() bool {
				return r.Persist(t.Context()) == nil && r.running[0].floor() == *j.head.Load()
			}, time.Minute, time.Millisecond)
			r.end()
			wal := filepath.Join(j.dir, "wal")
			if tc.stock {
				w, err := wlog.New(nil, nil, wal, "none")
				require.NoError(t, err)
				var enc record.Encoder
				require.NoError(t, w.Log(enc.Samples([]record.RefSample{{Ref: 1, T: j.time + 1, V: 1}}, nil)))
				require.NoError(t, w.Truncate(tc.first))
				require.NoError(t, w.Close())
			} else {
				for segment := range tc.first {
					require.NoError(t, os.Remove(wlog.SegmentName(wal, segment)))
				}
			}

			had, _ := receivers["b"].counts()
			receivers["b"].set(nil)
			restart := func() (forfeited, unreadable map[string]float64) {
				next := openJournal(t, j.dir, j.table)
				src := next.source()
				src.Size = func(segment int) int64 { return map[bool]int64{true: 20_000}[segment < 5] }
				r := newRig(t, next, receivers, Options{})
				require.NoError(t, r.Attach(src))
				r.apply(remoteWrite("a"), remoteWrite("b"))
				require.Eventually(t, func() bool {
					return r.Persist(t.Context()) == nil && next.gate.Floor().Position == *next.head.Load()
				}, time.Minute, time.Millisecond)
				forfeited, unreadable = map[string]float64{}, map[string]float64{}
				for _, name := range []string{"a", "b"} {
					of := map[string]string{"remote_name": name}
					forfeited[name] = r.expired(of)
					unreadable[name] = r.value("prometheus_remote_storage_unreadable_total", of)
					if name == "b" && !tc.stock {
						require.Contains(t, []float64{float64(tc.first), 0}, r.value("prometheus_remote_storage_segments_missing_total", of))
					}
				}
				require.NoError(t, r.Close())
				require.NoError(t, next.wal.Close())
				return forfeited, unreadable
			}
			forfeited, unreadable := restart()
			lost, other := unreadable, forfeited
			if tc.stock {
				lost, other = forfeited, unreadable
			}
			require.InEpsilon(t, 2000.0*float64(min(tc.first, 5)), lost["b"], 0.4)
			require.Zero(t, lost["a"])
			stored, _ := receivers["b"].counts()
			require.Equal(t, had+2000*max(5-tc.first, 0), stored, "what is left is delivered")
			require.Equal(t, map[string]float64{"a": 0, "b": 0}, other)
			forfeited, unreadable = restart()
			for _, counted := range []map[string]float64{forfeited, unreadable} {
				require.Equal(t, map[string]float64{"a": 0, "b": 0}, counted)
			}
		})
	}
}
