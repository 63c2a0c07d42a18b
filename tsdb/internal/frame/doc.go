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

// Package frame walks the physical layout of a write-ahead log segment: pages
// of 32 KiB that hold frames, and records made of one or more frames. It is
// shared by the packages that read positions of a log and by those that repair
// one, so that both see the same records and the same damage.
//
// A frame has a header of seven bytes (a byte of type and compression flags,
// two bytes of length and four of CRC-32C over the payload, big endian) and a
// payload. It never crosses the end of a page. A record is one Full frame, or
// a First, any number of Middle and a Last one, each of which but the last
// reaches the end of its page. A zero byte in place of a header says that the
// rest of the page is zero. Less than seven bytes at the end of a page are
// zero, too, and belong to nothing.
//
// What follows is what the package guarantees to its callers:
//
//  1. No frame is handed out whose checksum was not verified (I9).
//  2. Bytes that are merely not there yet are never called damage: the end of
//     the data is io.EOF between records and io.ErrUnexpectedEOF within one.
//  3. After damage, Resync goes on at the next frame that is whole and begins a
//     record. Frames are found by following headers, and each page begins with
//     one, so damage costs no record that lies wholly in other pages (I9). A
//     position handed out is always a record's start or end.
//  4. Filler takes the place of what was damaged: readers of any version pass
//     over it, offsets stay, and this project's know by it what was lost.
//
// A [Scanner] belongs to one goroutine and holds one buffer; the data of a
// record is valid until the next call.
package frame
