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

// Package savepoint keeps, per remote endpoint, how far the write-ahead log
// has been acknowledged, in a small file beside the log.
//
// The format is described in docs/format/savepoint.md. In short: a JSON object
// with a version, a checksum and a body; delivery.json is the last version
// written, delivery.prev.json the last one written durably, and
// delivery.corrupt-<n>.json are damaged ones kept for inspection.
//
// What it defends:
//
//  1. A savepoint is replaced atomically. Whenever the process dies, Load
//     returns the version before or the one being written (I8).
//  2. After a durable Write has returned, no loss of power takes Load back to
//     a version before it. Only then may the caller act on it (I1).
//  3. A damaged file is found by its checksum, costs at most what was
//     acknowledged since the last durable version, and stops nothing (I9).
//  4. Lost positions are told apart from there never having been any: Load
//     returns an error of its own for them, so that no caller takes it for a
//     first start and begins at now (I2).
//  5. A file of a later release is neither used nor overwritten nor set aside.
//  6. Load never returns a part of a file: it is whole and valid, or an error.
//
// Two rules are the caller's. A dispatch watermark holds across a loss of power
// only if it was raised by a durable Write that returned before anything
// beyond the older mark was sent; written without durable, it holds for a
// crash of the process. And the skip of a mark is only of use where the log
// after the mark is unharmed, see [Mark].
//
// There are no goroutines. A [Store] has one mutex, held across the I/O of
// Load and Write, so calls may block for as long as the disk does. The caller
// holds the lock on the data directory, which keeps other processes away. What
// is passed to Write is not kept, and what Load returns belongs to the caller.
package savepoint
