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

package inspect

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/ackwal/ackwal/storage/remote/delivery"
	"github.com/ackwal/ackwal/tsdb/agent/durable"
	"github.com/ackwal/ackwal/tsdb/internal/snapshot"
	"github.com/ackwal/ackwal/tsdb/wlog/cursor"
	"github.com/ackwal/ackwal/tsdb/wlog/epoch"
	"github.com/ackwal/ackwal/tsdb/wlog/savepoint"
	"github.com/ackwal/ackwal/tsdb/wlog/vfs/dryfs"

	"github.com/prometheus/prometheus/tsdb/wlog"
)

// ErrEnough ends Directory.Each early, which then returns no error.
var ErrEnough = errors.New("enough was read")

// Status is what the files of a data directory say. What an agent that runs says of itself
// too has the same name in JSON, see docs/delivery-api.md.
type Status struct {
	Directory string `json:"directory"`
	// LockFile says that there is one: an agent is running, or was killed.
	LockFile  bool       `json:"lock_file"`
	Log       Log        `json:"log"`
	Series    int        `json:"series"`
	Snapshot  Snapshot   `json:"snapshot"`
	Savepoint Savepoint  `json:"savepoint"`
	Endpoints []Endpoint `json:"endpoints"`
	// Notes are what a start would log of what it found, as far as it matters for
	// delivery.
	Notes []string `json:"notes"`
}

// Log is the write-ahead log.
type Log struct {
	Segments   int   `json:"segments"`
	Missing    int   `json:"missing_segments,omitempty"` // Between First and Last.
	First      int   `json:"first"`                      // -1 for none.
	Last       int   `json:"last"`
	Bytes      int64 `json:"bytes"`
	Checkpoint int   `json:"checkpoint"` // -1 for none.
	// Run is the ULID of the run that wrote the last segment with a record, empty if
	// that was another engine, or none.
	Run string `json:"run,omitempty"`
	// Foreign is how many segments another engine wrote, such as best-effort delivery.
	Foreign int `json:"segments_of_other_engines"`
	// Head is the end of the last whole record.
	Head cursor.Position `json:"head"`
	// Oldest and Newest are the times of the first and the last samples.
	Oldest *time.Time `json:"oldest_sample,omitempty"`
	Newest *time.Time `json:"newest_sample,omitempty"`
}

// Snapshot is the snapshot of series beside the log.
type Snapshot struct {
	Present bool  `json:"present"`
	Covered int   `json:"covered_segment"` // -1 for none.
	Bytes   int64 `json:"bytes"`
}

// Savepoint is the file with the endpoints' positions.
type Savepoint struct {
	File    string     `json:"file,omitempty"` // Empty if there is none that can be read.
	Run     string     `json:"run,omitempty"`
	Written *time.Time `json:"written,omitempty"`
	// Clean says that a stop wrote it, with nothing under way.
	Clean bool `json:"clean"`
}

// Endpoint is one remote endpoint of the savepoint.
type Endpoint struct {
	ID      string     `json:"id"`
	Name    string     `json:"name"`
	Named   bool       `json:"named"` // Else Name is the beginning of a hash of its URL.
	Removed *time.Time `json:"removed_from_configuration,omitempty"`
	// From is where it goes on.
	From cursor.Position `json:"position"`
	// Bytes, Samples, Histograms and Exemplars are what it has yet to be sent.
	Bytes      int64      `json:"unacked_bytes"`
	Samples    int        `json:"samples"`
	Histograms int        `json:"histograms"`
	Exemplars  int        `json:"exemplars"`
	Estimated  int        `json:"samples_estimated"`
	Oldest     *time.Time `json:"oldest_sample,omitempty"`
	Newest     *time.Time `json:"newest_sample,omitempty"`
	Isolated   int        `json:"isolated_series"`
	// Passed is how many samples, histograms and exemplars another engine wrote in between,
	// which are passed over.
	Passed int `json:"passed_over"`
	// Lost is what is found missing of the log that it had not been sent.
	LostSamples int64 `json:"samples_missing_in_log"`
	LostBytes   int64 `json:"bytes_missing_in_log"`

	identity savepoint.Identity
}

// Items is the number of samples, histograms and exemplars.
func (e *Endpoint) Items() int { return e.Samples + e.Histograms + e.Exemplars }

// Identity is what the endpoint is recognised by in a configuration.
func (e *Endpoint) Identity() savepoint.Identity { return e.identity }

// Directory is a data directory that is looked at.
type Directory struct {
	path  string
	dry   *dryfs.FS
	notes *notes

	file   savepoint.File
	source savepoint.Source
	store  *snapshot.Store
	look   *delivery.Inspection // Nil if there is no segment.

	bridged string // Where the log is read if segments are missing, else empty; see gaps.go.
	missing int    // How many are.
	gone    bool   // All are.
}

// Open looks at a data directory. It reads every series record of the log.
func Open(dir string) (*Directory, error) { return open(dir, dryfs.New(nil)) }

func open(dir string, dry *dryfs.FS) (_ *Directory, err error) {
	if err := check(dir); err != nil {
		return nil, err
	}
	d := &Directory{path: dir, dry: dry, notes: &notes{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.Close())
		}
	}()
	if d.file, d.source, err = savepoint.NewStore(dir, savepoint.WithFS(dry)).Load(); err != nil {
		if lost := (*savepoint.LostError)(nil); !errors.As(err, &lost) {
			return nil, err
		}
	}
	for _, p := range d.source.Problems {
		if p.Reason != savepoint.Absent {
			d.notes.add(p.Error())
		}
	}
	if d.store, err = snapshot.Open(filepath.Join(dir, durable.SeriesDir), snapshot.Options{FS: dry, Logger: slog.New(d.notes)}); err != nil {
		return nil, err
	}
	first, _, err := cursor.SegmentRange(d.wal())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		if err = d.bridge(); err == nil {
			first, _, err = cursor.SegmentRange(d.wal())
		}
	}
	if errors.Is(err, fs.ErrNotExist) || err == nil && first < 0 {
		if len(d.file.Endpoints) == 0 {
			return d, nil
		}
		err = d.standIn()
	}
	if err != nil {
		return nil, fmt.Errorf("%w; `promtool agent verify` says what is missing, and a start of the agent puts it in order", err)
	}
	d.look, err = delivery.Inspect(slog.New(d.notes), dir, delivery.InspectOptions{WALDir: d.wal(), Evicted: d.store, Size: d.size(), Followed: d.file.Followed, FS: dry})
	return d, err
}

// check says why a directory is none of an agent.
func check(dir string) error {
	in, err := os.Stat(dir)
	switch {
	case err != nil:
		return fmt.Errorf("%w; give the directory that --storage.agent.path names", err)
	case !in.IsDir():
		return fmt.Errorf("%s is no directory; give the one that --storage.agent.path names", dir)
	}
	if _, err := os.Stat(filepath.Join(dir, "chunks_head")); err == nil {
		return fmt.Errorf("%s is the data directory of a server and not of an agent; `promtool tsdb` is for those", dir)
	}
	if _, err := os.Stat(filepath.Join(dir, durable.WALDir)); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("there is no write-ahead log in %s: it has no directory %q; give the directory that --storage.agent.path names", dir, durable.WALDir)
	} else if err != nil {
		return err
	}
	return nil
}

// Close lets go of the files.
func (d *Directory) Close() error {
	var errs []error
	if d.look != nil {
		errs = append(errs, d.look.Close())
	}
	if d.store != nil {
		errs = append(errs, d.store.Close())
	}
	if d.bridged != "" {
		errs = append(errs, os.RemoveAll(d.bridged))
	}
	return errors.Join(errs...)
}

func (d *Directory) wal() string {
	if d.bridged != "" {
		return d.bridged
	}
	return filepath.Join(d.path, durable.WALDir)
}

// size returns what the snapshot knows of the sizes of finished segments.
func (d *Directory) size() func(int) int64 {
	state, ok := d.store.State()
	if !ok {
		return nil
	}
	sizes := make(map[int]int64, len(state.Segments))
	for _, s := range state.Segments {
		sizes[s.Index] = s.Size
	}
	return func(segment int) int64 { return sizes[segment] }
}

// Status returns what there is to know. When ctx ends, what endpoints have yet to be sent
// is estimated from there on.
func (d *Directory) Status(ctx context.Context) (*Status, error) {
	s := &Status{Directory: d.path, Endpoints: []Endpoint{}, Snapshot: Snapshot{Covered: -1}, Notes: []string{}}
	if _, err := os.Lstat(filepath.Join(d.path, durable.LockName)); err == nil {
		s.LockFile = true
	}
	var err error
	if s.Log, err = d.log(); err != nil {
		return nil, err
	}
	if state, ok := d.store.State(); ok {
		s.Snapshot = Snapshot{Present: true, Covered: state.Covered, Bytes: d.store.Bytes()}
	}
	s.Savepoint = d.savepoint()
	if d.look != nil {
		s.Series = d.look.Series()
		s.Endpoints = d.Endpoints(ctx)
	}
	s.Notes = append(s.Notes, d.notes.list()...)
	return s, nil
}

func (d *Directory) savepoint() Savepoint {
	if d.source.Origin == savepoint.None {
		return Savepoint{}
	}
	name := savepoint.CurrentName
	if d.source.Origin == savepoint.Fallback {
		name = savepoint.PreviousName
	}
	return Savepoint{File: name, Run: d.file.Run, Written: &d.file.Written, Clean: d.file.Clean}
}

// Endpoints returns those of the savepoint with what they have yet to be sent.
func (d *Directory) Endpoints(ctx context.Context) []Endpoint {
	out := []Endpoint{}
	if d.look == nil {
		return out
	}
	for i, b := range d.look.Backlogs(ctx, d.look.Head()) {
		e := Endpoint{
			ID: b.ID, Name: b.Name, Removed: b.Removed, From: b.From, Bytes: b.Bytes, Samples: b.Samples, Histograms: b.Histograms,
			Exemplars: b.Exemplars, Estimated: b.Estimated, Isolated: b.Isolated, Passed: b.Passed, Oldest: moment(b.Oldest), Newest: moment(b.Newest),
			LostSamples: b.LostSamples, LostBytes: b.LostBytes,
		}
		e.identity = d.file.Endpoints[i].Identity
		e.Named = e.identity.Name != ""
		out = append(out, e)
	}
	return out
}

// log describes the log.
func (d *Directory) log() (Log, error) {
	l := Log{First: -1, Last: -1, Checkpoint: -1}
	if _, n, err := wlog.LastCheckpoint(d.wal()); err == nil {
		l.Checkpoint = n
	}
	if d.look == nil {
		return l, nil
	}
	segments, err := epoch.Scan(d.wal())
	if err != nil {
		return l, err
	}
	for _, seg := range segments {
		l.Bytes += cursor.SegmentSize(d.wal(), seg.Index)
		if seg.Foreign() {
			l.Foreign++
		}
		if !seg.Empty && !seg.Damaged {
			l.Run = ""
			if seg.Run != (ulid.ULID{}) {
				l.Run = seg.Run.String()
			}
		}
	}
	if d.gone {
		return l, nil
	}
	l.Segments, l.Missing, l.First, l.Last = len(segments)-d.missing, d.missing, segments[0].Index, segments[len(segments)-1].Index
	l.Head = d.look.Head()
	oldest, newest, err := d.span(l.First, l.Last)
	l.Oldest, l.Newest = moment(oldest), moment(newest)
	return l, err
}

// span returns the times of the first and of the newest sample, 0 for none. Only as much
// is read as that takes: the beginning, and the last segment that has any.
func (d *Directory) span(first, last int) (oldest, newest int64, err error) {
	ctx := context.Background()
	err = d.look.Each(ctx, cursor.Position{Segment: first}, func(it delivery.LoggedItem, _ cursor.Position) error {
		oldest = it.T
		return ErrEnough
	})
	for n := last; n >= first && newest == 0 && (err == nil || errors.Is(err, ErrEnough)); n-- {
		err = d.look.Each(ctx, cursor.Position{Segment: n}, func(it delivery.LoggedItem, end cursor.Position) error {
			if end.Segment > n && end.Offset > 0 {
				return ErrEnough
			}
			newest = max(newest, it.T)
			return nil
		})
	}
	if errors.Is(err, ErrEnough) {
		err = nil
	}
	return oldest, newest, err
}

// moment returns a time of the log, nil for 0.
func moment(ms int64) *time.Time {
	if ms == 0 {
		return nil
	}
	t := time.UnixMilli(ms).UTC()
	return &t
}

// Each calls f with what is in the log, from its beginning on, until f returns an error.
func (d *Directory) Each(ctx context.Context, f func(delivery.LoggedItem) error) error {
	if d.look == nil {
		return nil
	}
	first, _, err := cursor.SegmentRange(d.wal())
	if err != nil {
		return err
	}
	err = d.look.Each(ctx, cursor.Position{Segment: first}, func(it delivery.LoggedItem, _ cursor.Position) error { return f(it) })
	if errors.Is(err, ErrEnough) {
		return nil
	}
	return err
}
