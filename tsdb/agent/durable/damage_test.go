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

package durable

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/common/promslog"
	"github.com/stretchr/testify/require"

	"github.com/ackwal/ackwal/tsdb/wlog/cursor"
	"github.com/ackwal/ackwal/tsdb/wlog/repair"
	"github.com/ackwal/ackwal/tsdb/wlog/savepoint"
	"github.com/ackwal/ackwal/tsdb/wlog/vfs/faultfs"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/tsdb/agent"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/tsdb/record"
	"github.com/prometheus/prometheus/tsdb/wlog"
)

// damagedDir is a data directory with everything in it, which tests copy and damage.
type damagedDir struct {
	*world
	older string // A copy from some time before.
}

func newDamagedDir(t testing.TB) *damagedDir {
	h := &damagedDir{world: newWorld(t), older: filepath.Join(t.TempDir(), "older")}
	h.cycle(2)
	require.NoError(t, h.fs.Copy(h.older))
	require.True(t, h.open())
	for i := range 4 {
		h.commit(10*i, 10*i+40)
		h.commit(10*i, 10*i+30)
		h.cut()
	}
	h.truncate()
	h.commit(60, 90)
	h.close()
	require.Empty(t, h.errs)
	return h
}

// copy makes a copy of the directory.
func (h *damagedDir) copy(t testing.TB) string {
	dir := filepath.Join(t.TempDir(), "data")
	require.NoError(t, h.fs.Copy(dir))
	return dir
}

// kinds are the files of the directory by what they are.
func (h *damagedDir) kinds() map[string][]string {
	h.t.Helper()
	out := map[string][]string{}
	require.NoError(h.t, filepath.WalkDir(h.dir, func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		rel, err := filepath.Rel(h.dir, path)
		if err != nil {
			return err
		}
		name, kind := e.Name(), ""
		switch _, err := strconv.Atoi(name); {
		case err == nil && filepath.Dir(rel) == "wal":
			kind = "segment"
		case err == nil:
			kind = "checkpoint"
		case strings.HasSuffix(name, ".idx"):
			kind = "index"
		case name == savepoint.CurrentName, name == savepoint.PreviousName, name == "manifest.json":
			kind = name
		case strings.Contains(name, "-"):
			kind, _, _ = strings.Cut(name, "-")
		default:
			return fmt.Errorf("what is %s?", rel)
		}
		out[kind] = append(out[kind], rel)
		return nil
	}))
	for _, kind := range []string{"segment", "checkpoint", "chunk", "index", "retired", "timestamps", "manifest.json", savepoint.CurrentName, savepoint.PreviousName} {
		require.NotEmpty(h.t, out[kind], "no %s", kind)
	}
	require.Greater(h.t, len(out["segment"]), 3)
	return out
}

// damages are what is done to a file. What is written over a file keeps its time
// if rot is set, as if the disk had done it. They report whether there was
// anything to do.
var damages = map[string]func(t *testing.T, h *damagedDir, dir, rel string) bool{
	"flip": func(t *testing.T, _ *damagedDir, dir, rel string) bool {
		return overwrite(t, filepath.Join(dir, rel), false, flipped(2))
	},
	"rot": func(t *testing.T, _ *damagedDir, dir, rel string) bool {
		return overwrite(t, filepath.Join(dir, rel), true, flipped(3))
	},
	"flip in the beginning": func(t *testing.T, _ *damagedDir, dir, rel string) bool {
		return overwrite(t, filepath.Join(dir, rel), false, func(b []byte) []byte {
			if len(b) > 60 {
				b[60] ^= 4
			}
			return b
		})
	},
	"cut": func(t *testing.T, _ *damagedDir, dir, rel string) bool {
		return overwrite(t, filepath.Join(dir, rel), false, func(b []byte) []byte { return b[:len(b)*2/3] })
	},
	"empty": func(t *testing.T, _ *damagedDir, dir, rel string) bool {
		return overwrite(t, filepath.Join(dir, rel), false, func([]byte) []byte { return nil })
	},
	"removed": func(t *testing.T, _ *damagedDir, dir, rel string) bool {
		require.NoError(t, os.Remove(filepath.Join(dir, rel)))
		return true
	},
	"older": func(t *testing.T, h *damagedDir, dir, rel string) bool {
		// The same file from before, or one of its kind.
		from := filepath.Join(h.older, rel)
		if _, err := os.Stat(from); err != nil {
			prefix := strings.TrimRight(filepath.Base(rel), "0123456789.idx")
			suffix := filepath.Ext(rel)
			all, err := filepath.Glob(filepath.Join(h.older, filepath.Dir(rel), prefix+"*"+suffix))
			require.NoError(t, err)
			all = slices.DeleteFunc(all, func(s string) bool { return suffix == "" && filepath.Ext(s) != "" })
			if len(all) == 0 {
				return false
			}
			from = all[0]
		}
		b, err := os.ReadFile(from)
		require.NoError(t, err)
		now, err := os.ReadFile(filepath.Join(dir, rel))
		require.NoError(t, err)
		// In the place of the file, not into it.
		require.NoError(t, os.Remove(filepath.Join(dir, rel)))
		require.NoError(t, os.WriteFile(filepath.Join(dir, rel), b, 0o666))
		return !bytes.Equal(b, now)
	},
}

func flipped(part int) func([]byte) []byte {
	return func(b []byte) []byte {
		// Not in the padding of the last page.
		n := len(bytes.TrimRight(b, "\x00"))
		if n > 0 {
			b[n/part] ^= 1
		}
		return b
	}
}

// overwrite changes a file in place, and so all its names.
func overwrite(t testing.TB, path string, rot bool, f func([]byte) []byte) bool {
	t.Helper()
	info, err := os.Stat(path)
	require.NoError(t, err)
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	after := f(bytes.Clone(b))
	if bytes.Equal(b, after) {
		return false
	}
	require.NoError(t, os.WriteFile(path, after, 0o666))
	if rot {
		require.NoError(t, os.Chtimes(path, info.ModTime(), info.ModTime()))
	} else {
		// The clock of the file system may be coarse.
		later := info.ModTime().Add(time.Second)
		require.NoError(t, os.Chtimes(path, later, later))
	}
	return true
}

// delivered is what a delivery would find in the log: samples whose series the
// table or the snapshot knows, and the number of others.
func (*damagedDir) delivered(t *testing.T, db *DB) (there map[string]bool, unknown int) {
	t.Helper()
	there = map[string]bool{}
	dir := db.journal.dir
	first, last, err := wlog.Segments(dir)
	require.NoError(t, err)
	dec := record.NewDecoder(labels.NewSymbolTable(), promslog.NewNopLogger())
	for k := first; k <= last; k++ {
		s, err := wlog.OpenReadSegment(wlog.SegmentName(dir, k))
		require.NoError(t, err)
		in := wlog.NewSegmentBufReader(s)
		r := wlog.NewReader(in)
		for r.Next() {
			if dec.Type(r.Record()) != record.Samples {
				continue
			}
			samples, err := dec.Samples(r.Record(), nil)
			require.NoError(t, err)
			for _, x := range samples {
				if lset, ok := lookUp(db, x.Ref); ok {
					there[lset.String()+strconv.FormatInt(x.T, 10)] = true
				} else {
					unknown++
				}
			}
		}
		require.NoError(t, r.Err(), "segment %d", k)
		require.NoError(t, in.Close())
	}
	return there, unknown
}

func lookUp(db *DB, ref chunks.HeadSeriesRef) (labels.Labels, bool) {
	if s := db.table.Resolve(ref); s != nil {
		return s.Labels(), true
	}
	lset, ok, err := db.snapshotter.Resolve(ref)
	return lset, ok && err == nil
}

// missing returns the commits of which something is missing, by segment, and
// how many samples that are.
func (h *damagedDir) missing(there map[string]bool, floor int) (segments map[int]int, samples int) {
	segments = map[int]int{}
	for _, c := range h.acked {
		if c.end.Segment < floor {
			continue
		}
		for i := c.from; i < c.to; i++ {
			if !there[metric(i).String()+strconv.FormatInt(c.ts, 10)] {
				segments[c.end.Segment]++
				samples++
			}
		}
	}
	return segments, samples
}

// sum adds up all series of some metrics.
func sum(t testing.TB, reg *prometheus.Registry, names ...string) (n float64) {
	t.Helper()
	families, err := reg.Gather()
	require.NoError(t, err)
	for _, f := range families {
		if slices.Contains(names, f.GetName()) {
			for _, m := range f.GetMetric() {
				n += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return n
}

// Every file of the data directory is damaged in every way: the storage opens,
// what is lost is what the file alone held, and counted, everything else is
// there and can be resolved, truncation works afterwards, and upstream opens the
// directory (I1, I3, I7, I9).
func TestDamage(t *testing.T) {
	t.Parallel()
	h := newDamagedDir(t)
	cases, lost := 0, 0
	for _, kind := range slices.Sorted(maps.Keys(h.kinds())) {
		for _, damage := range slices.Sorted(maps.Keys(damages)) {
			for _, rel := range h.kinds()[kind] {
				dir := h.copy(t)
				if !damages[damage](t, h, dir, rel) {
					continue
				}
				what := fmt.Sprintf("%s %s (%s)", kind, damage, rel)
				cases++
				lost += h.requireContained(t, dir, kind, damage, rel, what)
				require.NoError(t, os.RemoveAll(dir))
			}
		}
	}
	require.Positive(t, cases)
	require.Positive(t, lost, "nothing was damaged")
}

func (h *damagedDir) requireContained(t *testing.T, dir, kind, damage, rel, what string) int {
	t.Helper()
	reg := prometheus.NewRegistry()
	sender := newSavingSender(dir, savepoint.WithFS(faultfs.NoSync))
	db, err := open(nil, reg, sender, dir, lazy(), still())
	require.NoError(t, err, what)
	for len(db.unread) > 0 {
		db.checkNext(t.Context()) // As the snapshot loop does, one by one.
	}
	there, unknown := h.delivered(t, db)
	segments, samples := h.missing(there, sender.pos.Segment)
	counted := sum(t, reg, "prometheus_agent_wal_repairs_total", "prometheus_agent_corruptions_total", "prometheus_agent_series_snapshot_problems_total")

	switch kind {
	case "segment":
		number, err := strconv.Atoi(filepath.Base(rel))
		require.NoError(t, err)
		delete(segments, number)
		require.Empty(t, segments, "%s: lost from other segments", what)
		require.Zero(t, unknown, what)
		if samples > 0 && damage != "older" {
			require.Positive(t, counted, what)
		}
	case "chunk", "checkpoint":
		// Both are one file. What is written into it is lost, unless the log
		// still has it; what is put in its place is not.
		if damage == "removed" || damage == "older" {
			require.Zero(t, samples, what)
			require.Zero(t, unknown, what)
		}
		require.Equal(t, samples > 0, unknown > 0, what)
		if kind == "chunk" || samples > 0 {
			require.Positive(t, counted, what)
		}
	default:
		require.Zero(t, samples, what)
		require.Zero(t, unknown, what)
		if kind == "manifest.json" && damage != "older" && damage != "removed" {
			require.Positive(t, counted, what)
		}
		if kind == savepoint.CurrentName && damage != "older" && damage != "removed" {
			require.FileExists(t, filepath.Join(dir, "delivery.corrupt-1.json"), what)
		}
	}
	require.NoError(t, db.Close(), what)
	require.NoError(t, sender.Release(), what)
	requireUsable(t, dir, what)
	return samples
}

// Upstream runs on the damaged directory in between, as far as it can: the
// storage opens what it left, with upstream's own samples in it, and truncation
// works (I7).
func TestDamageThenStock(t *testing.T) {
	t.Parallel()
	h := newDamagedDir(t)
	cases, refused := 0, 0
	for _, kind := range slices.Sorted(maps.Keys(h.kinds())) {
		for _, damage := range []string{"flip", "removed", "none"} {
			rel := h.kinds()[kind][len(h.kinds()[kind])/2]
			dir := h.copy(t)
			if damage != "none" {
				require.True(t, damages[damage](t, h, dir, rel))
			}
			what := fmt.Sprintf("%s %s, then stock", kind, damage)
			cases++
			opts := agent.DefaultOptions()
			opts.StripeSize = 16
			opts.NoLockfile = true // It would keep the lock if it refused.
			stock, err := agent.Open(promslog.NewNopLogger(), prometheus.NewRegistry(), nil, dir, opts)
			if err != nil {
				refused++
			} else {
				appendFloats(t, stock, 0, 20, 500_000_000)
				require.NoError(t, stock.Close())
			}

			sender := newSavingSender(dir, savepoint.WithFS(faultfs.NoSync))
			db, openErr := open(nil, prometheus.NewRegistry(), sender, dir, lazy(), still())
			require.NoError(t, openErr, what)
			for len(db.unread) > 0 {
				db.checkNext(t.Context())
			}
			there, unknown := h.delivered(t, db)
			if err == nil {
				for i := range 20 {
					require.True(t, there[metric(i).String()+"500000000"], what)
				}
			}
			if damage == "none" {
				_, samples := h.missing(there, sender.pos.Segment)
				require.Zero(t, samples, what)
				require.Zero(t, unknown, what)
			}
			appendFloats(t, db, 0, 40, 600_000_000)
			sender.pos = db.journal.Head()
			require.NoError(t, db.truncate(context.Background()), what)
			require.NoError(t, db.Close(), what)
			require.NoError(t, sender.Release(), what)
			requireUsable(t, dir, what)
			require.NoError(t, os.RemoveAll(dir))
		}
	}
	require.Less(t, refused, cases, "upstream never ran")
}

// FuzzDamage damages several files at once, anywhere. The storage opens, nothing
// is lost but from segments, and of series, that were hit, and the directory is
// fit for use and for upstream afterwards (I7, I9).
func FuzzDamage(f *testing.F) {
	h := newDamagedDir(f)
	var files []string
	for _, kind := range slices.Sorted(maps.Keys(h.kinds())) {
		files = append(files, h.kinds()[kind]...)
	}
	for i := range files {
		f.Add([]byte{byte(i), 0, 40, byte(i)})
		f.Add([]byte{byte(i), 1, 128, byte(i)})
		f.Add([]byte{byte(i), 3, 200, 1, byte(i + 7), 2, 10, 1, byte(i + 3), 4, 0, 0})
	}
	f.Fuzz(func(t *testing.T, how []byte) {
		dir := h.copy(t)
		hit := map[int]bool{}
		series := false
		for n := 0; len(how) >= 4 && n < 6; n, how = n+1, how[4:] {
			rel := files[int(how[0])%len(files)]
			path := filepath.Join(dir, rel)
			if _, err := os.Stat(path); err != nil {
				continue // Removed already.
			}
			at := func(b []byte) int { return (int(how[2])<<8 | int(how[3])) * len(b) >> 16 }
			switch how[1] % 5 {
			case 0, 1:
				overwrite(t, path, how[1]%5 == 1, func(b []byte) []byte {
					if len(b) > 0 {
						b[at(b)] ^= 1 << (how[1] % 8)
					}
					return b
				})
			case 2:
				overwrite(t, path, false, func(b []byte) []byte { return b[:at(b)] })
			case 3:
				overwrite(t, path, true, func(b []byte) []byte {
					clear(b[at(b):min(at(b)+100, len(b))])
					return b
				})
			case 4:
				require.NoError(t, os.Remove(path))
			}
			if k, err := strconv.Atoi(filepath.Base(rel)); err == nil && filepath.Dir(rel) == "wal" {
				hit[k] = true
			}
			series = series || strings.Contains(rel, "chunk-") || strings.Contains(rel, "checkpoint")
		}
		what := fmt.Sprintf("%v", how)
		sender := newSavingSender(dir, savepoint.WithFS(faultfs.NoSync))
		db, err := open(nil, nil, sender, dir, lazy(), still())
		require.NoError(t, err)
		for len(db.unread) > 0 {
			db.checkNext(t.Context())
		}
		there, unknown := h.delivered(t, db)
		segments, _ := h.missing(there, sender.pos.Segment)
		for k := range hit {
			delete(segments, k)
		}
		// A segment may have had the only record of a series.
		if !series && len(hit) == 0 {
			require.Empty(t, segments)
			require.Zero(t, unknown)
		}
		if !series && unknown == 0 {
			require.Empty(t, segments)
		}
		require.NoError(t, db.Close())
		require.NoError(t, sender.Release())
		requireUsable(t, dir, what)
	})
}

// An operator removes a segment from the middle of the log while it is in use: what was
// delivered is still truncated, and a start finds nothing new (I7, I9).
func TestHoleInTheLogInUse(t *testing.T) {
	dir := t.TempDir()
	sender := &fakeSender{}
	db := openTest(t, dir, sender, small(), still())
	fill(t, db, dir, 8)
	sender.Gate.Set(holder("a", cursor.Position{Segment: 4}))
	sender.Gate.Open()
	for _, k := range []int{2, 5} {
		require.NoError(t, os.Remove(wlog.SegmentName(db.journal.dir, k)))
	}
	require.NoError(t, db.truncate(t.Context()))
	require.Equal(t, 4, firstSegment(dir))
	require.Equal(t, 2.0, testutil.ToFloat64(db.metrics.damages.WithLabelValues(repair.MissingSegments)))
	appendFloats(t, db, 0, 10, db.now().UnixMilli())
	require.NoError(t, errors.Join(db.Close(), sender.Release()))

	db = openTest(t, dir, nil, small(), still())
	require.Zero(t, testutil.ToFloat64(db.metrics.damages.WithLabelValues(repair.MissingSegments)))
	require.NoError(t, db.Close())
}
