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

// Package epoch tells the segments of a write-ahead log that were opened by
// this engine from those that another one wrote, so that a savepoint or a
// snapshot is not used over data it knows nothing of (nothing that the stock
// agent has sent meanwhile is sent again, and what it has not written into our
// files is read from its own).
//
// The first record of every segment that our engine opens is a marker. It is a
// tombstones record of a single stone, a type of record that every version of
// the agent ignores and that its reader, watcher and checkpoints can decode:
//
//	byte 0       3, the type
//	bytes 1-8    0, a series reference that is never given out
//	then         first and second half of the run's ULID, each read as a
//	             big-endian signed integer and written as a varint, where the
//	             interval's bounds are
//
// What the package guarantees:
//
//  1. A record is a marker only if it is one byte for byte (I7: nothing another
//     engine writes is mistaken for ours).
//  2. A segment whose first record is damaged belongs to no engine: it never
//     counts as foreign, because that would skip what it holds (I2, I9).
//
// A run that opens a segment writes its marker before anything else. The writer
// of the log must therefore never go over to a new segment by itself.
//
// The package has no state and starts no goroutine; its functions may be called
// from anywhere. Scan only reads.
package epoch
