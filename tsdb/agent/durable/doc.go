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

// Package durable is the storage of an agent that loses nothing: what it
// commits stays in the write-ahead log until every remote endpoint has
// acknowledged it, or until a limit that the user can see says otherwise. It
// writes the same log as the best-effort storage, see docs/format/wal.md, on
// the same wlog.WL, so that either of them opens what the other one left.
//
// # Opening
//
// Lock the directory; heal wal/; replay checkpoint and segments, decoded once,
// into the table of series; open the log, which starts a segment; write the
// marker that says whose segment it is; attach the delivery; start the
// maintenance. What was committed before is never touched on the way, apart
// from damage.
//
// # Invariants
//
//  1. A segment is removed only if the gate's floor is past it, or if a limit
//     forces it and the delivery was told before (I1). The delivery's positions
//     are made durable before the floor is read.
//  2. Before a segment is removed, a checkpoint holds every series that a kept
//     segment can mention (I3).
//  3. A commit is one write: the records of series that the log lacks, then the
//     samples. A series counts as logged only after its record was written, so
//     whatever fails, its next sample brings the record along.
//  4. Head is the end of the last commit that succeeded. After a failed write
//     the log is cut back to it before anything else is written (I8).
//  5. Every segment starts with the marker of the run that opened it. To that
//     end segments are cut here, before wlog.WL would do it by itself.
//  6. No append and no commit waits for a lock that is held across I/O other
//     than that of the commits before it (I5). While the log is broken,
//     commits fail at once.
//
// # Goroutines and locks
//
// One goroutine per DB, the maintenance: truncation, cuts by age, limits, and
// the recovery of a broken log. It ends in Close. Appenders run on their
// callers' goroutines.
//
//	DB.maintenance  held through a step of the maintenance; tests step by hand
//	journal.mtx     held through a commit's write and a cut
//	journal.headMtx held for a copy only
//	exemplars       a lock per shard, for a look only
//
// The order is maintenance, journal.mtx, the rest. The table of series has its
// own locks, below all of these.
//
// # Ownership
//
// An appender belongs to one caller from Appender to Commit or Rollback; it
// returns to a pool then, cleared, whatever the outcome. Labels and histograms
// that were appended belong to the storage and must not be modified.
package durable
