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
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/ackwal/ackwal/storage/remote/delivery"
	"github.com/ackwal/ackwal/tsdb/wlog/cursor"
	"github.com/ackwal/ackwal/tsdb/wlog/savepoint"
	"github.com/ackwal/ackwal/tsdb/wlog/vfs/faultfs"

	"github.com/prometheus/prometheus/tsdb/agent"
	"github.com/prometheus/prometheus/tsdb/wlog"
)

// savingSender is a delivery of which the test says how far it got, and which
// keeps real savepoints for one endpoint, the way the real one does: the gate
// follows what is on the disk.
type savingSender struct {
	delivery.Source

	store *savepoint.Store
	pos   cursor.Position
}

func newSavingSender(dir string, opts ...savepoint.Option) *savingSender {
	return &savingSender{store: savepoint.NewStore(dir, opts...)}
}

const savedEndpoint = "endpoint"

func (s *savingSender) Attach(src delivery.Source) error {
	s.Source = src
	f, _, err := s.store.Load()
	switch {
	case errors.As(err, new(*savepoint.LostError)):
		first, _, err := wlog.Segments(src.WALDir)
		if err != nil {
			return err
		}
		s.pos = cursor.Position{Segment: max(first, 0)}
	case err != nil:
		return err
	case len(f.Endpoints) == 0:
		s.pos = src.Head()
	default:
		saved := cursor.Saved{Point: f.Endpoints[0].Floor.Point}
		saved.Fingerprint = f.Segments[saved.Segment]
		if s.pos, _, err = cursor.Resolve(src.WALDir, saved); err != nil {
			return err
		}
	}
	if err := s.Persist(context.Background()); err != nil {
		return err
	}
	src.Gate.Open()
	return nil
}

func (s *savingSender) Persist(context.Context) error {
	p, err := cursor.PointAt(s.WALDir, s.pos)
	if err != nil {
		return err
	}
	f := savepoint.File{
		Run: s.Run.String(), Segment: s.Head().Segment, Checkpoint: -1, Partitions: 1, Written: time.Now(),
		Segments: map[int]uint32{},
		Endpoints: []savepoint.Endpoint{{
			ID: ulid.ULID{1}.String(), Identity: savepoint.Identity{Name: savedEndpoint},
			Floor: savepoint.Mark{Point: p}, Dispatched: p.Position, Acked: []savepoint.Mark{{Point: p}},
		}},
	}
	if fp, err := cursor.Fingerprint(s.WALDir, p.Segment); err == nil {
		f.Segments[p.Segment] = fp
	}
	if err := s.store.Write(f, true); err != nil {
		return err
	}
	s.Gate.Set(holder(savedEndpoint, p.Position))
	return nil
}

func (s *savingSender) Forfeit(_ context.Context, before cursor.Position, _ string, _ ...string) error {
	if s.pos.Before(before) {
		s.pos = before
	}
	s.Gate.Set(holder(savedEndpoint, s.pos))
	return nil
}

func (*savingSender) Notify() {}

func (*savingSender) Holders() []delivery.Holder { return nil }

// tracedLog is a log whose operations are ones of a faultfs.FS.
type tracedLog struct {
	segmentLog
	fs  *faultfs.FS
	dir string
}

// Log that fails has written half of the records.
func (l *tracedLog) Log(recs ...[]byte) error {
	err := l.fs.Outside("log", l.dir, func() error { return l.segmentLog.Log(recs...) })
	if faultfs.Injected(err) {
		return errors.Join(err, l.segmentLog.Log(recs[:len(recs)/2]...))
	}
	return err
}

// NextSegment syncs finished segments behind the caller's back, so only those
// before the last are known to be on the disk.
func (l *tracedLog) NextSegment() (next int, err error) {
	err = l.fs.Outside("next", l.dir, func() error {
		next, err = l.segmentLog.NextSegment()
		return err
	})
	if err == nil && next >= 2 {
		err = l.settled(next - 2)
	}
	return next, err
}

func (l *tracedLog) settled(segment int) error {
	path := wlog.SegmentName(l.dir, segment)
	info, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return l.fs.Synced(path, info.Size())
}

func (l *tracedLog) Truncate(before int) error {
	return l.fs.Outside("truncate", l.dir, func() error { return l.segmentLog.Truncate(before) })
}

// Close closes the log even if it is told to fail, for the sake of what it has
// open.
func (l *tracedLog) Close() error {
	_, last, err := wlog.Segments(l.dir)
	if err != nil {
		return err
	}
	closed := false
	err = l.fs.Outside("close", l.dir, func() error {
		closed = true
		return l.segmentLog.Close()
	})
	if !closed {
		return errors.Join(err, l.segmentLog.Close())
	}
	for k := max(0, last-1); err == nil && k <= last; k++ {
		err = l.settled(k)
	}
	return err
}

// acked is a commit that succeeded: a sample at ts of each of some series.
type acked struct {
	from, to int
	ts       int64
	at       time.Time // By the clock of the world.
	end      cursor.Position
}

// world is a storage on a disk with faults, and what it has promised.
type world struct {
	t     testing.TB
	dir   string
	fs    *faultfs.FS
	clock *testClock
	opts  *Options

	db     *DB
	sender *savingSender
	acked  []acked
	ts     int64
	errs   []error // Of all steps.
}

func newWorld(t testing.TB) *world {
	dir := filepath.Join(t.TempDir(), "data")
	fsys, err := faultfs.New(dir)
	require.NoError(t, err)
	w := &world{t: t, dir: dir, fs: fsys, clock: newTestClock(), opts: small()}
	w.opts.FS = fsys
	return w
}

func (w *world) env() environment {
	env := still()
	env.now = w.clock.now
	env.wrap = func(l segmentLog) segmentLog {
		return &tracedLog{segmentLog: l, fs: w.fs, dir: filepath.Join(w.dir, "wal")}
	}
	return env
}

// tried notes the outcome of a step.
func (w *world) tried(err error) bool {
	if err != nil {
		w.errs = append(w.errs, err)
	}
	return err == nil
}

// open opens the storage, at the second attempt if need be.
func (w *world) open() bool {
	for range 2 {
		w.sender = newSavingSender(w.dir, savepoint.WithFS(w.fs))
		db, err := open(nil, prometheus.NewRegistry(), w.sender, w.dir, w.opts, w.env())
		if w.tried(err) {
			w.db = db
			return true
		}
	}
	return false
}

func (w *world) close() {
	if w.db != nil {
		w.tried(w.db.Close())
		w.tried(w.sender.Release())
		w.db = nil
	}
}

// commit commits a sample for each series from from to to-1. If the log is
// broken it is recovered afterwards, or at least that is tried.
func (w *world) commit(from, to int) {
	if w.db == nil {
		return
	}
	w.ts++
	if w.tried(tryFloats(w.db, from, to, w.ts)) {
		w.acked = append(w.acked, acked{from, to, w.ts, w.clock.now(), w.db.journal.Head()})
	} else {
		w.tried(w.db.recoverNow())
	}
}

func (w *world) cut() {
	if w.db == nil {
		return
	}
	if _, err := w.db.journal.cutIfOlder(0); !w.tried(err) {
		w.tried(w.db.recoverNow())
	}
}

func (w *world) truncate() {
	if w.db == nil {
		return
	}
	if !w.tried(w.db.truncate(context.Background())) && w.db.journal.broken() != nil {
		w.tried(w.db.recoverNow())
	}
}

// deliver makes the endpoint acknowledge everything.
func (w *world) deliver() {
	if w.db != nil {
		w.sender.pos = w.db.journal.Head()
	}
}

// cycle goes through everything that a storage does: it appends, seals, saves,
// writes snapshots and checkpoints, truncates, retires series and brings some
// back, is closed and opened again.
func (w *world) cycle(rounds int) {
	for round := range rounds {
		if !w.open() {
			return
		}
		base := 20 * round
		w.commit(base, base+40)
		w.cut()
		w.commit(base, base+40)
		w.deliver()
		w.commit(base+20, base+60)
		w.truncate()
		// The first series are not appended to any more and go.
		w.clock.add(10 * time.Minute)
		w.commit(base+20, base+60)
		w.cut()
		w.deliver()
		w.truncate()
		w.clock.add(10 * time.Minute)
		w.commit(base+20, base+30)
		w.cut()
		w.deliver()
		w.truncate()
		w.commit(base, base+50)
		w.close()
	}
}

// lazy are options with which nothing is synced, for the sake of speed where no
// crash is to come.
func lazy() *Options {
	o := small()
	o.FS = faultfs.NoSync
	return o
}

// floorOf returns the saved position in a data directory, the beginning if there
// is none.
func floorOf(t testing.TB, dir string) cursor.Position {
	t.Helper()
	f, _, err := savepoint.NewStore(dir).Load()
	if errors.As(err, new(*savepoint.LostError)) {
		return cursor.Position{}
	}
	require.NoError(t, err)
	if len(f.Endpoints) == 0 {
		return cursor.Position{}
	}
	return f.Endpoints[0].Floor.Position
}

// requireAcked checks that each of the commits is in the log of the data
// directory, with its labels, unless the saved position is past its segment.
func requireAcked(t testing.TB, dir string, commits []acked, what string) logged {
	t.Helper()
	if _, err := os.Stat(filepath.Join(dir, "wal")); errors.Is(err, os.ErrNotExist) {
		require.Empty(t, commits, what)
		return logged{}
	}
	floor := floorOf(t, dir)
	got := readLogged(t, dir)
	there := map[string]bool{}
	for _, s := range got.samples {
		end := strings.IndexByte(s, '}') + 1
		if end == 0 {
			continue // An orphan.
		}
		there[s[strings.IndexByte(s, '{'):end]+strings.Fields(s[end:])[1]] = true
	}
	for _, c := range commits {
		if c.end.Segment < floor.Segment {
			continue
		}
		for i := c.from; i < c.to; i++ {
			if !there[metric(i).String()+strconv.FormatInt(c.ts, 10)] {
				require.Fail(t, "a sample is missing", "%s: commit %+v, series %d; floor %s, segments %v", what, c, i, floor, segmentNumbers(t, dir))
			}
		}
	}
	return got
}

// requireUsable opens a data directory without faults, works with it, and has
// stock open it in the end (I7). It returns the metrics of the start.
func requireUsable(t testing.TB, dir, what string) *prometheus.Registry {
	t.Helper()
	reg := prometheus.NewRegistry()
	sender := newSavingSender(dir, savepoint.WithFS(faultfs.NoSync))
	db, err := open(nil, reg, sender, dir, lazy(), still())
	require.NoError(t, err, what)
	const ts = 1_000_000_000
	appendFloats(t, db, 0, 30, ts)
	head := db.journal.Head()
	sender.pos = head
	require.NoError(t, db.truncate(context.Background()), what)
	appendFloats(t, db, 0, 30, ts+1)
	first := firstSegment(dir)
	// Segment 0 alone does not go.
	require.True(t, first == head.Segment || head.Segment == 1 && first == 0, "%s: truncated to %d, head %s", what, first, head)
	require.NoError(t, db.Close(), what)
	require.NoError(t, sender.Release(), what)
	requireStockOpens(t, dir, what)
	return reg
}

// requireStockOpens has stock's agent open a copy of the directory.
func requireStockOpens(t testing.TB, dir, what string) {
	t.Helper()
	data := filepath.Join(t.TempDir(), "stock")
	require.NoError(t, os.CopyFS(filepath.Join(data, "wal"), os.DirFS(filepath.Join(dir, "wal"))))
	var log bytes.Buffer
	opts := agent.DefaultOptions()
	opts.StripeSize = 16
	db, err := agent.Open(slog.New(slog.NewTextHandler(&log, nil)), prometheus.NewRegistry(), nil, data, opts)
	require.NoError(t, err, what)
	require.NoError(t, db.Close(), what)
	require.NotContains(t, log.String(), "attempting repair", what)
	require.NoError(t, os.RemoveAll(data))
}
