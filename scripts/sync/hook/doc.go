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

// Package hook edits stock files by anchor.
//
// What this project adds to upstream's own files is kept as a list of small
// edits instead of diffs with line numbers: each names a file, where it
// applies the declaration around it, one exact line (the anchor), how often
// that line is there, and the lines to put before, after or in its place.
// An anchor found any other number of times is an error, so an upstream change
// at such a place is noticed and never guessed around.
//
// Edits are pure: a Hook maps the bytes of a file to new bytes. Entries are
// applied in the order of their file names, each seeing what the earlier ones
// left, and the result of every Go file is gofmt'ed.
package hook
