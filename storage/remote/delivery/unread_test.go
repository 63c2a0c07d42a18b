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
	"crypto/rand"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/prometheus/common/promslog"
	"github.com/stretchr/testify/require"

	"github.com/ackwal/ackwal/storage/remote/delivery/client"
	"github.com/ackwal/ackwal/storage/remote/delivery/internal/queue"
	"github.com/ackwal/ackwal/tsdb/wlog/cursor"
	"github.com/ackwal/ackwal/tsdb/wlog/repair"
	"github.com/ackwal/ackwal/tsdb/wlog/savepoint"
	"github.com/ackwal/ackwal/tsdb/wlog/vfs"

	"github.com/prometheus/prometheus/tsdb/wlog"
)

// behind returns a log of some finished segments with 2000 samples each, of which
// two endpoints have nothing.
func behind(t *testing.T, segments int) (*journal, map[string]*receiver) {
	t.Helper()
	j := openJournal(t, t.TempDir(), nil)
	receivers := map[string]*receiver{"a": newReceiver(), "b": newReceiver()}
	r := newRig(t, j, receivers, Options{})
	r.attach(remoteWrite("a"), remoteWrite("b"))
	require.NoError(t, r.Close())
	for range segments {
		for range 20 {
			j.commit(100)
		}
		j.cut()
	}
	return j, receivers
}

// atLeast waits until both endpoints have so many samples and everything else is
// acknowledged.
func (r *rig) atLeast(want int) {
	r.t.Helper()
	require.Eventually(r.t, func() bool {
		a, _ := r.receivers["a"].counts()
		b, _ := r.receivers["b"].counts()
		return a >= want && b >= want && r.value("prometheus_remote_storage_samples_pending", nil) == 0
	}, time.Minute, 5*time.Millisecond)
}

// What a flipped byte costs is counted for each endpoint that had still to be sent
// it, whether it was read as it is or a repair had taken it out before (I9).
func TestDamageIsCounted(t *testing.T) {
	for _, repaired := range []bool{false, true} {
		j, receivers := behind(t, 3)
		path := wlog.SegmentName(filepath.Join(j.dir, "wal"), 1)
		b, err := os.ReadFile(path)
		require.NoError(t, err)
		used := len(bytes.TrimRight(b, "\x00")) // The rest is padding.
		b[used/2] ^= 0x10
		require.NoError(t, os.WriteFile(path, b, 0o666))
		if repaired {
			damages, err := repair.Segment(t.Context(), vfs.OS, filepath.Dir(path), 1, promslog.NewNopLogger())
			require.NoError(t, err)
			require.Len(t, damages, 1)
		}
		r := newRig(t, j, receivers, Options{})
		r.attach(remoteWrite("a"), remoteWrite("b"))
		r.atLeast(j.count - 100)
		for _, name := range []string{"a", "b"} {
			stored, _ := receivers[name].counts()
			require.Equal(t, j.count-100, stored, "repaired %t: one record is lost", repaired)
			of := map[string]string{"remote_name": name}
			require.InDelta(t, 100, r.value("prometheus_remote_storage_unreadable_total", of), 30, "repaired %t", repaired)
			require.InDelta(t, float64(used)/21, r.value("prometheus_remote_storage_unreadable_bytes_total", of), float64(used)/42)
		}
		r.end()
	}
}

// A segment that the disk refuses to read is tried again and then passed over, and
// counted; alerts on endpoints that do not come on tell of it meanwhile (I9).
func TestUnreadableSegmentIsPassedOver(t *testing.T) {
	t.Parallel()
	j, receivers := behind(t, 3)
	path := wlog.SegmentName(filepath.Join(j.dir, "wal"), 1)
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.NoError(t, os.Remove(path))
	// Reading from a directory is an error, and not that there is nothing.
	require.NoError(t, os.Mkdir(path, 0o777))
	require.NoError(t, os.WriteFile(filepath.Join(path, "x"), nil, 0o666))

	r := newRig(t, j, receivers, Options{})
	r.attach(remoteWrite("a"), remoteWrite("b"))
	require.Eventually(t, func() bool {
		stored, _ := receivers["a"].counts()
		return stored == 2000 && r.value("prometheus_remote_storage_unacked_seconds", map[string]string{"remote_name": "a"}) > 2
	}, time.Minute, 5*time.Millisecond, "it is before the segment, and says so")
	r.atLeast(j.count - 2000)
	r.commit(100)
	r.complete("a", j.count-2000)
	r.complete("b", j.count-2000)
	require.Positive(t, r.value("prometheus_remote_storage_unreadable_bytes_total", map[string]string{"remote_name": "b"}))
	require.Positive(t, r.value("prometheus_remote_storage_unreadable_total", map[string]string{"remote_name": "b"}))
	require.Positive(t, info.Size())
	r.end()
}

// Segments that are still to be delivered are removed, or their names lead nowhere:
// what the others hold is delivered, and what is gone is counted, whether or not
// there are stand-ins by then (I9).
func TestSegmentThatIsGoneIsPassedOver(t *testing.T) {
	repairs := func(src Source) error {
		_, err := repair.Segments(vfs.OS, src.WALDir, src.Head().Segment, promslog.NewNopLogger())
		return err
	}
	leaves := func(Source) error { return nil }
	dangle := func(path string) error {
		return errors.Join(os.Rename(path, path+".away"), os.Symlink(path+".nowhere", path))
	}
	for name, tc := range map[string]struct {
		remove func(path string) error
		then   func(Source) error
		known  bool // How large it was.
	}{
		"removed":                  {os.Remove, leaves, false},
		"removed, repaired":        {os.Remove, repairs, false},
		"removed, known":           {os.Remove, leaves, true},
		"removed, repaired, known": {os.Remove, repairs, true},
		"dangling":                 {dangle, leaves, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			known := tc.known
			j, receivers := behind(t, 6)
			for _, rc := range receivers {
				rc.set(func(int) *client.Result { return &client.Result{Status: http.StatusServiceUnavailable} })
			}
			r := newRig(t, j, receivers, Options{})
			src, sizes := j.source(), map[int]int64{}
			for segment := range 6 {
				sizes[segment] = cursor.SegmentSize(src.WALDir, segment)
			}
			if known {
				src.Size = func(segment int) int64 { return sizes[segment] }
			}
			require.NoError(t, r.Attach(src))
			r.apply(remoteWrite("a"), remoteWrite("b"))
			// What they hold in memory is less than what comes before these.
			for _, segment := range []int{3, 4} {
				require.NoError(t, tc.remove(wlog.SegmentName(r.src.WALDir, segment)))
			}
			require.NoError(t, tc.then(j.source()))
			for _, rc := range receivers {
				rc.set(nil)
			}
			r.atLeast(j.count - 4000)
			require.NoError(t, repairs(j.source()))
			r.commit(100)
			for name := range receivers {
				r.complete(name, j.count-4000)
				of := map[string]string{"remote_name": name}
				require.Equal(t, 2.0, r.value("prometheus_remote_storage_segments_missing_total", of))
				// By bytes, of which half are padding here; counted once, not twice.
				require.InDelta(t, 6500, r.value("prometheus_remote_storage_unreadable_total", of), 3500)
				if known {
					require.Equal(t, float64(sizes[3]+sizes[4]), r.value("prometheus_remote_storage_unreadable_bytes_total", of))
				}
			}
			r.end()
		})
	}
}

// A series that is sent apart from others loses what it had in a segment that is
// gone, which is counted, and goes on behind it (I9).
func TestApartPassesOverWhatIsGone(t *testing.T) {
	j, _ := behind(t, 6)
	src := j.source()
	reader := newLogReader(promslog.NewNopLogger(), &src, func(*cursor.Corruption) {})
	require.NoError(t, os.Remove(wlog.SegmentName(src.WALDir, 2)))
	m := &seriesRange{
		hash:  hashes{}.of(j.series[7]),
		from:  savepoint.Mark{Point: cursor.Point{Position: cursor.Position{Segment: 1}}},
		until: savepoint.Mark{Point: cursor.Point{Position: cursor.Position{Segment: 5}}},
	}
	rr := newRereader(reader, []*seriesRange{m})
	var lost queue.Unread
	rr.onUnread = func(n int, u queue.Unread) {
		require.Equal(t, 1, n)
		lost.Parts = append(lost.Parts, u.Parts...)
	}
	n := 0
	require.NoError(t, rr.read(t.Context(), func() bool { return true }, func(*seriesRange, queue.ItemView, savepoint.Mark) bool { n++; return true }))
	require.Equal(t, 3*20, n)
	require.True(t, m.complete)
	require.Equal(t, 1, lost.Segments())
	require.NoError(t, j.wal.Close())
}

// The newest segments of a log that is not in use are removed. Their numbers are given
// again; endpoints that had not been sent all of them count them (I9).
func TestNewestSegmentsAreGone(t *testing.T) {
	j, receivers := behind(t, 3)
	r := newRig(t, j, receivers, Options{})
	r.attach(remoteWrite("a"), remoteWrite("b"))
	r.complete("a", j.count)
	r.complete("b", j.count)
	receivers["b"].set(func(int) *client.Result { return &client.Result{Status: http.StatusServiceUnavailable} })
	for range 3 {
		r.commit(100)
		j.cut()
	}
	r.commit(100)
	r.complete("a", j.count)
	r.end()
	for _, segment := range []int{5, 6} {
		require.NoError(t, os.Remove(wlog.SegmentName(filepath.Join(j.dir, "wal"), segment)))
	}

	receivers["b"].set(nil)
	j = openJournal(t, j.dir, j.table)
	r = newRig(t, j, receivers, Options{})
	r.attach(remoteWrite("a"), remoteWrite("b"))
	require.Equal(t, 2.0, r.value("prometheus_remote_storage_segments_missing_total", map[string]string{"remote_name": "b"}))
	require.Zero(t, r.value("prometheus_remote_storage_segments_missing_total", map[string]string{"remote_name": "a"}))
	r.end()
}

// A finished segment that was emptied, or cut off behind a record, reads as if it were
// whole. What is gone is counted by the size that it had.
func TestEndThatIsGoneIsCounted(t *testing.T) {
	for name, keep := range map[string]int64{"emptied": 0, "cut off behind a record": -1} {
		t.Run(name, func(t *testing.T) {
			j, receivers := behind(t, 3)
			src := j.source()
			path := wlog.SegmentName(src.WALDir, 1)
			info, err := os.Stat(path)
			require.NoError(t, err)
			if keep < 0 {
				tail, err := cursor.Open(src.WALDir, cursor.Position{Segment: 1})
				require.NoError(t, err)
				for range 11 { // The marker and half of the commits.
					it, err := tail.Next()
					require.NoError(t, err)
					keep = it.End.Offset
				}
				require.NoError(t, tail.Close())
			}
			require.NoError(t, os.Truncate(path, keep))
			lost := 2000
			if keep > 0 {
				lost = 1000
			}

			r := newRig(t, j, receivers, Options{})
			src.Size = func(segment int) int64 { return map[int]int64{1: info.Size()}[segment] }
			require.NoError(t, r.Attach(src))
			r.apply(remoteWrite("a"), remoteWrite("b"))
			r.atLeast(j.count - lost)
			for host := range receivers {
				of := map[string]string{"remote_name": host}
				stored, _ := receivers[host].counts()
				require.Equal(t, j.count-lost, stored)
				require.Equal(t, float64(info.Size()-keep), r.value("prometheus_remote_storage_unreadable_bytes_total", of))
				require.Positive(t, r.value("prometheus_remote_storage_unreadable_total", of))
			}
			r.end()
		})
	}
}

// What cannot be read is counted once, however many runs read past it before the
// endpoint acknowledges anything behind it, and so is what is damaged before that later
// on (I9).
func TestUnreadIsCountedOnceOverRestarts(t *testing.T) {
	j, receivers := behind(t, 3)
	require.NoError(t, os.Truncate(wlog.SegmentName(filepath.Join(j.dir, "wal"), 1), 0))
	flip := func(segment int) {
		path := wlog.SegmentName(filepath.Join(j.dir, "wal"), segment)
		b, err := os.ReadFile(path)
		require.NoError(t, err)
		b[len(bytes.TrimRight(b, "\x00"))/2] ^= 0x10
		require.NoError(t, os.WriteFile(path, b, 0o666))
	}
	flip(2)
	src := j.source()
	src.Size = func(segment int) int64 { return map[int]int64{1: 40_000}[segment] }
	of := map[string]string{"remote_name": "a"}
	var items, bytes []float64
	run := func(ahead bool) {
		r := newRig(t, j, receivers, Options{})
		require.NoError(t, r.Attach(src))
		conf := remoteWrite("a")
		conf.QueueConfig.Capacity = 10_000
		r.apply(conf)
		if ahead {
			require.Eventually(t, func() bool {
				return r.running[0].streams()[0].cursor.start() == *j.head.Load()
			}, time.Minute, time.Millisecond)
		} else {
			r.complete("a", j.count-2000-2*100)
		}
		items = append(items, r.value("prometheus_remote_storage_unreadable_total", of))
		bytes = append(bytes, r.value("prometheus_remote_storage_unreadable_bytes_total", of))
		require.NoError(t, r.Close())
	}
	receivers["a"].set(unavailable)
	run(true)
	require.Greater(t, bytes[0], 40_000.0)
	run(true)
	_, err := repair.Segment(t.Context(), vfs.OS, src.WALDir, 2, promslog.NewNopLogger())
	require.NoError(t, err)
	run(true)
	require.Equal(t, []float64{0, 0}, items[1:])
	require.Equal(t, []float64{0, 0}, bytes[1:])
	flip(0)
	run(true)
	require.InDelta(t, 100, items[3], 50)
	receivers["a"].set(nil)
	run(false)
	require.Zero(t, items[4])
	require.NoError(t, j.wal.Close())
}

// A finished segment that a loss of power has left with nothing but zeros is counted by
// its size, once, whether it is read as it is or a repair has been there (I9).
func TestZerosAreCounted(t *testing.T) {
	for _, repaired := range []int{0, 1, 2} { // Before which run.
		j, receivers := behind(t, 3)
		src := j.source()
		path := wlog.SegmentName(src.WALDir, 1)
		b, err := os.ReadFile(path)
		require.NoError(t, err)
		used := float64(len(bytes.TrimRight(b, "\x00")))
		clear(b)
		require.NoError(t, os.WriteFile(path, b, 0o666))
		of := map[string]string{"remote_name": "a"}
		var items, lost [2]float64
		for run := range items {
			if run == repaired {
				damages, err := repair.Segment(t.Context(), vfs.OS, src.WALDir, 1, promslog.NewNopLogger())
				require.NoError(t, err)
				require.Len(t, damages, 1)
			}
			receivers["a"].set(map[int]func(int) *client.Result{0: unavailable}[run])
			r := newRig(t, j, receivers, Options{})
			r.attach(remoteWrite("a"))
			if run == 0 {
				require.Eventually(t, func() bool {
					return r.value("prometheus_remote_storage_unreadable_bytes_total", of) > 0
				}, time.Minute, time.Millisecond)
			} else {
				r.complete("a", j.count-2000)
			}
			items[run] = r.value("prometheus_remote_storage_unreadable_total", of)
			lost[run] = r.value("prometheus_remote_storage_unreadable_bytes_total", of)
			require.NoError(t, r.Close())
		}
		require.Equal(t, [2]float64{float64(len(b)), 0}, lost, "repaired before run %d", repaired)
		// How much of it padded the last page is no longer known.
		require.InEpsilon(t, 2000/used, items[0]/lost[0], 0.4)
		require.Zero(t, items[1])
		require.NoError(t, j.wal.Close())
	}
}

// Damage that is the first thing an endpoint meets after a start is estimated by what
// earlier runs read of the log.
func TestFirstThingIsDamaged(t *testing.T) {
	noise := func(n int) []byte {
		b := make([]byte, n)
		_, err := rand.Read(b)
		require.NoError(t, err)
		return b
	}
	j, receivers := behind(t, 0)
	for range 2 {
		for range 20 {
			j.commit(100)
			j.log(append([]byte{250}, noise(2000)...)) // Of an unknown type.
		}
		j.cut()
	}
	receivers["a"].set(unavailable)
	r := newRig(t, j, receivers, Options{})
	r.attach(remoteWrite("a"))
	require.Eventually(t, func() bool { return r.running[0].streams()[0].queue.Stats().Queued > 0 }, time.Minute, time.Millisecond)
	require.NoError(t, r.Close())

	src := j.source()
	path := wlog.SegmentName(src.WALDir, 0)
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	used := len(bytes.TrimRight(b, "\x00"))
	require.Greater(t, float64(used)*perByte, 3000.0, "what is assumed of an unknown log is as good")
	require.NoError(t, os.Truncate(path, 0))
	src.Size = func(segment int) int64 { return map[int]int64{0: int64(used)}[segment] }
	receivers["a"].set(nil)
	r = newRig(t, j, receivers, Options{})
	require.NoError(t, r.Attach(src))
	r.apply(remoteWrite("a"))
	r.complete("a", j.count-2000)
	require.InEpsilon(t, 2000, r.value("prometheus_remote_storage_unreadable_total", map[string]string{"remote_name": "a"}), 0.4)
	r.end()
}

// What pads the last page of a segment held nothing: damage in the last record costs that
// record, whether it is read as it is or a repair had taken it out (I9).
func TestPaddingIsNotCounted(t *testing.T) {
	for _, repaired := range []bool{false, true} {
		j, receivers := behind(t, 3)
		src := j.source()
		path := wlog.SegmentName(src.WALDir, 1)
		b, err := os.ReadFile(path)
		require.NoError(t, err)
		used := len(bytes.TrimRight(b, "\x00"))
		require.Less(t, used, len(b)-cursor.PageSize/4)
		b[used-20] ^= 0x10
		require.NoError(t, os.WriteFile(path, b, 0o666))
		if repaired {
			damages, err := repair.Segment(t.Context(), vfs.OS, src.WALDir, 1, promslog.NewNopLogger())
			require.NoError(t, err)
			require.Len(t, damages, 1)
			require.Less(t, damages[0].Bytes, int64(used)/10)
		}
		r := newRig(t, j, receivers, Options{})
		r.attach(remoteWrite("a"), remoteWrite("b"))
		r.atLeast(j.count - 100)
		of := map[string]string{"remote_name": "a"}
		require.InDelta(t, 100, r.value("prometheus_remote_storage_unreadable_total", of), 40, "repaired %t", repaired)
		require.Less(t, r.value("prometheus_remote_storage_unreadable_bytes_total", of), float64(used)/10)
		r.end()
	}
}

// Where a segment has lost its end, what an endpoint had acknowledged before that is not
// sent again (I8), and what it had acknowledged of the end does not count behind it (I2).
func TestGapAtEndIsBehindWhatWasRead(t *testing.T) {
	j, _ := behind(t, 3)
	src := j.source()
	path := wlog.SegmentName(src.WALDir, 1)
	size := fileSize(path)
	tail, err := cursor.Open(src.WALDir, cursor.Position{Segment: 1})
	require.NoError(t, err)
	var end int64
	for range 11 {
		it, err := tail.Next()
		require.NoError(t, err)
		end = it.End.Offset
	}
	require.NoError(t, tail.Close())
	require.NoError(t, os.Truncate(path, end))
	src.Size = func(segment int) int64 { return map[int]int64{1: size}[segment] }
	r := newLogReader(promslog.NewNopLogger(), &src, func(*cursor.Corruption) {})
	defer r.close()
	at, items, gaps := cursor.Point{Position: cursor.Position{Segment: 1}}, []int{}, []bool{}
	for at.Segment < 3 {
		b, err := r.read(at, maxBatchItems, func(cursor.Position) bool { return false })
		require.NoError(t, err)
		items, gaps, at = append(items, b.Total), append(gaps, b.Gap), b.End
		r.close() // Also if another read begins there.
	}
	require.Equal(t, []int{1000, 2000}, items)
	require.Equal(t, []bool{false, true}, gaps)
	require.NoError(t, j.wal.Close())
}
