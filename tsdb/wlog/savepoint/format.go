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

package savepoint

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"strconv"

	"github.com/ackwal/ackwal/tsdb/wlog/cursor"
)

// Names of the files, in the data directory beside wal/.
const (
	CurrentName  = "delivery.json"
	PreviousName = "delivery.prev.json"
)

// maxFileSize bounds what Load reads. A thousand endpoints of which no two
// marks are equal stay far below it.
const maxFileSize = 64 << 20

// envelope is the outermost object, the same in every version.
type envelope struct {
	Version *int            `json:"version"`
	CRC32C  *string         `json:"crc32c"`
	Body    json.RawMessage `json:"body"`
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// checksum covers the version as well, so that a flipped bit in it is damage and
// not a later release.
func checksum(version int, body []byte) string {
	sum := crc32.Checksum(fmt.Appendf(nil, "%d\n", version), castagnoli)
	return fmt.Sprintf("%08x", crc32.Update(sum, castagnoli, body))
}

// Encode returns the bytes of the file that holds f. Equal files have equal
// bytes.
func Encode(f File) ([]byte, error) {
	if err := f.Validate(); err != nil {
		return nil, fmt.Errorf("invalid content: %w", err)
	}
	f.Written = f.Written.UTC()
	points := pointsOf(&f)
	f.tables = tables{Fingerprints: map[string]uint32{}, Points: make([]tuple, len(points))}
	for i, p := range points {
		f.Points[i] = tupleOf(p)
	}
	for _, s := range f.Referenced() {
		if fp, known := f.Segments[s]; known {
			f.Fingerprints[strconv.Itoa(s)] = fp
		}
	}
	// The caller's stay as they are, and none are not null.
	f.Endpoints = append([]Endpoint{}, f.Endpoints...)
	for i := range f.Endpoints {
		e := &f.Endpoints[i]
		e.Removed = inUTC(e.Removed)
		e.runs = encodeRange(e.Acked, e.Isolated, points)
		if e.Fresh != nil {
			r := *e.Fresh
			r.runs = encodeRange(r.Acked, r.Isolated, points)
			e.Fresh = &r
		}
	}
	content, err := json.Marshal(&f)
	if err != nil {
		return nil, err
	}
	return fmt.Appendf(make([]byte, 0, len(content)+64), `{"version":%d,"crc32c":%q,"body":%s}`+"\n", Version, checksum(Version, content), content), nil
}

// Decode is the reverse of Encode. It returns a *[VersionError], with no path,
// for a whole file of a later version, and another error for everything that
// is not a whole file.
func Decode(data []byte) (File, error) {
	if len(data) > maxFileSize {
		return File{}, fmt.Errorf("larger than %d bytes", maxFileSize)
	}
	var env envelope
	if err := json.Unmarshal(data, &env); err != nil {
		return File{}, fmt.Errorf("not a savepoint: %w", err)
	}
	if env.Version == nil || env.CRC32C == nil || env.Body == nil {
		return File{}, errors.New("not a savepoint: version, crc32c or body is missing")
	}
	if sum := checksum(*env.Version, env.Body); sum != *env.CRC32C {
		return File{}, fmt.Errorf("checksum is %s, the file states %q", sum, *env.CRC32C)
	}
	if *env.Version > Version {
		return File{}, &VersionError{Version: *env.Version, Supported: Version}
	}
	if *env.Version < Version {
		return File{}, fmt.Errorf("format version %d does not exist", *env.Version)
	}
	f, err := decodeBody(env.Body)
	if err == nil {
		err = f.Validate()
	}
	if err != nil {
		return File{}, fmt.Errorf("body: %w", err)
	}
	return f, nil
}

// required are the members that every body has.
var required = []string{"run", "segment", "checkpoint", "clean", "written", "partitions", "fingerprints", "points", "endpoints"}

func decodeBody(content []byte) (f File, err error) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(content, &members); err != nil {
		return File{}, err
	}
	for _, name := range required {
		if m := members[name]; m == nil || string(m) == "null" {
			return File{}, fmt.Errorf("a required field is missing: %s", name)
		}
	}
	if err := json.Unmarshal(content, &f); err != nil {
		return File{}, err
	}
	// Runs of marks are expanded below, so this one comes before Validate.
	if f.Partitions < 1 || f.Partitions > maxPartitions {
		return File{}, fmt.Errorf("%d partitions are out of range", f.Partitions)
	}
	f.Version, f.Written, f.Segments = Version, f.Written.UTC(), make(map[int]uint32, len(f.Fingerprints))
	for text, fingerprint := range f.Fingerprints {
		segment, err := strconv.Atoi(text)
		if err != nil || segment < 0 || segment > maxSegment || strconv.Itoa(segment) != text {
			return File{}, fmt.Errorf("fingerprint of segment %q: not a segment", text)
		}
		f.Segments[segment] = fingerprint
	}
	points := make([]cursor.Point, len(f.Points))
	for i, t := range f.Points {
		points[i] = t.point()
		if err := validatePosition(points[i].Position); err != nil {
			return File{}, fmt.Errorf("point %d: %w", i, err)
		}
	}
	for i := range f.Endpoints {
		e := &f.Endpoints[i]
		if e.Acked, e.Isolated, err = decodeRange(e.runs, points, f.Partitions); err != nil {
			return File{}, fmt.Errorf("endpoint %d: acked: %w", i, err)
		}
		e.runs = runs{}
		if r := e.Fresh; r != nil {
			if r.Acked, r.Isolated, err = decodeRange(r.runs, points, f.Partitions); err != nil {
				return File{}, fmt.Errorf("endpoint %d: fresh range: acked: %w", i, err)
			}
			r.runs = runs{}
		}
	}
	f.tables = tables{}
	return f, nil
}

// VersionError is a savepoint in the format of a later release. It is an error
// to start on: what that release saved is intact and must neither be
// overwritten nor sent from somewhere else.
type VersionError struct {
	Path string
	// Version is what the file states, Supported the highest that is read.
	Version, Supported int
}

// Error says what happened and what to do about it.
func (e *VersionError) Error() string {
	return fmt.Sprintf("savepoint %s has format version %d, this release reads up to %d: start the release that wrote it or a later one; "+
		"to go on without the saved positions, move %s and %s out of the directory", e.Path, e.Version, e.Supported, CurrentName, PreviousName)
}
