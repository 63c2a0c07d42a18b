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
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/common/promslog"
	"github.com/stretchr/testify/require"

	"github.com/ackwal/ackwal/storage/remote/delivery/client"
	"github.com/ackwal/ackwal/tsdb/wlog/cursor"
	"github.com/ackwal/ackwal/tsdb/wlog/gate"
	"github.com/ackwal/ackwal/tsdb/wlog/repair"
	"github.com/ackwal/ackwal/tsdb/wlog/savepoint"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/relabel"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/tsdb/record"
	"github.com/prometheus/prometheus/tsdb/wlog"
	"github.com/prometheus/prometheus/util/compression"
)

// embedder is a program with a log of its own, of which the storage knows
// nothing but the directory.
type embedder struct {
	t       testing.TB
	dir     string
	wal     *wlog.WL
	next    chunks.HeadSeriesRef
	refs    map[string]chunks.HeadSeriesRef
	time    int64
	written map[string]int // Samples per series, as the receiver names it.
	count   int
}

func newEmbedder(t testing.TB) *embedder {
	e := &embedder{t: t, dir: t.TempDir(), written: map[string]int{}}
	e.open()
	return e
}

// open begins a run, whose refs begin at 1.
func (e *embedder) open() {
	var err error
	e.wal, err = wlog.NewSize(nil, nil, filepath.Join(e.dir, "wal"), 16*32*1024, compression.Snappy)
	require.NoError(e.t, err)
	e.next, e.refs = 0, map[string]chunks.HeadSeriesRef{}
}

func (e *embedder) close() { require.NoError(e.t, e.wal.Close()) }

// commit writes a sample of each series.
func (e *embedder) commit(names ...string) {
	e.time++
	var (
		enc     record.Encoder
		defined []record.RefSeries
		samples []record.RefSample
	)
	for _, name := range names {
		lset := labels.FromStrings("__name__", name)
		if e.refs[name] == 0 {
			e.next++
			e.refs[name] = e.next
			defined = append(defined, record.RefSeries{Ref: e.next, Labels: lset})
		}
		samples = append(samples, record.RefSample{Ref: e.refs[name], T: e.time, V: 1})
		e.written[lset.String()]++
		e.count++
	}
	if len(defined) > 0 {
		require.NoError(e.t, e.wal.Log(enc.Series(defined, nil)))
	}
	require.NoError(e.t, e.wal.Log(enc.Samples(samples, nil)))
}

// cut begins a segment.
func (e *embedder) cut() {
	_, err := e.wal.NextSegmentSync()
	require.NoError(e.t, err)
}

// truncate puts a checkpoint in the place of the segments before one, with the
// series that are given, and forgets the others.
func (e *embedder) truncate(before int, live ...string) {
	first, _, err := wlog.Segments(e.wal.Dir())
	require.NoError(e.t, err)
	if before <= first {
		return
	}
	keep, refs := map[chunks.HeadSeriesRef]bool{}, map[string]chunks.HeadSeriesRef{}
	for _, name := range live {
		refs[name] = e.refs[name]
		keep[e.refs[name]] = true
	}
	e.refs = refs
	_, err = wlog.Checkpoint(promslog.NewNopLogger(), e.wal, first, before-1, func(ref chunks.HeadSeriesRef) bool { return keep[ref] }, 0, false, false)
	require.NoError(e.t, err)
	require.NoError(e.t, e.wal.Truncate(before))
	require.NoError(e.t, wlog.DeleteCheckpoints(e.wal.Dir(), before-1))
}

func (e *embedder) rig(receivers map[string]*receiver) *rig {
	return newRig(e.t, &journal{t: e.t, dir: e.dir}, receivers, Options{})
}

// follow returns a rig that follows the embedder's log.
func (e *embedder) follow(receivers map[string]*receiver) *rig {
	e.t.Helper()
	r := e.rig(receivers)
	require.NoError(e.t, r.Follow(FollowOptions{WALDir: filepath.Join(e.dir, "wal")}))
	return r
}

// check compares what a receiver has with what was written.
func (e *embedder) check(rc *receiver) {
	e.t.Helper()
	rc.mtx.Lock()
	defer rc.mtx.Unlock()
	require.Equal(e.t, e.written, rc.samples)
}

func names(prefix string, n int) (out []string) {
	for i := range n {
		out = append(out, fmt.Sprint(prefix, i))
	}
	return out
}

func tableLen(r *rig) int {
	active, retired := r.src.Table.Len()
	return active + retired
}

// TestFollowOutage defends I1 and I3 with an embedder that gates itself: what
// the floor holds stays, series that vanished meanwhile are sent with their
// labels, and when the endpoint is past them they leave memory, but no other.
func TestFollowOutage(t *testing.T) {
	e := newEmbedder(t)
	rc := newReceiver()
	rc.set(unavailable)
	r := e.follow(map[string]*receiver{"a": rc})
	require.Equal(t, gate.Closed, r.Floor().State)
	r.apply()
	require.Equal(t, gate.Free, r.Floor().State)
	r.apply(remoteWrite("a"))

	live := names("live", 50)
	for cycle := range 10 {
		churn := names(fmt.Sprint("churn", cycle, "_"), 100)
		for range 10 {
			e.commit(append(churn, live...)...)
			r.Notify()
		}
		e.cut()
		require.NoError(t, r.Persist(t.Context()))
		floor := r.Floor()
		require.Equal(t, gate.Held, floor.State)
		require.Equal(t, 0, floor.Position.Segment)
		e.truncate(floor.Position.Segment, live...)
	}
	require.Eventually(t, func() bool { return tableLen(r) == 1050 }, time.Minute, time.Millisecond)

	rc.set(nil)
	r.complete("a", e.count)
	e.check(rc)
	_, last, err := wlog.Segments(e.wal.Dir())
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		require.NoError(t, r.Persist(t.Context()))
		return r.Floor().Position.Segment == last
	}, time.Minute, 10*time.Millisecond)
	e.truncate(last, live...)
	require.Eventually(t, func() bool { return tableLen(r) == len(live) }, time.Minute, 10*time.Millisecond, "what is not in use stays in memory")

	// Live ones are not defined again.
	e.commit(live...)
	r.Notify()
	r.complete("a", e.count)
	e.check(rc)
	require.Zero(t, r.value("prometheus_remote_storage_samples_dropped_total", nil))
	require.Zero(t, r.value("prometheus_remote_storage_segments_missing_total", nil))
	e.commit(live...) // Without a notification: closing finds it.
	e.close()
	require.NoError(t, r.Close())
	stored, _ := rc.counts()
	require.Equal(t, e.count, stored)
}

// TestFollowRestarts defends I2, I3 and I8: refs are given anew in each run of the
// embedder, the endpoint is behind by several of them, and everything arrives
// under its own name, whether the follower lives on or not, and once.
func TestFollowRestarts(t *testing.T) {
	for _, restart := range []bool{true, false} {
		t.Run(fmt.Sprintf("follower_too=%v", restart), func(t *testing.T) {
			e := newEmbedder(t)
			rc := newReceiver()
			rc.set(unavailable)
			// One keeps up, so that the table is ahead of the other, and so are
			// the results of the rules that they share.
			up := newReceiver()
			receivers := map[string]*receiver{"a": rc, "up": up}
			a, b := remoteWrite("a"), remoteWrite("up")
			a.WriteRelabelConfigs = []*relabel.Config{{
				SourceLabels: model.LabelNames{"__name__"}, Regex: relabel.MustNewRegexp("unwanted.*"), Action: relabel.Drop,
			}, {
				SourceLabels: model.LabelNames{"__name__"}, Regex: relabel.MustNewRegexp("renamed_(.*)"), TargetLabel: "__name__",
				Replacement: "as_$1", Action: relabel.Replace, NameValidationScheme: model.UTF8Validation,
			}}
			b.WriteRelabelConfigs = a.WriteRelabelConfigs
			r := e.follow(receivers)
			r.apply(a, b)
			want := map[string]int{}
			total := 0
			for run := range 6 {
				prefix := []string{"plain", "renamed_", "unwanted"}[run%3]
				series := names(fmt.Sprint(prefix, run, "_"), 40)
				for range 30 {
					e.commit(series...)
					r.Notify()
				}
				if prefix != "unwanted" {
					for _, name := range series {
						name = strings.Replace(name, "renamed_", "as_", 1)
						want[labels.FromStrings("__name__", name).String()] = 30
						total += 30
					}
				}
				r.complete("up", total)
				require.Equal(t, want, up.samples)
				e.close()
				if restart {
					require.NoError(t, r.Close())
				}
				e.open()
				if restart {
					r = e.follow(receivers)
					r.apply(a, b)
				}
			}
			rc.set(nil)
			r.complete("a", total)
			require.Equal(t, want, rc.samples)
			e.close()
			require.NoError(t, r.Close())
			stored, received := up.counts()
			require.Equal(t, stored, received, "the endpoint that kept up was sent something twice")
		})
	}
}

// TestFollowUngated covers an embedder that truncates what is not delivered: it
// is counted, what is left is delivered, and I6.
func TestFollowUngated(t *testing.T) {
	e := newEmbedder(t)
	rc := newReceiver()
	rc.set(unavailable)
	r := e.follow(map[string]*receiver{"a": rc})
	r.apply(remoteWrite("a"))
	live := names("live", 50)
	const cycles = 10
	for cycle := range cycles {
		churn := names(fmt.Sprint("churn", cycle, "_"), 100)
		for range 20 {
			e.commit(append(churn, live...)...)
			r.Notify()
		}
		e.cut()
	}
	e.truncate(cycles-1, append(live, names(fmt.Sprint("churn", cycles-1, "_"), 100)...)...)
	require.Eventually(t, func() bool { return tableLen(r) == 150 }, time.Minute, 10*time.Millisecond)
	require.Eventually(t, func() bool {
		return r.value("prometheus_remote_storage_segments_missing_total", nil) >= cycles/2
	}, time.Minute, 10*time.Millisecond)
	rc.set(nil)
	e.commit("last")
	r.Notify()
	require.Eventually(t, func() bool {
		rc.mtx.Lock()
		defer rc.mtx.Unlock()
		left := 0
		for _, name := range names(fmt.Sprint("churn", cycles-1, "_"), 100) {
			left += rc.samples[labels.FromStrings("__name__", name).String()]
		}
		return left == 2000 && rc.samples[`{__name__="last"}`] == 1
	}, time.Minute, 5*time.Millisecond, "not all that was left is delivered")
	require.Zero(t, r.value("prometheus_remote_storage_samples_failed_total", nil))
	e.close()
	require.NoError(t, r.Close())

	// Truncation while the log is not followed is counted too.
	rc.set(unavailable)
	e.open()
	r = e.follow(map[string]*receiver{"a": rc})
	r.apply(remoteWrite("a"))
	e.commit("between")
	e.cut()
	require.NoError(t, r.Close())
	e.commit("rest")
	e.cut()
	_, segment, err := wlog.Segments(e.wal.Dir())
	require.NoError(t, err)
	e.truncate(segment-1, "rest")
	rc.set(nil)
	r = e.follow(map[string]*receiver{"a": rc})
	r.apply(remoteWrite("a"))
	require.Eventually(t, func() bool {
		rc.mtx.Lock()
		defer rc.mtx.Unlock()
		return rc.samples[`{__name__="rest"}`] == 1
	}, time.Minute, 5*time.Millisecond)
	require.Positive(t, r.value("prometheus_remote_storage_resumed_positions_total", map[string]string{"verdict": cursor.Oldest.String()}))
	e.close()
	require.NoError(t, r.Close())
}

// TestFollowLostEnd defends I9 where a writer repairs its log in stock's way: segments up
// to the damage stay, those behind it are deleted, and their numbers given again. What
// was not delivered of them is counted, once.
func TestFollowLostEnd(t *testing.T) {
	for name, damage := range map[string]struct {
		repair func(wal string) error // Of segments 0 to 3.
		lost   float64
	}{
		"repair": {lost: 125000, repair: func(wal string) error {
			one := wlog.SegmentName(wal, 1)
			return errors.Join(os.Truncate(one, fileSize(one)/2), os.Remove(wlog.SegmentName(wal, 2)), os.Remove(wlog.SegmentName(wal, 3)))
		}},
		"lost end": {lost: 25000, repair: func(wal string) error {
			last := wlog.SegmentName(wal, 3)
			return os.Truncate(last, fileSize(last)/2)
		}},
		"none": {repair: func(string) error { return nil }},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEmbedder(t)
			rc := newReceiver()
			series := names("m", 500)
			r := e.follow(map[string]*receiver{"a": rc})
			r.apply(remoteWrite("a"))
			e.commit(series...)
			r.Notify()
			r.complete("a", 500)
			rc.set(unavailable)
			for segment := range 4 {
				for range 100 {
					e.commit(series...)
				}
				if segment < 3 {
					e.cut()
				}
			}
			_, end, err := cursor.SegmentRange(e.wal.Dir())
			require.NoError(t, err)
			require.Equal(t, 3, end)
			at := cursor.Position{Segment: end, Offset: cursor.SegmentSize(e.wal.Dir(), end)}
			require.Eventually(t, func() bool { return r.src.Head() == at }, time.Minute, time.Millisecond)
			require.NoError(t, r.Persist(t.Context()))
			require.NoError(t, r.Close())
			e.close()

			sizes := func() (n [4]int64) {
				for k := range n {
					n[k] = cursor.SegmentSize(e.wal.Dir(), k)
				}
				return n
			}
			before := sizes()
			require.NoError(t, damage.repair(e.wal.Dir()))
			var removed []repair.Damage
			for k, size := range sizes() {
				if size < before[k] && name == "repair" {
					removed = append(removed, repair.Damage{Segment: k, Offset: size, Bytes: before[k] - size})
				}
			}
			rc.set(nil)
			for _, lost := range []float64{damage.lost, 0} {
				e.open()
				r = e.rig(map[string]*receiver{"a": rc})
				require.NoError(t, r.Follow(FollowOptions{WALDir: e.wal.Dir(), Lost: removed}))
				removed = nil
				r.apply(remoteWrite("a"))
				e.commit("last")
				r.Notify()
				require.Eventually(t, func() bool {
					return r.Persist(t.Context()) == nil && r.src.Gate.Floor().Position == r.src.Head()
				}, time.Minute, time.Millisecond)
				require.InDelta(t, lost, r.value("prometheus_remote_storage_unreadable_total", nil), lost*0.4)
				require.NoError(t, r.Close())
				e.close()
			}
		})
	}
}

// TestFollowCrash defends I8: the follower goes on from a copy of the directory
// that was made while it was at work.
func TestFollowCrash(t *testing.T) {
	e := newEmbedder(t)
	rc := newReceiver()
	conf := remoteWrite("a")
	series := names("m", 60)
	for range 5 {
		rc.after = func(n int) *client.Result {
			if n%5 == 0 {
				return &client.Result{Outcome: client.Retry, Ambiguous: true, Err: errors.New("connection reset")}
			}
			return nil
		}
		r := e.follow(map[string]*receiver{"a": rc})
		r.apply(conf)
		stored, _ := rc.counts()
		for range 60 {
			e.commit(series...)
			r.Notify()
		}
		require.Eventually(t, func() bool { now, _ := rc.counts(); return now > stored }, time.Minute, time.Millisecond)
		rc.set(unavailable)
		copied := t.TempDir()
		require.NoError(t, os.CopyFS(copied, os.DirFS(e.dir)))
		// What the receiver accepts after the copy was made is what was under
		// way in the crash; the dispatch watermark in the copy covers it.
		e.close()
		require.NoError(t, r.Close())
		rc.set(nil)
		e.dir = copied
		e.open()
	}
	rc.after = nil
	r := e.follow(map[string]*receiver{"a": rc})
	r.apply(conf)
	r.complete("a", e.count)
	e.check(rc)
	require.Zero(t, r.value("prometheus_remote_storage_samples_failed_total", nil))
	e.close()
	require.NoError(t, r.Close())
}

// TestFollowReload defends I1 over changes of the configuration, and that there
// is a floor before the log as well.
func TestFollowReload(t *testing.T) {
	e := newEmbedder(t)
	a, b := newReceiver(), newReceiver()
	a.set(unavailable)
	r := e.rig(map[string]*receiver{"a": a, "b": b})
	require.Equal(t, gate.Closed, r.Floor().State)
	r.apply(remoteWrite("a")) // Before there is a log.
	require.Equal(t, gate.Closed, r.Floor().State)
	released := 0
	require.NoError(t, r.Follow(FollowOptions{WALDir: e.wal.Dir(), Release: func() error { released++; return nil }}))
	require.Error(t, r.Follow(FollowOptions{WALDir: e.wal.Dir()}), "only once")
	require.Equal(t, gate.Held, r.Floor().State)

	e.commit(names("x", 100)...)
	r.src.follow.CatchUp(t.Context())
	before := e.count
	changed := remoteWrite("a")
	changed.QueueConfig.MaxSamplesPerSend = 33
	r.apply(changed, remoteWrite("b"))
	e.commit(names("y", 100)...)
	r.Notify()
	r.complete("b", e.count-before)

	e.cut()
	e.commit("z")
	r.Notify()
	r.apply(remoteWrite("b"))
	require.NoError(t, r.Persist(t.Context()))
	require.Equal(t, []string{"a"}, r.Floor().By, "a removed endpoint is retained")
	require.Equal(t, 0, r.Floor().Position.Segment)
	a.set(nil)
	r.apply(changed, remoteWrite("b"))
	r.complete("a", e.count)
	r.complete("b", e.count-before)
	e.close()
	require.NoError(t, r.Close())
	require.Equal(t, 1, released)
}

// TestFollowLostSavepoint defends that what is not known is sent again, also
// where no segment is ours.
func TestFollowLostSavepoint(t *testing.T) {
	e := newEmbedder(t)
	rc := newReceiver()
	rc.set(unavailable)
	r := e.follow(map[string]*receiver{"a": rc})
	r.apply(remoteWrite("a"))
	e.commit(names("x", 100)...)
	e.cut()
	e.commit(names("x", 100)...)
	e.close()
	require.NoError(t, r.Close())
	for _, n := range []string{savepoint.CurrentName, savepoint.PreviousName} {
		require.NoError(t, os.WriteFile(filepath.Join(e.dir, n), []byte("{"), 0o600))
	}
	rc.set(nil)
	e.open()
	r = e.follow(map[string]*receiver{"a": rc})
	r.apply(remoteWrite("a"))
	r.complete("a", e.count)
	e.check(rc)
	e.close()
	require.NoError(t, r.Close())
}

// TestFollowErrors covers what cannot be followed.
func TestFollowErrors(t *testing.T) {
	r := newRig(t, &journal{t: t, dir: t.TempDir()}, nil, Options{})
	require.ErrorContains(t, r.Follow(FollowOptions{WALDir: t.TempDir()}), "no segment")
	require.NoError(t, r.Close())
	e := newEmbedder(t)
	require.ErrorContains(t, r.Follow(FollowOptions{WALDir: e.wal.Dir()}), "closed")
	e.close()
}

// The storage can be told of commits by stock's agent, and works beside it.
var (
	_ wlog.WriteNotified = (*Storage)(nil)
	_ storage.Storage    = (*Storage)(nil)
)
