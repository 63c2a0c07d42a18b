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
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/ackwal/ackwal/tsdb/wlog/cursor"
	"github.com/ackwal/ackwal/tsdb/wlog/vfs"
)

// ReserveName is the file that keeps room free, in the data directory.
const ReserveName = "reserve"

// The size of the reserve: a part of the file system, within bounds. It has to do
// for the snapshot of what a segment or two brought and for a checkpoint's names.
const (
	reserveShare = 64
	minReserve   = 128 << 10
	maxReserve   = 8 << 20
)

// reserve is room on the disk that is kept for freeing room: a file that is removed
// when there is none left, and made again when there is. While it is gone the log
// is not written to, or it would take what removing needs.
type reserve struct {
	fs   vfs.FS
	path string
	size int64 // 0 if none is kept.

	mtx  sync.Mutex // Guards kept; held through its making and removal.
	kept bool
}

func (r *reserve) init(fsys vfs.FS, dataDir string, total int64) {
	r.fs, r.path = fsys, filepath.Join(dataDir, ReserveName)
	r.size = min(max(total/reserveShare, minReserve), maxReserve)
}

// keep makes the file if it is not there, and returns nil if it is then.
func (r *reserve) keep() (err error) {
	r.mtx.Lock()
	defer r.mtx.Unlock()
	if r.kept || r.size == 0 {
		return nil
	}
	if info, err := r.fs.Stat(r.path); err == nil && info.Size() == r.size {
		r.kept = true // Of an earlier run.
		return nil
	}
	f, err := r.fs.OpenFile(r.path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o666)
	if err != nil {
		return fmt.Errorf("keep room for removing: %w", err)
	}
	// Bytes that no file system makes smaller.
	_, err = io.CopyN(f, rand.Reader, r.size)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("keep room for removing: %w", errors.Join(err, r.fs.Remove(r.path)))
	}
	r.kept = true
	return nil
}

// release frees the room for a removal.
func (r *reserve) release() error {
	r.mtx.Lock()
	defer r.mtx.Unlock()
	if r.size == 0 {
		return nil
	}
	r.kept = false
	if err := r.fs.Remove(r.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("use the room kept for removing: %w", err)
	}
	return nil
}

// lowSpace is the free room below which what was delivered goes at once, whatever
// fills the disk.
func lowSpace(total int64) int64 { return min(total/10, 1<<30) }

// fittingSegment is the largest segment that leaves several to a file system.
func fittingSegment(total int64) int64 {
	const several, least = 16, 8
	return max(total/several/cursor.PageSize, least) * cursor.PageSize
}

// steadyClock tells the age of segments by a clock that may jump ahead: boards
// without a battery start in the past and are set later, and what was written in
// between is not as old as it looks then.
type steadyClock struct {
	mtx   sync.Mutex // Guards what follows.
	begun bool
	start time.Time // Wall clock at the first look.
	wall  time.Time
	up    time.Duration
	jumps []jump
}

// jump is the wall clock being set ahead.
type jump struct {
	before time.Time
	by     time.Duration
}

// maxDrift is a difference of two clocks that is none.
const maxDrift = time.Minute

// look notes how the clocks went on since the last time.
func (c *steadyClock) look(wall time.Time, up time.Duration) {
	c.mtx.Lock()
	defer c.mtx.Unlock()
	wall = wall.Round(0)
	if !c.begun {
		c.begun, c.start = true, wall
	} else if by := wall.Sub(c.wall) - (up - c.up); by > maxDrift {
		c.jumps = append(c.jumps, jump{before: c.wall.Add(up - c.up), by: by})
	}
	c.wall, c.up = wall, up
}

// written corrects the time a file was written at to what the clock shows now.
func (c *steadyClock) written(at time.Time) time.Time {
	c.mtx.Lock()
	defer c.mtx.Unlock()
	if !c.begun || at.Before(c.start) {
		return at // Of an earlier run, whose clock is not known.
	}
	for _, j := range c.jumps {
		if !at.After(j.before.Add(maxDrift)) {
			at = at.Add(j.by)
		}
	}
	return at
}

const leastRoomDelay, mostRoomDelay = time.Second, 30 * time.Second

// pacedRoom says when room is to be made again after attempts that made none, each
// of which writes the reserve anew. The goroutine that keeps limits owns it.
type pacedRoom struct {
	next  time.Time
	delay time.Duration
}

func (r *pacedRoom) failed() {
	r.delay = min(max(2*r.delay, leastRoomDelay), mostRoomDelay)
	r.next = time.Now().Add(r.delay)
}
