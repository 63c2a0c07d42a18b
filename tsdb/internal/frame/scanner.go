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
	"fmt"
	"hash/crc32"
	"io"

	"github.com/prometheus/prometheus/util/compression"
)

// MaxSnappyRatio is above what a snappy block can expand to (64 bytes for
// three). It keeps a wrong compression flag from asking for gigabytes.
const MaxSnappyRatio = 24

// Damage is bytes of a segment that cannot be what a writer left there. It is
// permanent as far as the bytes read are: reading more of the file does not
// help, reading the same bytes again may if a writer was busy with them.
type Damage struct {
	Offset int64 // Of the frame at which it was noticed.
	Retry  int64 // The first offset at which a record may start again.
	Err    error
}

func (d *Damage) Error() string { return fmt.Sprintf("at offset %d: %s", d.Offset, d.Err) }

// Unwrap returns what is wrong.
func (d *Damage) Unwrap() error { return d.Err }

// Record is one whole record.
type Record struct {
	Data       []byte // Decompressed; valid until the next call to the scanner.
	Start, End int64  // First byte of the first header; end, rounded up.
	CRC        uint32 // Of the last frame.
	Compressed bool
}

// Scanner reads the records of one segment in order.
type Scanner struct {
	// Strict has the scanner insist on zero bytes where no header fits at the
	// end of a page. Upstream's reader does.
	Strict bool

	src  io.ReaderAt
	buf  []byte
	base int64 // Offset of buf[0] in the segment.
	at   int   // Index of the next frame in buf.
	have int   // Bytes read into buf.

	open  bool  // A First frame was read, and no Last one yet.
	start int64 // Where the open record begins.
	body  []byte
	dec   compression.DecodeBuffer
}

// NewScanner returns a scanner that reads pages pages at a time. Call Reset
// before the first use.
func NewScanner(pages int) *Scanner {
	return &Scanner{
		buf: make([]byte, pages*PageSize),
		dec: compression.NewSyncDecodeBuffer(),
	}
}

// Reset makes the scanner read src from the given offset on, which must be the
// start or end of a record, and forgets everything that was read ahead.
func (s *Scanner) Reset(src io.ReaderAt, offset int64) {
	s.src, s.base, s.at, s.have = src, offset, 0, 0
	s.open, s.body = false, s.body[:0]
}

// Offset returns where the scanner is.
func (s *Scanner) Offset() int64 { return s.base + int64(s.at) }

// room returns the bytes left in the page of the next frame.
func (s *Scanner) room() int { return PageSize - int(s.Offset()%PageSize) }

// fill reads until n bytes, a page at most, are there from the next frame on
// or the data ends, and reports whether they are there.
func (s *Scanner) fill(n int) (bool, error) {
	if s.at+n > len(s.buf) {
		s.have = copy(s.buf, s.buf[s.at:s.have])
		s.base += int64(s.at)
		s.at = 0
	}
	for s.have-s.at < n {
		// Reads end at the end of a page, so that the next one starts there.
		from := s.base + int64(s.have)
		size := int64(len(s.buf) - s.have)
		if end := PageOf(from + size); end > from {
			size = end - from
		}
		got, err := s.src.ReadAt(s.buf[s.have:s.have+int(size)], from)
		s.have += got
		switch {
		case err != nil && !errors.Is(err, io.EOF):
			return false, err
		case got == 0 || err != nil:
			return s.have-s.at >= n, nil
		}
	}
	return true, nil
}

// end is the error for data that ends where the scanner is.
func (s *Scanner) end(within bool) error {
	if s.open || within {
		return io.ErrUnexpectedEOF
	}
	return io.EOF
}

// damage describes what is wrong with the next frame, of which not even the end
// can be told. The record in progress is lost by it.
func (s *Scanner) damage(err error) error {
	off := s.Offset()
	return &Damage{Offset: off, Retry: PageOf(off) + PageSize, Err: err}
}

// damageOf is damage for a frame that takes up size bytes by its header. That may
// be what is wrong, but whether something whole follows is soon seen.
func (s *Scanner) damageOf(size int, err error) error {
	off := s.Offset()
	return &Damage{Offset: off, Retry: RoundUp(off + int64(size)), Err: err}
}

var (
	errPadding  = errors.New("padding of a page is not zero")
	errZeros    = errors.New("page has only zeros, which no writer leaves")
	errChecksum = errors.New("checksum does not match")
	errCut      = errors.New("record ends before its last frame")
	errOrphan   = errors.New("frame continues a record that has no beginning")
	errExpand   = errors.New("decompressed size is not possible")
)

// frame reads the next frame without going past it. A Pad is returned for the rest
// of the page.
func (s *Scanner) frame() (Header, error) {
	room := s.room()
	if ok, err := s.fill(1); err != nil || !ok {
		if err == nil {
			err = s.end(false)
		}
		return Header{}, err
	}
	if Type(s.buf[s.at]) == Pad || room < HeaderSize {
		whole, err := s.fill(room)
		switch {
		case err != nil:
			return Header{}, err
		case !zero(s.buf[s.at:min(s.at+room, s.have)]) && (s.Strict || room >= HeaderSize):
			return Header{}, s.damage(errPadding)
		case room == PageSize && !s.open:
			return Header{}, s.damage(errZeros) // A writer begins no page that it has nothing for.
		case !whole:
			return Header{}, s.end(false)
		}
		return Header{Type: Pad, Length: room}, nil
	}
	ok, err := s.fill(HeaderSize)
	if err != nil {
		return Header{}, err
	}
	if !ok {
		return Header{}, s.end(true)
	}
	h, err := Decode(s.buf[s.at:], room)
	if err != nil {
		return h, s.damage(err)
	}
	if ok, err = s.fill(h.Size()); err != nil {
		return h, err
	}
	if !ok {
		return h, s.end(true)
	}
	if sum := crc32.Checksum(s.payload(h), Castagnoli); sum != h.CRC {
		return h, s.damageOf(h.Size(), fmt.Errorf("%w: header says %08x, payload has %08x", errChecksum, h.CRC, sum))
	}
	return h, nil
}

// payload returns the payload of the next frame, which must have been read.
func (s *Scanner) payload(h Header) []byte { return s.buf[s.at+HeaderSize : s.at+h.Size()] }

// Next returns the next record. Its errors are io.EOF where the data ends
// between records, io.ErrUnexpectedEOF where it ends within one, a [*Damage],
// or what reading returned. After any of them the scanner must be Reset, or
// after Damage Resynced.
func (s *Scanner) Next() (Record, error) {
	for {
		h, err := s.frame()
		if err != nil {
			return Record{}, err
		}
		if h.Type == Pad {
			// Where no header fits, the page ended with its last frame.
			if s.open && h.Length >= HeaderSize {
				return Record{}, s.damage(errCut)
			}
			s.at += h.Length
			continue
		}
		if h.Type.Begins() && s.open {
			return Record{}, s.damageOf(0, errCut) // What is lost is before this frame.
		}
		if !h.Type.Begins() && !s.open {
			return Record{}, s.damageOf(h.Size(), errOrphan)
		}
		if h.Type.Begins() {
			s.start = s.Offset()
		}
		data := s.payload(h)
		if h.Type != Full {
			s.body = append(s.body, data...)
			data = s.body
		}
		if s.open = !h.Type.Ends(); s.open {
			s.at += h.Size()
			continue
		}
		data, err = Decompress(h.Compression, data, s.dec)
		if err != nil {
			return Record{}, s.damageOf(h.Size(), err)
		}
		s.body = s.body[:0]
		s.at += h.Size()
		return Record{
			Data:       data,
			Start:      s.start,
			End:        RoundUp(s.Offset()),
			CRC:        h.CRC,
			Compressed: h.Compression != compression.None,
		}, nil
	}
}

// Peek returns the header and all bytes of the next frame without going past
// it, valid until the next call. Padding comes as a header of type Pad and no
// bytes. Errors are those of Next.
func (s *Scanner) Peek() (Header, []byte, error) {
	h, err := s.frame()
	if err != nil || h.Type == Pad {
		return h, nil, err
	}
	return h, s.buf[s.at : s.at+h.Size()], nil
}

// Resync goes on after damage, at the next frame from offset retry on that is
// whole and begins a record, whatever page it is in. It returns where that is, or
// false if the data ends before one is found.
func (s *Scanner) Resync(retry int64) (int64, bool, error) {
	for {
		// What the buffer holds already is not read again.
		if skip := retry - s.base; skip >= 0 && skip <= int64(s.have) {
			s.at, s.open, s.body = int(skip), false, s.body[:0]
		} else {
			s.Reset(s.src, retry)
		}
		h, err := s.frame()
		damage := (*Damage)(nil)
		switch {
		case err == nil && h.Type == Pad:
			retry += int64(h.Length)
		case err == nil && h.Type.Begins() && h.Length > 0:
			return retry, true, nil
		case err == nil:
			// The rest of a record that was lost. A frame without payload has no
			// checksum to speak of, and proves nothing where it is found by chance.
			retry = RoundUp(retry + int64(h.Size()))
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return 0, false, nil
		case errors.As(err, &damage):
			retry = damage.Retry
		default:
			return 0, false, err
		}
	}
}
