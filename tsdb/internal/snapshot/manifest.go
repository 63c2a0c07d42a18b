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
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"strconv"
	"strings"

	"github.com/oklog/ulid/v2"

	"github.com/ackwal/ackwal/tsdb/internal/frame"

	"github.com/prometheus/prometheus/tsdb/chunks"
)

// Names of the files.
const (
	manifestName     = "manifest.json"
	tempSuffix       = ".tmp"
	asideName        = "manifest.corrupt.json"
	chunkPrefix      = "chunk-"
	retiredPrefix    = "retired-"
	timestampsPrefix = "timestamps-"
	metadataPrefix   = "metadata-"
	indexSuffix      = ".idx"
)

const (
	maxManifestSize = 64 << 20 // Far above what any snapshot has.
	maxSegment      = math.MaxInt32
)

// chunkMeta describes a chunk. Everything is known when it is written.
type chunkMeta struct {
	Seq    uint64               `json:"seq"`
	Series int                  `json:"series"`
	Blocks int                  `json:"blocks"`
	Bytes  int64                `json:"bytes"`
	First  chunks.HeadSeriesRef `json:"first,string"`
	Last   chunks.HeadSeriesRef `json:"last,string"`
	Index  uint32               `json:"index"` // CRC-32C of the index file.
	// Floor is such that a ref listed as retired with a lower segment is not
	// in the chunk.
	Floor int `json:"floor"`
}

// listMeta describes a file of retired refs, of timestamps or of metadata.
type listMeta struct {
	Seq     uint64 `json:"seq"`
	Entries int    `json:"entries"`
	Bytes   int64  `json:"bytes"`
}

// manifest is the content of the manifest file.
type manifest struct {
	State      State
	Next       uint64 // Above every number in use.
	Floor      int
	Chunks     []chunkMeta // Oldest first.
	Retired    []listMeta  // Oldest first.
	Timestamps *listMeta
	Metadata   *listMeta
}

// envelope is the outermost object, the same in every version.
type envelope struct {
	Version *int            `json:"version"`
	CRC32C  *string         `json:"crc32c"`
	Body    json.RawMessage `json:"body"`
}

// body is what version 1 holds. Pointers and nil slices tell a field that is
// missing from one that is zero.
type body struct {
	Run         *ulid.ULID  `json:"run"`
	Covered     *int        `json:"covered"`
	Fingerprint *uint32     `json:"fingerprint"`
	Checkpoint  *int        `json:"checkpoint"`
	HighRef     *uint64     `json:"high_ref,string"`
	Segments    [][]int64   `json:"segments"`
	Next        *uint64     `json:"next"`
	Floor       *int        `json:"floor"`
	Chunks      []chunkMeta `json:"chunks"`
	Retired     []listMeta  `json:"retired"`
	Timestamps  *listMeta   `json:"timestamps,omitempty"`
	Metadata    *listMeta   `json:"metadata,omitempty"`
}

// checksum covers the version as well, so that a flipped bit in it is damage
// and not a later release.
func checksum(version int, body []byte) string {
	sum := crc32.Checksum([]byte(strconv.Itoa(version)+"\n"), frame.Castagnoli)
	return fmt.Sprintf("%08x", crc32.Update(sum, frame.Castagnoli, body))
}

// encodeManifest returns the bytes of the file. Equal content gives equal
// bytes.
func encodeManifest(m manifest) ([]byte, error) {
	if err := m.validate(); err != nil {
		return nil, fmt.Errorf("invalid content: %w", err)
	}
	high := uint64(m.State.HighRef)
	b := body{
		Run:         &m.State.Run,
		Covered:     &m.State.Covered,
		Fingerprint: &m.State.Fingerprint,
		Checkpoint:  &m.State.Checkpoint,
		HighRef:     &high,
		Segments:    [][]int64{},
		Next:        &m.Next,
		Floor:       &m.Floor,
		Chunks:      append([]chunkMeta{}, m.Chunks...),
		Retired:     append([]listMeta{}, m.Retired...),
		Timestamps:  m.Timestamps,
		Metadata:    m.Metadata,
	}
	for _, s := range m.State.Segments {
		b.Segments = append(b.Segments, []int64{int64(s.Index), s.Size, s.ModTime})
	}
	content, err := json.Marshal(&b)
	if err != nil {
		return nil, err
	}
	// Put together by hand: the checksum is of the body's very bytes.
	var data strings.Builder
	fmt.Fprintf(&data, `{"version":%d,"crc32c":%q,"body":`, Version, checksum(Version, content))
	data.Write(content)
	data.WriteString("}\n")
	return []byte(data.String()), nil
}

// decodeManifest is the reverse. It returns a *[VersionError], with no path,
// for a whole file of a later version, and another error for everything that is
// not a whole file.
func decodeManifest(data []byte) (manifest, error) {
	var (
		env envelope
		b   body
	)
	if err := json.Unmarshal(data, &env); err != nil {
		return manifest{}, fmt.Errorf("not a manifest: %w", err)
	}
	switch {
	case env.Version == nil || env.CRC32C == nil || env.Body == nil:
		return manifest{}, errors.New("not a manifest: version, crc32c or body is missing")
	case checksum(*env.Version, env.Body) != *env.CRC32C:
		return manifest{}, fmt.Errorf("checksum is %s, the file states %q", checksum(*env.Version, env.Body), *env.CRC32C)
	case *env.Version > Version:
		return manifest{}, &VersionError{Version: *env.Version, Supported: Version}
	case *env.Version < Version:
		return manifest{}, fmt.Errorf("format version %d does not exist", *env.Version)
	}
	if err := json.Unmarshal(env.Body, &b); err != nil {
		return manifest{}, fmt.Errorf("body: %w", err)
	}
	if b.Run == nil || b.Covered == nil || b.Fingerprint == nil || b.Checkpoint == nil || b.HighRef == nil ||
		b.Segments == nil || b.Next == nil || b.Floor == nil || b.Chunks == nil || b.Retired == nil {
		return manifest{}, errors.New("body: a required field is missing")
	}
	m := manifest{
		State: State{
			Run:         *b.Run,
			Covered:     *b.Covered,
			Fingerprint: *b.Fingerprint,
			Checkpoint:  *b.Checkpoint,
			HighRef:     chunks.HeadSeriesRef(*b.HighRef),
		},
		Next:       *b.Next,
		Floor:      *b.Floor,
		Chunks:     b.Chunks,
		Retired:    b.Retired,
		Timestamps: b.Timestamps,
		Metadata:   b.Metadata,
	}
	for i, s := range b.Segments {
		if len(s) != 3 || s[0] < 0 || s[0] > maxSegment {
			return manifest{}, fmt.Errorf("body: segment %d is not [index, size, time]", i)
		}
		m.State.Segments = append(m.State.Segments, SegmentInfo{Index: int(s[0]), Size: s[1], ModTime: s[2]})
	}
	if err := m.validate(); err != nil {
		return manifest{}, fmt.Errorf("body: %w", err)
	}
	return m, nil
}

// validate reports the first thing that makes m unfit to be stored.
func (m *manifest) validate() error {
	st := &m.State
	for name, n := range map[string]int{"covered": st.Covered, "checkpoint": st.Checkpoint, "floor": m.Floor} {
		if n < -1 || n > maxSegment {
			return fmt.Errorf("%s %d is out of range", name, n)
		}
	}
	for i, s := range st.Segments {
		if s.Index < 0 || s.Index > maxSegment || s.Size < 0 {
			return fmt.Errorf("segment %d with %d bytes is out of range", s.Index, s.Size)
		}
		if i > 0 && s.Index <= st.Segments[i-1].Index {
			return fmt.Errorf("segment %d is not after %d", s.Index, st.Segments[i-1].Index)
		}
	}
	used := map[uint64]struct{}{}
	number := func(seq uint64) error {
		if _, ok := used[seq]; ok || seq >= m.Next {
			return fmt.Errorf("number %d is in use or not below %d", seq, m.Next)
		}
		used[seq] = struct{}{}
		return nil
	}
	for _, c := range m.Chunks {
		if err := number(c.Seq); err != nil {
			return err
		}
		if c.Series < 1 || c.Blocks < 1 || c.Blocks > c.Series || c.Bytes < 1 || c.First > c.Last || c.Floor < -1 || c.Floor > maxSegment {
			return fmt.Errorf("chunk %d has a value out of range", c.Seq)
		}
	}
	lists := append([]listMeta{}, m.Retired...)
	for _, l := range []*listMeta{m.Timestamps, m.Metadata} {
		if l != nil {
			lists = append(lists, *l)
		}
	}
	for _, l := range lists {
		if err := number(l.Seq); err != nil {
			return err
		}
		if l.Entries < 1 || l.Bytes < 1 {
			return fmt.Errorf("list %d has a value out of range", l.Seq)
		}
	}
	return nil
}

// fileName returns the name of the numbered file.
func fileName(prefix string, seq uint64) string { return fmt.Sprintf("%s%08d", prefix, seq) }

// parseName returns the number in the name of one of our files, an index or a
// temporary file included.
func parseName(name string) (uint64, bool) {
	if name == manifestName+tempSuffix {
		return 0, true
	}
	for _, prefix := range []string{chunkPrefix, retiredPrefix, timestampsPrefix, metadataPrefix} {
		if digits, ok := strings.CutPrefix(name, prefix); ok {
			seq, err := strconv.ParseUint(strings.TrimSuffix(digits, indexSuffix), 10, 64)
			return seq, err == nil
		}
	}
	return 0, false
}
