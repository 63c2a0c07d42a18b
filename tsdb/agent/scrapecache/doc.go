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

// Package scrapecache remembers what a target exposes in 32 bytes and a few more for
// each series, where the storage knows a series by its ref alone.
//
// Scraping keeps, for each series, the exposed text as the key of a map, the label set
// and two more entries of maps for staleness: three fifths of an agent's heap. The
// storage has the same labels. Here the text is known by a hash, labels are not kept, and
// staleness is a number (prometheus#17619).
//
// What it guarantees:
//
//  1. Scraping appends the same samples, stale markers included, and counts the same
//     series as added as with stock's cache. Two exceptions: where a target exposes a
//     series in two texts, which of them counts for staleness when the storage gives it
//     another ref; and a stale marker for a series that the storage has forgotten since
//     the last scrape, which is minutes old then, is not written.
//  2. A sample is never appended without labels to a ref that the storage has forgotten:
//     [Cache.NeedsLabels] asks it, unless it has forgotten none since the last scrape.
//  3. Two texts are taken for the same with a probability of 2^-96 for each pair: by 64
//     bits that are seeded at random for each process and 32 that are not.
//
// Series mostly come in the order of the last scrape. So each entry knows which followed
// it, and the index is asked only where that is not so.
//
// A Cache belongs to the goroutine that scrapes the target; nothing here takes a lock.
package scrapecache
