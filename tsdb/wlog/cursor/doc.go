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

// Package cursor reads a write-ahead log from any position on and says, for
// every record, where it ends, so that a reader that was stopped can go on
// exactly there.
//
// A [Tail] follows a log while it is written: it hands out records with their
// positions, goes over to the next segment when one is finished (a seal), and
// steps over damage (a gap). [Resolve] turns a position that was saved in an
// earlier run into one that is safe to go on from.
//
// What the package guarantees (numbers in brackets are those of the design):
//
//  1. Reading from the end of any item yields exactly the items after it, with
//     the exception of what was damaged or removed meanwhile.
//  2. The end of a segment's data counts as the end of the segment only in a
//     read begun after the next segment was seen to exist; until then it is
//     [ErrCaughtUp]. A record is never skipped because it was seen half-written
//     (I2).
//  3. A saved position is never trusted by its number alone. What cannot be
//     shown to be the same place resolves to an earlier one: towards sending
//     again, never towards skipping (I2, I8).
//  4. Damage costs the records from the end of the last good one up to the next
//     whole one, in whatever page it begins. It is reported, also where a repair
//     has put filler in its place, and neither ends the reading nor repeats (I9).
//
// A Tail starts no goroutine, takes no lock and belongs to the goroutine that
// uses it. It reads only: it may run beside the writer of the log, and any
// number may run on one log. The data of an item belongs to the Tail and is
// valid until the next call of Next. Everything else is passed by value.
//
// Loops over a log end up as
//
//	for {
//		item, err := tail.Next()
//		if errors.Is(err, cursor.ErrCaughtUp) {
//			// Wait for a notification, then try again.
//			continue
//		}
//		if err != nil {
//			return err
//		}
//		switch item.Kind {
//		case cursor.Record: // Use item.Data; item.End is where the next one is.
//		case cursor.Seal:   // All of item.Start.Segment has been read.
//		case cursor.Gap:    // Count item.Err.
//		}
//	}
//
// The format that is read is that of upstream's tsdb/wlog package; see
// tsdb/docs/format/wal.md there.
package cursor
