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

// Package port moves a series to another version of upstream and tells, entry
// by entry, what became of it.
//
// An entry is obsolete if upstream has it by now. That is found in three ways,
// because merged changes rarely look as they were sent: a three-way merge of
// the entry into the new file adds nothing (this is what "git am -3" does when
// it says that a patch is applied already, exits 0 and makes no commit), the
// lines that a hook adds are in the new file more often than in the old one,
// or upstream's file has moved, counted in words, from what it was to what the
// entry makes of it. Where it has moved about half the way the entry is in
// conflict, since only a reader can tell.
//
// An entry in conflict says which file, which line, and what is nearest to it
// now, and entries that need its lines wait for it. The tree that results has every
// entry that fits; where one does not, it has the merge with its conflict marks, and
// ours beside upstream's where both have a file, so that the place can be seen.
// Entries after it are tried on what fits of such a file, without the marks. What is
// resolved is the entry; then it need not fit the old base any more, and the rest still
// has its merges.
package port
