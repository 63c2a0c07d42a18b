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

package frame

import (
	"errors"
	"io"
)

// Lenient reads what can be read of a segment. A page that the disk refuses comes
// as bytes that no frame begins with, so that it is damage like any other, and the
// rest of the segment can be had. It belongs to one goroutine.
type Lenient struct {
	Src  io.ReaderAt
	Size int64 // Of the segment, in bytes.

	Err     error // What the disk said last; nil if it never refused.
	Refused int64 // Bytes; those that were asked for again count again.
}

// unreadable is no type that a frame has.
const unreadable = 0xff

// ReadAt implements io.ReaderAt. Its only error is io.EOF.
func (l *Lenient) ReadAt(b []byte, off int64) (int, error) {
	n, err := l.Src.ReadAt(b, off)
	if err == nil || errors.Is(err, io.EOF) {
		return n, err
	}
	n = 0
	for to := min(off+int64(len(b)), l.Size); off < to; {
		end := min(PageOf(off)+PageSize, to)
		part := b[n : n+int(end-off)]
		got, err := l.Src.ReadAt(part, off)
		if errors.Is(err, io.EOF) && got < len(part) {
			return n + got, io.EOF
		}
		if err != nil && !errors.Is(err, io.EOF) {
			l.Err = err
			l.Refused += int64(len(part))
			for i := range part {
				part[i] = unreadable
			}
		}
		n, off = n+len(part), end
	}
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}
