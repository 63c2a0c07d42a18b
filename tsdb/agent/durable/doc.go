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
// Lock the directory; repair what may be damaged in wal/; read the snapshot of the
// series and replay the segments after it, or, if no snapshot fits the log,
// checkpoint and all segments, into the table of series; open the log, which
// starts a segment; write the marker that says whose segment it is; attach the
// delivery; start the maintenance. What was committed before is never touched
// on the way, apart from damage.
//
// # The snapshot
//
// It is kept in series/ beside wal/ (package snapshot) and has, of every series
// whose record is in a finished segment, the ref and the labels. It is brought
// up to date when a segment was finished, too slowly to be noticed. With it
// a start does not read finished segments: those that are as they were, by size
// and time, are only checked afterwards, one every few seconds. Checkpoints are
// links to its files. Series that went out of use leave memory once the snapshot
// has them and a truncation has passed; the delivery resolves them from there.
// A series that comes back while it is in memory keeps its ref, and its record
// is logged again, since the snapshot may forget what was retired before the
// oldest segment.
//
// # Invariants
//
//  1. A segment is removed only if the gate's floor is past it, or if a limit
//     forces it and the delivery was told before (I1). The delivery's positions
//     are made durable before the floor is read.
//  2. Before a segment is removed, a checkpoint holds every series that a kept
//     segment can mention (I3). Snapshot and log are each enough: what is wrong
//     with the snapshot is made good from checkpoint and segments (I9).
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
// Three goroutines per DB: the maintenance (cuts by age, the recovery of a broken
// log), the limits, and the snapshot loop (snapshots, truncation, checks of old
// segments), which may take its time; with a sync interval one more syncs the log.
// They end in Close. Appenders run on their callers' goroutines.
//
//	DB.recovery     held through a recovery of the log, or while a segment is put back
//	DB.maintenance  held through a removal, and what decides on it
//	snapshotter.mtx held through an update of the snapshot
//	journal.mtx     held through a commit's write and a cut
//	journal.headMtx held for a copy only
//	syncer.mtx      held through a sync of the log; only syncs wait for it
//	exemplars       a lock per shard, for a look only
//
// The order is recovery or maintenance, snapshotter.mtx, journal.mtx, the rest. The table of series has its
// own locks, below all of these.
//
// # Ownership
//
// An appender belongs to one caller from Appender to Commit or Rollback; it
// returns to a pool then, cleared, whatever the outcome. Labels and histograms
// that were appended belong to the storage and must not be modified.
package durable
