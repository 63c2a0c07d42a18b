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

// Package follow keeps a series table in step with a write-ahead log in stock's
// format that has another writer, such as stock's agent or a program that embeds
// its packages. It reads the log and never writes to it.
//
// A [Follower] reads the newest checkpoint and all segments once when it is
// opened, segments in parallel, and everything that is committed from then on.
// No reader goes past what it has read (see [Follower.Head]), so that it has
// seen every record before a reader comes to it:
//
//   - a series record defines its refs from its end on. What a ref meant
//     before is kept for readers that are further back, see [Follower.Resolve].
//     Refs are given again if a log is opened a second time;
//   - any other record shows that its refs are in use;
//   - a newer checkpoint says which refs are, of those that come from the
//     segments up to its number. When these segments are gone, the refs leave
//     the table that are neither in the checkpoint nor mentioned after it.
//
// What the package guarantees (numbers in brackets are those of the design):
//
//  1. At any position, a ref resolves to its last definition before it. If there
//     is none, because a series record followed late or was damaged, it resolves to
//     the first one after it, but only where the writer has not opened the log in
//     between: a ref that is given again has other labels (I3). Each opening begins a
//     segment, so that is certain within one, and from the segment on that
//     [Follower.Reopened] saw. Positions decide, not the order in which readers come.
//  2. A series record may follow the first samples of its series, since another
//     appender can commit first. The head waits for it, a few seconds at most
//     and once for each ref that has none (I2).
//  3. What is in memory follows from the series that the retained part of the
//     log mentions, not from how long it has been followed (I6).
//  4. A damaged record costs the definitions in it. By a damaged checkpoint no
//     series is dropped (I9).
//
// One goroutine, that of [Follower.Run], owns the reading and changes the
// table. Everything else may be called from anywhere. The mutexes are held for
// a look at a map or a number, never across I/O.
package follow
