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
// Package snapshot keeps the definitions of series (ref and labels) that the
// retained log can mention, in a directory of its own beside the log. A
// checkpoint is made of hard links to its files, so that truncation costs what
// churned and not what exists; a start reads it instead of all segments; and
// the labels of a series that left memory are found in it.
//
// docs/format/series.md describes the files. In short: chunks with series
// records, in the format of segments and never changed once written; lists of
// retired refs; one file of timestamps and one of metadata; and a manifest that
// names them all. The manifest is replaced atomically, and what it does not name
// does not count.
//
// # Invariants
//
//  1. Every definition that was appended is found until it is dead, that is,
//     listed as retired with a segment below the floor (I3). Dead ones are left
//     out only when a chunk is written anew.
//  2. A crash at any instant leaves the snapshot before a write or the one after
//     it, whole. Files are synced before the manifest names them, and removed
//     after a manifest without them is on the disk (I8). If it is not known
//     which manifest is in force, the files of both stay.
//  3. No file is written twice and no number is used twice, so that what a
//     checkpoint holds by a link never changes.
//  4. Upstream's reader accepts every checkpoint made (I7). A chunk that is
//     known to be damaged is written anew first, without what is damaged.
//  5. Damage costs what was damaged: a block its series, a list its refs, which
//     count as active again, a file of timestamps its timestamps, a manifest the
//     snapshot. It is reported, in Problems and in LoadReport, and stops
//     nothing (I9). A manifest of a later release is left alone and refused.
//  6. Nothing is in memory per series but the blocks in the cache, which are
//     bounded: 16 bytes for a block of 128 series, and, during a load or a
//     merge, the lists of retired refs in their encoded form, about two bytes
//     per ref (I6).
//
// # Why metadata is kept
//
// Scraping tells it again after each start, but the backlog is sent before that,
// and a series whose target is gone is never scraped again. Remote write 2.0
// sends type, unit and help with each series. Upstream has them in its
// checkpoints from 3.16 on, and there are receivers for which it matters: the
// OpenTelemetry Collector makes a sum of a counter and a gauge of a series without a
// type, so that an outage with a restart in it would leave two metrics of one
// name. (Remote write 1.0 is not concerned: its metadata comes from the targets.)
// Besides, an agent that starts without metadata logs that of each series anew. With a
// million series of 25 families that is 8.3 MB of the log, and the file has 9 KB.
//
// # What an append costs
//
// New definitions make a chunk. Eight chunks of one size class, each of which
// spans a factor of 8, are merged into one, so a definition is written once as new
// and once per class that it rises through. A chunk of which more than half is dead is
// written anew, which costs at most one definition per dead one.
//
// With series of S bytes in all, and a churn of c per append that retires as
// much as it adds, chunks rise from c·S through 8·c·S and 64·c·S, as long as
// that is less than the 2·S or so that are there: with c = 1 % there are two
// such steps, the third would take 5.12·S. So an append writes on the average
// no more than
//
//	c·S (new) + 2·c·S (two classes) + c·S (chunks dead by half) = 4·c·S,
//
// 4 % of S, plus the lists of retired refs: about 3 bytes for each, merged into
// one when there are eight. TestBytesWrittenFollowChurn measures 3.8 % for
// everything. In an outage nothing dies, and a definition is written once for each
// class between the sizes of an append and of the snapshot, at most six times in
// TestBytesWrittenInAnOutage. Should sizes be so odd that 32 chunks come together
// all the same, the smallest class with two is merged.
//
// # Concurrency and ownership
//
// The package starts no goroutines but those of Load, which end with it. One
// mutex makes Append, Replace, Checkpoint and Close take turns, and is held
// across their I/O. Everything else works on a view: an immutable list of files
// with a reference count, exchanged in one assignment under a lock that is held
// for no I/O. So Resolve and Load never wait for a merge, and a file is closed,
// and then removed, when the last view that has it is released. The cache has a
// lock of its own, and so have the problems; no lock is taken under these two.
//
// Sequences in an [Update] are read during the call, once, and nothing of it is
// kept. What State, Problems and Files return belongs to the caller. Slices that
// Load hands out are used again after the callback returned; labels may be kept.
package snapshot
