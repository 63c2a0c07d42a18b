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

// Package repair makes the directory of a write-ahead log whole before it is
// opened, so that upstream's reader accepts all of it and nothing is lost but
// what was damaged.
//
// Upstream's own repair deletes every segment after a damaged one, and for a
// damaged checkpoint even segments with the numbers of the checkpoint's files.
// This package replaces it. What it guarantees (numbers in brackets are those
// of the design):
//
//  1. After Directory returns nil, upstream's reader reads the checkpoints and
//     all segments without an error, and the agent of any version opens the
//     directory (I7).
//  2. Only the segment that is damaged is changed. In it the bytes from the end
//     of the last good record to the next whole one, in whatever page that
//     begins, become filler: records that every reader passes over. Damage costs
//     the records that touch the page it hit, and two at the most of those if it
//     left the headers. Records that survive keep their offsets, because saved
//     positions point at them (I2, I8, I9). What a crash left at the end of the
//     newest segment is cut off.
//  3. A segment is never removed: its number may not be missing. Numbers that
//     are missing are filled with segments that say so.
//  4. Every change is reported, with the records and bytes it cost as far as
//     that can be told, and logged (I9).
//  5. A crash at any point leaves a directory that the next call repairs to
//     the same records. Segments are changed in place, which needs no free space:
//     only bytes that are lost already are written over, so being interrupted
//     does no further harm. Files of checkpoints, which may be hard links, are
//     copied before they are changed.
//
// A second call finds nothing to do.
//
// The header of a record's fragment is not covered by a checksum. A wrong
// compression flag or fragment type is found because decompression fails or the
// sequence of fragments is impossible; records that are not compressed are
// decoded to find the few cases that are left.
//
// Directory reads whole segments, several at once, in goroutines that end with
// it. The caller holds the lock of the data directory, and nothing else has a
// segment open for writing. Tail is for the goroutine that owns the log's
// writer, after it has closed it.
package repair
