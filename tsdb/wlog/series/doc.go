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

// Package series holds the one table of series of an agent: the labels of
// every ref that the write-ahead log may still mention. The storage appends
// through it, the checkpoint is written from it, and every remote endpoint
// resolves the refs it reads in it, so that a label set is in memory once,
// however many endpoints there are.
//
// # Labels
//
// Every name and value is kept once, as a string with a number (symbols.go). A
// series is a pointer to the names it shares with others and a list of numbers,
// 4 bytes for each value: in most agents a few thousand strings make up all label
// sets. Readers of many series compare numbers, see [Series.Encoded]; Labels puts
// a label set together anew at each call, for rare uses. Counting how often a
// string is used would cost more than adding a series does, so a sweep, now and
// then, walks over the table and gives back what nothing has (sweep.go).
//
// # Why a number is never read as another string
//
// A sweep frees a number when no series in the table has it, and no series that has
// left the table with it either, unless the garbage collector has found that series
// unreachable (see lease). So a number is good as long as its series is held, and
// there are four ways to use it:
//
//   - [Series.Value] is the only way from a number to its string outside of the table.
//     It keeps its series alive until it has the string. Everything that reads labels is
//     made of it.
//   - [Table.First] looks for the numbers of a series that may have left the table,
//     and keeps it alive meanwhile.
//   - Code that remembers a number, to compare it with those of other series, remembers
//     the [Numbering] too. Every step of a sweep changes it before numbers can be given
//     out again, hence before there can be a series with such a number in its new
//     meaning.
//   - Turning strings into numbers, to look them up or add them, is a matter of the
//     table, which holds symbols.inUse against sweeps.
//
// So runtime.KeepAlive is called twice in this package and nowhere else, and callers
// have nothing to heed. The tests of test/mutation run with a build in which each of
// these reads waits for the garbage collector and a sweep first, and fail without
// either; the encoder's use of Numbering has TestNumbersChangeWithinARequest.
//
// Pointers to strings, as of package unique, would need no proof. They take 8 bytes
// for each label in the place of 4: 201 bytes for a series of ten labels in the
// place of 161, and a million series give the garbage collector ten million more
// pointers to follow.
//
// # Life of a series
//
//	            GetOrCreate                 Retire                 Drop
//	(unknown) ───────────────▶ active ◀───────────────▶ retired ─────────▶ dead
//	                             │  GetOrCreate, Pin        ▲
//	   Insert (second ref of     │                          │
//	   the same label set) ──────┼─────▶ alias ─────────────┘ (never active)
//
// Active series are those that are appended to. A series without an append for
// some time is retired: it still resolves, because segments that are kept
// mention it, and it is found again, with its old ref, if it returns. It is
// dropped once every segment that can mention it is gone, or once it can be
// looked up elsewhere (package snapshot); a reader that is behind makes a
// detached series of what it finds there. A ref that the log
// gave to a label set which has another ref already is an alias: it resolves,
// but it is never handed out.
//
// # Invariants
//
//  1. A label set has at most one series that appends can find, hence one ref
//     per label set in everything that is written (I4: the order of a series'
//     samples does not depend on its refs).
//  2. A series with uncommitted samples, that is one that is pinned, is never
//     retired. A retired series is dropped only with all segments up to the one
//     that was active when it was retired; so every ref in a kept segment
//     resolves (I3).
//  3. Labels, ref and partition never change while a goroutine can see the series.
//     A reader may keep a *Series for as long as it likes; being dropped only
//     means that it does not resolve any longer. Its labels stay what they are, see
//     above.
//  4. Strings that no series has are freed once a sixteenth of the series, or
//     1,024 of them, are gone for good, whatever the churn was (I6).
//
// # Concurrency
//
// Resolve is lock-free and may be called from any goroutine, as may Find,
// GetOrCreate, Pin, All and OnRemove, which take at most the lock of one of the
// stripes of the index and never hold it across I/O. Insert and BulkLoaders are for
// the replay, before the table is shared, and may be used by several goroutines.
// Retire and Drop, with which sweeps come, belong to one goroutine; they may run
// beside all of the above. Code that turns strings into numbers holds symbols.inUse for
// reading until the series is in the table, a BulkLoader until Flush; a sweep holds
// it for writing by steps of a millisecond or so. Lock order: symbols.inUse, a stripe,
// refMap's locks, symbols.mtx. Where the log is another writer's, nothing
// is appended through the table: Define and DropUnmentioned keep it in step, on
// one goroutine, beside any number of readers.
// The package starts no goroutines.
package series
