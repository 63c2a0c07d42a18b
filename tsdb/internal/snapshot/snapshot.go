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
	"fmt"
	"iter"
	"log/slog"

	"github.com/oklog/ulid/v2"

	"github.com/ackwal/ackwal/tsdb/wlog/vfs"

	"github.com/prometheus/prometheus/model/metadata"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/tsdb/record"
	"github.com/prometheus/prometheus/util/compression"
)

const (
	// Version is the version of the manifest this package writes, and the
	// highest it reads.
	Version = 1

	// MaxChunks is the number of chunk files a snapshot has at most after an
	// Append whose merges succeeded.
	MaxChunks = 32

	// MaxBlockSeries and MaxBlockBytes limit a block, the unit of reading and of
	// damage. A block holds one definition at least, however large.
	MaxBlockSeries = 128
	MaxBlockBytes  = 32 * 1024

	// paceBytes is how much is written at a time, at most.
	paceBytes = 256 * 1024

	defaultCacheBlocks = 256
)

// Options of a [Store]. The zero value is usable.
type Options struct {
	// FS is the file system, [vfs.OS] if nil.
	FS vfs.FS
	// Logger is told of every problem once. Nil discards.
	Logger *slog.Logger
	// Compression of what is written, snappy if empty. What is read says
	// itself how it was compressed.
	Compression compression.Type
	// Pace is called before each n bytes are written, n being 256 KiB at most.
	// An error from it ends the write. Nil means no pacing.
	Pace func(ctx context.Context, n int) error
	// CacheBlocks is the number of decoded blocks kept for Resolve, 256 if it
	// is 0, none if it is negative. A block has about 34 KiB for series of 265
	// bytes.
	CacheBlocks int
}

// SegmentInfo describes a sealed segment that was read to its end.
type SegmentInfo struct {
	Index   int
	Size    int64 // Bytes.
	ModTime int64 // Unix time in nanoseconds.
}

// State is what a snapshot says about the log it belongs to. The package
// stores it and does not interpret it.
type State struct {
	// Run is the ULID of the engine's run that wrote the snapshot.
	Run ulid.ULID
	// Covered is the highest segment of which, and of all before it, every
	// series record is in the chunks; -1 for none.
	Covered int
	// Fingerprint is that of segment Covered, made when it was sealed.
	Fingerprint uint32
	// Checkpoint is the number of the last checkpoint made of the snapshot, -1
	// for none.
	Checkpoint int
	// HighRef is the highest ref ever handed out as far as is known.
	HighRef chunks.HeadSeriesRef
	// Segments are the sealed segments known to be whole, ascending.
	Segments []SegmentInfo
}

// Alive, as the Segment of a [Retired], takes a ref off the list.
const alive = -1

// Retired is a series that is not appended to any more.
type Retired struct {
	Ref chunks.HeadSeriesRef
	// Segment is the last one that can mention the ref.
	Segment int
}

// Update is the difference from one snapshot to the next.
type Update struct {
	State State
	// Series yields, by ascending ref, the definitions that no chunk has yet.
	// Nil or empty makes no new chunk. The sequence is read once.
	Series iter.Seq[record.RefSeries]
	// Retired lists series that became retired, or were retired again, and have
	// a definition in the chunks or in Series. Any order; it is neither kept nor
	// changed. A segment below the snapshot's floor counts as the floor.
	Retired []Retired
	// Revived lists refs that were listed as retired and are active again. A
	// ref that is in Retired too is retired.
	Revived []chunks.HeadSeriesRef
	// Timestamps yields, by ascending ref, the time of the last sample of each
	// series in ms. Nil keeps those that the snapshot has. It is read once.
	Timestamps iter.Seq2[chunks.HeadSeriesRef, int64]
	// Metadata yields, by ascending ref, the metadata of the series that have
	// any. Nil keeps what the snapshot has. It is read once.
	Metadata iter.Seq2[chunks.HeadSeriesRef, metadata.Metadata]
	// Floor is the first segment that is retained. A definition that was
	// retired with a lower segment is left out when its chunk is merged. A
	// floor below an earlier one counts as the earlier one, except in Replace.
	Floor int
}

// LoadReport says what Load found.
type LoadReport struct {
	// Series is the number of definitions handed out, Retired that of those
	// passed over because they are listed as retired.
	Series, Retired int
	// DamagedBlocks is the number of blocks that could not be read, those of
	// chunks that are missing or cannot be opened included.
	DamagedBlocks int
	// LostSeries is the number of definitions in these blocks.
	LostSeries int
	// DamagedChunks are the paths of the files they belong to, sorted.
	DamagedChunks []string
}

// FileInfo is a file of the snapshot, for accounting of the disk.
type FileInfo struct {
	Path string
	Size int64 // Bytes, as in the manifest.
	// Chunk is set for chunk files, of which checkpoints hold hard links.
	Chunk bool
}

// ProblemKind says what sort of trouble a [Problem] is.
type ProblemKind uint8

const (
	// ManifestDamaged is a manifest that cannot be read or is not whole. The
	// snapshot counts as absent.
	ManifestDamaged ProblemKind = iota
	// ChunkMissing is a chunk file that is absent or cannot be opened.
	ChunkMissing
	// ChunkDamaged is a chunk of which some block cannot be read.
	ChunkDamaged
	// IndexRebuilt is an index that was absent or damaged. Nothing is lost.
	IndexRebuilt
	// RetiredDamaged is a list of retired series that cannot be read as a
	// whole. Those that are missing count as active again.
	RetiredDamaged
	// TimestampsDamaged is a file of timestamps that cannot be read as a
	// whole. Those that are missing are unknown.
	TimestampsDamaged
	// MetadataDamaged is a file of metadata that cannot be read as a whole. That
	// which is missing is unknown.
	MetadataDamaged
	// MergeFailed is a merge of chunks or lists that ended with an error. The
	// snapshot is whole; a later Append tries again.
	MergeFailed
	// RemoveFailed is a file that is not needed and could not be removed.
	RemoveFailed
)

// String returns the kind as a word, fit for a label value.
func (k ProblemKind) String() string {
	switch k {
	case ManifestDamaged:
		return "manifest_damaged"
	case ChunkMissing:
		return "chunk_missing"
	case ChunkDamaged:
		return "chunk_damaged"
	case IndexRebuilt:
		return "index_rebuilt"
	case RetiredDamaged:
		return "retired_damaged"
	case TimestampsDamaged:
		return "timestamps_damaged"
	case MetadataDamaged:
		return "metadata_damaged"
	case MergeFailed:
		return "merge_failed"
	case RemoveFailed:
		return "remove_failed"
	default:
		return "unknown"
	}
}

// Problem is trouble with one file that stopped nothing.
type Problem struct {
	Kind  ProblemKind
	Path  string
	Err   error // The first one.
	Count int   // How often it was met.
}

// Error describes the problem in a line.
func (p Problem) Error() string {
	return fmt.Sprintf("%s: %s (%d times): %s", p.Path, p.Kind, p.Count, p.Err)
}

// Unwrap returns the cause.
func (p Problem) Unwrap() error { return p.Err }

// VersionError is a whole manifest of a later release. It was set aside.
type VersionError struct {
	Path string
	// Version is what the file states, Supported the highest that is read.
	Version, Supported int
}

// Error says what happened.
func (e *VersionError) Error() string {
	return fmt.Sprintf("series snapshot %s has format version %d, this release reads up to %d: it is set aside and made again from checkpoint and log", e.Path, e.Version, e.Supported)
}
