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

package snapshot

import (
	"context"
	"errors"
	"io/fs"
	"os"

	"github.com/ackwal/ackwal/tsdb/internal/frame"
	"github.com/ackwal/ackwal/tsdb/wlog/vfs"

	"github.com/prometheus/prometheus/util/compression"
)

const (
	fileMode = 0o666 // Before the umask, as for segments.
	dirMode  = 0o777
)

// sink is how files are written: where, how fast, how compressed.
type sink struct {
	fs          vfs.FS
	pace        func(ctx context.Context, n int) error
	compression compression.Type
}

// output writes one new file of frames. It belongs to one goroutine.
type output struct {
	sink
	ctx context.Context
	f   vfs.File
	enc compression.EncodeBuffer
	buf []byte // Not written yet.
	off int64  // Where the next byte goes, buf included.
}

// create makes the file anew. A file of that name is taken away first and not
// overwritten, since a checkpoint may hold a link to it.
func (s sink) create(ctx context.Context, path string) (*output, error) {
	if err := removeIfExists(s.fs, path); err != nil {
		return nil, err
	}
	f, err := s.fs.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, fileMode)
	if err != nil {
		return nil, err
	}
	return &output{sink: s, ctx: ctx, f: f, enc: compression.NewSyncEncodeBuffer()}, nil
}

// record appends one record and returns the offset of its first frame.
func (o *output) record(payload []byte) (int64, error) {
	data, t, err := frame.Compress(o.compression, payload, o.enc)
	if err != nil {
		return 0, err
	}
	start, had := frame.RoundUp(o.off), len(o.buf)
	o.buf = frame.Append(o.buf, o.off, data, t)
	o.off += int64(len(o.buf) - had)
	if len(o.buf) < paceBytes {
		return start, nil
	}
	return start, o.flush()
}

// raw appends bytes as they are.
func (o *output) raw(b []byte) error {
	o.buf = append(o.buf, b...)
	o.off += int64(len(b))
	return o.flush()
}

func (o *output) flush() error {
	for b := o.buf; len(b) > 0; {
		n := min(len(b), paceBytes)
		if err := o.ctx.Err(); err != nil {
			return err
		}
		if o.pace != nil {
			if err := o.pace(o.ctx, n); err != nil {
				return err
			}
		}
		n, err := o.f.Write(b[:n])
		if err != nil {
			return err
		}
		b = b[n:]
	}
	o.buf = o.buf[:0]
	return nil
}

// finish makes the content durable and closes the file. The name is durable
// once the directory has been synced.
func (o *output) finish() error {
	err := o.flush()
	if err == nil {
		err = o.f.Sync()
	}
	if e := o.f.Close(); err == nil {
		err = e
	}
	o.f = nil
	return err
}

// abort closes the file if finish has not.
func (o *output) abort() {
	if o.f != nil {
		_ = o.f.Close() // The file is going to be removed.
		o.f = nil
	}
}

func removeIfExists(fsys vfs.FS, path string) error {
	if err := fsys.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
