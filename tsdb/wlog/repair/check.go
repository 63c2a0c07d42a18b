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

package repair

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/golang/snappy"
	"github.com/prometheus/common/promslog"

	"github.com/ackwal/ackwal/tsdb/internal/frame"
	"github.com/ackwal/ackwal/tsdb/wlog/records"
	"github.com/ackwal/ackwal/tsdb/wlog/vfs"

	"github.com/prometheus/prometheus/tsdb/record"
)

var (
	errFlag    = errors.New("record is compressed although its header says that it is not")
	errContent = errors.New("record cannot be decoded")
)

// checker tells whether a record is one that upstream's replay can decode. A
// record that came out of decompression is: its parts are what was compressed.
// A bare one may have lost its flag, or be one fragment of a longer record.
type checker struct{ dec *records.Decoder }

func newChecker() *checker {
	return &checker{dec: records.NewDecoder(promslog.NewNopLogger())}
}

func (c *checker) plausible(rec frame.Record) error {
	if rec.Compressed || len(rec.Data) == 0 {
		return nil
	}
	if err := c.dec.Decode(rec.Data); err != nil {
		return fmt.Errorf("%w: %w", errContent, err)
	}
	if c.dec.Type == record.Unknown && packed(rec.Data) {
		return errFlag
	}
	return nil
}

// zstdMagic is what a zstd frame starts with.
const zstdMagic = "\x28\xb5\x2f\xfd"

// packed reports whether b is the compressed form of something longer, which is
// the only reason for writers to compress.
func packed(b []byte) bool {
	if len(b) >= len(zstdMagic) && string(b[:len(zstdMagic)]) == zstdMagic {
		return true
	}
	if n, err := snappy.DecodedLen(b); err != nil || n <= len(b) || n/frame.MaxSnappyRatio > len(b) {
		return false
	}
	_, err := snappy.Decode(nil, b)
	return err == nil
}

// isPrefix reports whether the records of the file at part, up to the first
// damage, are the first ones of the file at whole.
func isPrefix(fsys vfs.FS, part, whole string) (bool, error) {
	var scans [2]*frame.Scanner
	for i, path := range []string{part, whole} {
		f, err := fsys.OpenFile(path, os.O_RDONLY, 0)
		if err != nil {
			return false, err
		}
		defer f.Close()
		scans[i] = frame.NewScanner(readPages)
		scans[i].Reset(f, 0)
	}
	for {
		a, err := scans[0].Next()
		if err != nil {
			return true, unlessEnd(err)
		}
		b, err := scans[1].Next()
		if err != nil {
			return false, unlessEnd(err)
		}
		if !bytes.Equal(a.Data, b.Data) {
			return false, nil
		}
	}
}

// unlessEnd returns the error if it is none that says that no good record
// follows.
func unlessEnd(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.As(err, new(*frame.Damage)) {
		return nil
	}
	return err
}
