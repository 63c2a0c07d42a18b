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
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ackwal/ackwal/tsdb/wlog/cursor"
	"github.com/ackwal/ackwal/tsdb/wlog/savepoint"
	"github.com/ackwal/ackwal/tsdb/wlog/series"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/tsdb/record"
	"github.com/prometheus/prometheus/tsdb/wlog"
)

// errMoving says that a directory changed while it was copied.
var errMoving = errors.New("the directory changes too fast to be copied")

// cloneDirectory copies a data directory that is in use, as a crash at one
// instant would leave it. Segments only grow, so it is enough that no file came,
// went or was replaced while the rest was copied: then what was copied is what
// was there when the active segment was read.
func cloneDirectory(ctx context.Context, from, to string) error {
	for range 500 {
		before, err := listFiles(from)
		if err == nil {
			err = copyFiles(from, to, before)
		}
		if err == nil {
			var after map[string]os.FileInfo
			if after, err = listFiles(from); err == nil && sameFiles(before, after) {
				return nil
			}
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := os.RemoveAll(to); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return errMoving
}

// listFiles lists what a crash would leave. What is being written under another
// name is left out: it may have come to nothing yet.
func listFiles(dir string) (map[string]os.FileInfo, error) {
	out := map[string]os.FileInfo{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if strings.HasSuffix(d.Name(), ".tmp") || d.Name() == "lock" {
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		out[rel] = info
		return err
	})
	return out, err
}

// copyFiles copies files as they are for a program that looks: with the times of
// their last change, and several names of one file as such.
func copyFiles(from, to string, files map[string]os.FileInfo) error {
	var copied []string
	for _, rel := range slices.Sorted(maps.Keys(files)) {
		info := files[rel]
		if info.IsDir() {
			if err := os.MkdirAll(filepath.Join(to, rel), 0o777); err != nil {
				return err
			}
			continue
		}
		if same := slices.IndexFunc(copied, func(other string) bool { return os.SameFile(files[other], info) }); same >= 0 {
			if err := os.Link(filepath.Join(to, copied[same]), filepath.Join(to, rel)); err != nil {
				return err
			}
			continue
		}
		copied = append(copied, rel)
		data, err := os.ReadFile(filepath.Join(from, rel))
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(to, rel), data, info.Mode()); err != nil {
			return err
		}
		if err := os.Chtimes(filepath.Join(to, rel), time.Time{}, info.ModTime()); err != nil {
			return err
		}
	}
	return nil
}

func sameFiles(a, b map[string]os.FileInfo) bool {
	if len(a) != len(b) {
		return false
	}
	for name, x := range a {
		y, ok := b[name]
		if !ok || !os.SameFile(x, y) {
			return false
		}
		_, err := strconv.Atoi(filepath.Base(name))
		grows := err == nil && filepath.Dir(name) == "wal"
		if !grows && !x.IsDir() && (x.Size() != y.Size() || !x.ModTime().Equal(y.ModTime())) {
			return false
		}
	}
	return true
}

// logItem is a sample, or an exemplar with the number -1, of a log.
type logItem struct {
	end    cursor.Position
	number int
	hash   uint64 // Of the series.
}

// readItems reads everything that delivery counts, in the order of the log, and
// checks that the labels of each are known and right (I3).
func (m *ledger) readItems(dir string) (items []logItem, err error) {
	wal := filepath.Join(dir, "wal")
	names := map[chunks.HeadSeriesRef]labels.Labels{}
	dec := record.NewDecoder(labels.NewSymbolTable(), slog.New(slog.DiscardHandler))
	if cp, _, err := wlog.LastCheckpoint(wal); err == nil {
		in, err := wlog.NewSegmentsReader(cp)
		if err != nil {
			return nil, err
		}
		defer in.Close()
		r := wlog.NewReader(in)
		for r.Next() {
			if dec.Type(r.Record()) != record.Series {
				continue
			}
			defined, err := dec.Series(r.Record(), nil)
			if err != nil {
				return nil, err
			}
			for _, s := range defined {
				names[s.Ref] = s.Labels
			}
		}
		if r.Err() != nil {
			return nil, fmt.Errorf("read %s: %w", cp, r.Err())
		}
	}
	first, _, err := wlog.Segments(wal)
	if err != nil || first < 0 {
		return nil, err
	}
	tail, err := cursor.Open(wal, cursor.Position{Segment: first})
	if err != nil {
		return nil, err
	}
	defer tail.Close()
	for {
		it, err := tail.Next()
		if errors.Is(err, cursor.ErrCaughtUp) {
			return items, nil
		}
		if err != nil {
			return nil, err
		}
		if it.Kind != cursor.Record {
			continue
		}
		note := func(ref chunks.HeadSeriesRef, number int, t int64) {
			lset, ok := names[ref]
			if !ok {
				m.fail("I3: the log in %s has a sample at %d of ref %d, which nothing defines", dir, t, ref)
				return
			}
			if number >= 0 {
				if number >= len(m.samples) || m.samples[number].t != t || m.samples[number].name != lset.String() {
					m.fail("I3: the log in %s has sample %d at %d as %s", dir, number, t, lset)
					return
				}
			}
			items = append(items, logItem{it.End.Position, number, labels.StableHash(lset)})
		}
		if err := eachSample(dec, it.Data, names, note); err != nil {
			return nil, err
		}
	}
}

// eachSample calls f for every sample and exemplar of a record.
func eachSample(dec record.Decoder, rec []byte, names map[chunks.HeadSeriesRef]labels.Labels, f func(ref chunks.HeadSeriesRef, number int, t int64)) error {
	switch dec.Type(rec) {
	case record.Series:
		recs, err := dec.Series(rec, nil)
		for _, s := range recs {
			names[s.Ref] = s.Labels
		}
		return err
	case record.Samples, record.SamplesV2:
		recs, err := dec.Samples(rec, nil)
		for _, s := range recs {
			f(s.Ref, int(s.V), s.T)
		}
		return err
	case record.HistogramSamples, record.HistogramSamplesV2:
		recs, err := dec.HistogramSamples(rec, nil)
		for _, s := range recs {
			f(s.Ref, int(s.H.Sum), s.T)
		}
		return err
	case record.Exemplars:
		recs, err := dec.Exemplars(rec, nil)
		for _, s := range recs {
			f(s.Ref, -1, s.T)
		}
		return err
	}
	return nil
}

// inspect checks what a crash, or a stop, has left in a directory, and makes
// what the savepoint covers the only samples that may not be sent again. limited
// says that a limit may have removed samples. Callers hold mtx.
func (m *ledger) inspect(dir string, limited bool) error {
	items, err := m.readItems(dir)
	if err != nil {
		return err
	}
	there := make([]bool, len(m.samples))
	for _, it := range items {
		if it.number >= 0 {
			there[it.number] = true
		}
	}
	data, err := os.ReadFile(filepath.Join(dir, savepoint.CurrentName))
	if errors.Is(err, fs.ErrNotExist) {
		for _, e := range m.endpoints {
			if e.added > 0 {
				m.fail("I1: there is no savepoint in %s, and %s was configured", dir, e.server.URL)
			}
		}
		return nil
	}
	if err != nil {
		return err
	}
	f, err := savepoint.Decode(data)
	if err != nil {
		return err
	}
	first, _, err := wlog.Segments(filepath.Join(dir, "wal"))
	if err != nil {
		return err
	}
	for _, e := range m.endpoints {
		if !e.present && e.short {
			continue // It may have been forfeited.
		}
		saved := e.in(f)
		if saved == nil {
			if e.added > 0 {
				m.fail("I1: the savepoint in %s does not have %s, which was configured", dir, e.server.URL)
			}
			continue
		}
		if saved.Floor.Segment < first && !limited {
			m.fail("I1: the log in %s begins with segment %d, %s is at %s", dir, first, e.server.URL, saved.Floor)
		}
		m.inspectEndpoint(dir, e, saved, modelMarks(saved, first), items, there, limited)
	}
	return nil
}

func (m *ledger) inspectEndpoint(dir string, e *modelEndpoint, saved *savepoint.Endpoint, marks savedMarks, items []logItem, there []bool, limited bool) {
	covered := make([]bool, len(m.samples))
	for _, it := range items {
		done, mark := marks.take(it)
		if it.number < 0 {
			continue
		}
		covered[it.number] = done
		s := m.samples[it.number]
		if had := e.at(s.number); done && e.owed(s) && had&flagStored == 0 && !e.excused(s) && !limited {
			m.fail("I2: the savepoint in %s says that %s has sample %d of %s, which it has not: it is at %s+%d, the sample ends at %s",
				dir, e.server.URL, s.number, s.name, mark, mark.Skip, it.end)
		}
		if had := e.at(s.number); had&flagSeen != 0 && saved.Dispatched.Before(it.end) {
			m.fail("I8: the dispatch watermark of %s in %s is %s, and sample %d, which ends at %s, had been sent", e.server.URL, dir, saved.Dispatched, s.number, it.end)
		}
	}
	for _, s := range m.samples {
		if e.owed(s) && !there[s.number] && e.at(s.number)&flagStored == 0 && !e.excused(s) && !limited {
			m.fail("I1: sample %d of %s, committed, is not in %s, and %s does not have it", s.number, s.name, dir, e.server.URL)
		}
	}
	for n := range e.flags {
		if n < len(covered) && !covered[n] && there[n] {
			e.flags[n] &^= flagSettled
		}
	}
}

// markOf is how far a savepoint says that a partition, or a series of it that is
// isolated, is acknowledged.
type markOf struct {
	savepoint.Mark
	left int // Of its Skip.
}

type savedMarks struct {
	partitions []markOf
	isolated   map[uint64]*markOf
}

// modelMarks returns the marks of an endpoint in a log that begins with a segment. What
// there was to be skipped before that is gone, and is not what lies behind it.
func modelMarks(saved *savepoint.Endpoint, first int) savedMarks {
	of := func(mark savepoint.Mark) markOf {
		if mark.Segment < first {
			return markOf{mark, 0}
		}
		return markOf{mark, mark.Skip}
	}
	out := savedMarks{isolated: map[uint64]*markOf{}}
	for _, mark := range saved.MarksFor(series.Partitions) {
		out.partitions = append(out.partitions, of(mark))
	}
	for _, s := range saved.IsolatedFor(series.Partitions) {
		mark := of(s.Mark)
		out.isolated[s.Series] = &mark
	}
	return out
}

// take reports whether the next item of the log is acknowledged, and by which
// mark. A Skip counts the items of the partition, whatever series they are of.
func (s savedMarks) take(it logItem) (bool, savepoint.Mark) {
	p := it.hash % series.Partitions
	mark := &s.partitions[p]
	done := mark.passes(it.end)
	for hash, own := range s.isolated {
		if hash%series.Partitions != p {
			continue
		}
		if passed := own.passes(it.end); hash == it.hash {
			mark, done = own, passed
		}
	}
	return done, mark.Mark
}

func (m *markOf) passes(end cursor.Position) bool {
	if !m.Before(end) {
		return true
	}
	if m.left == 0 {
		return false
	}
	m.left--
	return true
}

// in finds the endpoint in a savepoint.
func (e *modelEndpoint) in(f savepoint.File) *savepoint.Endpoint {
	for i := range f.Endpoints {
		if f.Endpoints[i].Identity.URLHash == e.urlHash {
			return &f.Endpoints[i]
		}
	}
	return nil
}

// A limit has removed what a mark was to skip: it says nothing of what is left, which the
// endpoint may get again (I8).
func TestMarksBeforeTheLog(t *testing.T) {
	at := func(segment int, offset int64) cursor.Position {
		return cursor.Position{Segment: segment, Offset: offset}
	}
	mark := savepoint.Mark{Point: cursor.Point{Position: at(4, 457)}, Skip: 1}
	saved := &savepoint.Endpoint{Acked: slices.Repeat([]savepoint.Mark{mark}, series.Partitions)}
	saved.Isolated = []savepoint.Isolated{{Series: 1, Mark: mark}}
	for first, want := range map[int][]bool{4: {true, false}, 5: {false, false}} {
		marks := modelMarks(saved, first)
		for hash := range uint64(2) {
			var got []bool
			for offset := range int64(2) {
				done, _ := marks.take(logItem{hash: hash, end: at(max(first, 4), 900+offset)})
				got = append(got, done)
			}
			require.Equal(t, want, got, "first %d, hash %d", first, hash)
		}
	}
}
