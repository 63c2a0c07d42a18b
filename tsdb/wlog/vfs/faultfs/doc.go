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

// Package faultfs is a file system for tests of durability. It works on real
// files below a root directory, so that upstream's log and readers work on the
// same files beside it, and adds two things:
//
//   - Faults. Operations are counted, and the one with a chosen number fails,
//     or it and all after it, as a disk would that is full, broken or read-only.
//     A test that goes through 0, 1, 2, … until a run reaches its end has shown
//     every operation failing.
//   - Crashes. It keeps account of what has been synced. Clone writes down what
//     a loss of power could leave: all that was synced, and of the rest a random
//     part that its seed decides. Copy writes down what the death of the process
//     leaves, which is everything.
//
// # What survives a loss of power
//
// Of a file: the bytes it had at its last Sync. Of bytes appended since, a part
// from their beginning, of which an end may have become zeros; of bytes written
// over, any subset of the sectors; a file that was shortened has the old length
// or the new one.
//
// Of a directory: the names it had at the last SyncDir. Of the changes since,
// as many as there were up to some moment: if a change survived, all those
// before it in the same directory did. A file survives only if its name did,
// and a directory only if its name did in the one above.
//
// That is what POSIX promises and less than what common file systems do; they
// also make the name of a new file durable when the file is synced.
//
// # Files that are written beside it
//
// What others do to files below the root is found out by looking at the
// directories, before each operation that changes something and at each Clone.
// It counts as not synced until Synced or SyncedDir say that it was. Outside
// wraps an operation of others, so that it is counted and fails like the rest.
// Bytes of files that have been removed are kept by hard links in a shadow
// directory beside the root.
//
// Invariants I1, I7 and I8 are tested with it; it defends none itself. It is
// for tests only and nothing in it is for production.
//
// There are no goroutines. One mutex guards everything and is held through each
// operation that changes something. Before's function is called without it.
package faultfs
