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
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/ackwal/ackwal/storage/remote/delivery"
	"github.com/ackwal/ackwal/tsdb/wlog/cursor"
	"github.com/ackwal/ackwal/tsdb/wlog/savepoint"
	"github.com/ackwal/ackwal/tsdb/wlog/vfs"
	"github.com/ackwal/ackwal/tsdb/wlog/vfs/dryfs"

	"github.com/prometheus/prometheus/tsdb/tsdbutil"
)

const backupPrefix = "delivery.backup-"

// Target says where in the log an endpoint is to go on.
type Target struct {
	// Oldest is the beginning of the log, Now its end. With neither it is the first
	// record with a sample of Time or later.
	Oldest, Now bool
	Time        time.Time
}

// ParseTime reads a time: in RFC 3339, or in ms since the epoch.
func ParseTime(s string) (time.Time, error) {
	if ms, err := strconv.ParseInt(s, 10, 64); err == nil {
		return time.UnixMilli(ms), nil
	}
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return time.Time{}, fmt.Errorf("%q is no time: give one such as 2026-03-01T12:00:00Z, or ms since the epoch", s)
	}
	return t, nil
}

// ParseTarget reads "oldest", "now", or a time as ParseTime does.
func ParseTarget(s string) (Target, error) {
	switch s {
	case "oldest":
		return Target{Oldest: true}, nil
	case "now":
		return Target{Now: true}, nil
	}
	t, err := ParseTime(s)
	if err != nil {
		return Target{}, fmt.Errorf("%q is no position to move to: give oldest, now, or a time, such as 2026-03-01T12:00:00Z or ms since the epoch", s)
	}
	return Target{Time: t}, nil
}

// Moved says what Move did.
type Moved struct {
	Endpoint Endpoint `json:"endpoint"` // As it was.
	// To is where it goes on now, with what it has yet to be sent.
	To     Endpoint `json:"moved_to"`
	Backup string   `json:"backup,omitempty"` // Path of the savepoint as it was.
}

// Move puts the position of an endpoint, given by its name or ID, where a target is:
// it is sent everything from there on, and nothing from before. The savepoint as it was
// is kept beside it. No agent may be running in the directory. With dry nothing is
// written, and no lock is needed.
func Move(ctx context.Context, dir, endpoint string, to Target, dry bool) (m *Moved, err error) {
	if err := check(dir); err != nil {
		return nil, err
	}
	if !dry {
		release, err := lock(dir)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, release()) }()
	}
	d, err := Open(dir)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	if d.gone {
		return nil, fmt.Errorf("the log in %s has no segment, so there is nowhere to go on; a start of the agent begins one, and counts what was lost", dir)
	}
	before := d.Endpoints(ctx)
	at, err := d.choose(before, endpoint)
	if err != nil {
		return nil, err
	}
	target, err := d.find(ctx, to)
	if err != nil {
		return nil, err
	}
	f := d.file
	f.Endpoints = slices.Clone(f.Endpoints)
	put(&f.Endpoints[at], target)
	if err := d.identify(&f); err != nil {
		return nil, err
	}
	m = &Moved{Endpoint: before[at]}
	if m.To, err = d.tried(ctx, f, at); err != nil || dry {
		return m, err
	}
	if m.Backup, err = d.backup(time.Now()); err != nil {
		return nil, err
	}
	return m, savepoint.NewStore(dir).Write(f, true)
}

// lock takes the lock of a data directory.
func lock(dir string) (release func() error, err error) {
	locker, err := tsdbutil.NewDirLocker(dir, "agent", slog.New(slog.DiscardHandler), nil)
	if err == nil {
		err = locker.Lock()
	}
	switch {
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		return nil, fmt.Errorf("%s cannot be locked: %w; try again as a user who may write there", dir, err)
	case err != nil:
		return nil, fmt.Errorf("%s cannot be locked: %w; stop the agent that uses it and try again", dir, err)
	}
	return locker.Release, nil
}

// choose returns which endpoint is meant.
func (d *Directory) choose(all []Endpoint, endpoint string) (int, error) {
	var names []string
	for i := range all {
		if all[i].ID == endpoint {
			return i, nil
		}
		names = append(names, all[i].Name)
	}
	found := -1
	for i := range all {
		switch {
		case all[i].Name != endpoint:
		case found >= 0:
			return 0, fmt.Errorf("%q is the name of several endpoints; give the ID of one, as `promtool agent savepoint` shows it", endpoint)
		default:
			found = i
		}
	}
	switch {
	case found >= 0:
		return found, nil
	case len(all) == 0:
		return 0, fmt.Errorf("no endpoint has a position in %s: it has no savepoint that can be read, or no segment", d.path)
	}
	return 0, fmt.Errorf("no endpoint %q has a position in %s; there are: %s", endpoint, d.path, strings.Join(names, ", "))
}

// find returns where a target is.
func (d *Directory) find(ctx context.Context, to Target) (cursor.Point, error) {
	first, _, err := cursor.SegmentRange(d.wal())
	if err != nil {
		return cursor.Point{}, err
	}
	at := cursor.Position{Segment: first}
	switch {
	case to.Oldest:
		return cursor.Point{Position: at}, nil
	case to.Now:
		return cursor.PointAt(d.wal(), d.look.Head())
	}
	want, found := to.Time.UnixMilli(), false
	err = d.look.Each(ctx, at, func(it delivery.LoggedItem, end cursor.Position) error {
		if it.T >= want {
			found = true
			return ErrEnough
		}
		at = end
		return nil
	})
	switch {
	case errors.Is(err, ErrEnough):
		err = nil
	case err == nil && !found:
		err = fmt.Errorf("the log has no sample of %s or later; give now to have everything left out", to.Time.Format(time.RFC3339))
	}
	if err != nil {
		return cursor.Point{}, err
	}
	return cursor.PointAt(d.wal(), at)
}

// put lets an endpoint go on at a point.
func put(e *savepoint.Endpoint, at cursor.Point) {
	mark := savepoint.Mark{Point: at}
	e.Acked = slices.Repeat([]savepoint.Mark{mark}, len(e.Acked))
	e.Floor, e.Isolated, e.Fresh, e.ForfeitedBefore = mark, nil, nil, 0
	if e.Dispatched.Before(at.Position) {
		e.Dispatched = at.Position
	}
}

// identify adds the fingerprints that a savepoint lacks.
func (d *Directory) identify(f *savepoint.File) error {
	prints := map[int]uint32{}
	for _, n := range f.Referenced() {
		fp, known := f.Segments[n]
		if !known {
			var err error
			if fp, err = cursor.Fingerprint(d.wal(), n); err != nil && !errors.Is(err, os.ErrNotExist) {
				return err
			}
		}
		prints[n] = fp
	}
	f.Segments = prints
	return nil
}

// tried returns an endpoint as it would be with another savepoint.
func (d *Directory) tried(ctx context.Context, f savepoint.File, at int) (Endpoint, error) {
	dry := dryfs.New(nil)
	if err := savepoint.NewStore(d.path, savepoint.WithFS(dry)).Write(f, false); err != nil {
		return Endpoint{}, err
	}
	then, err := open(d.path, dry)
	if err != nil {
		return Endpoint{}, err
	}
	defer then.Close()
	return then.Endpoints(ctx)[at], nil
}

// backup copies the savepoint that is in use to a name with the time.
func (d *Directory) backup(now time.Time) (path string, err error) {
	src, err := os.Open(filepath.Join(d.path, d.savepoint().File))
	if err != nil {
		return "", err
	}
	defer src.Close()
	path = filepath.Join(d.path, backupPrefix+now.UTC().Format("20060102T150405.000Z")+".json")
	dst, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return "", fmt.Errorf("keep the savepoint as it is: %w", err)
	}
	_, err = io.Copy(dst, src)
	if err == nil {
		err = dst.Sync()
	}
	if err = errors.Join(err, dst.Close()); err == nil {
		err = vfs.OS.SyncDir(d.path)
	}
	if err != nil {
		return "", fmt.Errorf("keep the savepoint as it is in %s: %w", path, err)
	}
	return path, nil
}
