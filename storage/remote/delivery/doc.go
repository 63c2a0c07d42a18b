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

// Package delivery sends a write-ahead log to remote-write endpoints, at least
// once each sample, and says what of the log is not needed any more. It stands
// where stock's remote storage does in agent mode and answers prometheus#8809,
// #17616 and #17619; proposal 0072 is its ancestor.
//
// # Parts
//
//	log ──▶ feed ──▶ queue ──▶ senders ──▶ endpoint
//	         (one)    (one each endpoint)
//
// The feed, or dispatcher, reads and decodes the head of the log once and
// shares immutable batches with every endpoint that keeps up. An endpoint that
// falls behind them reads the log on its own, and joins again where it meets a
// batch. A queue holds what one endpoint has read, in 64 virtual partitions; a
// series belongs to one by the stable hash of its labels. Senders take requests
// from it that span several partitions, but no partition is in two requests at
// once, so their number can change without draining anything. A savepoint
// (package savepoint) keeps what each partition has acknowledged over a restart.
//
// Where the log is written in this process, commits are handed over in memory
// too, see [Commit]: the dispatcher reads the log only where one is missing.
//
// How requests are cut depends on how far behind an endpoint is. At the head of
// the log they are stretches of it in its own order (line.go), which endpoints
// with equal rules and protocol cut alike and share, encoded once
// (exchange.go). With more to send than one request at a time can carry, they
// are cut by partition. With a backlog they wait until a partition is deep, and
// a sender takes a window of it, in which samples of one series share a time
// series (deep.go). In the replay zone they are small and of one partition.
//
// The log is either that of an engine made for it, which shares its series table
// (Attach), or one that somebody else writes in stock's format (Follow). In the
// second case package follow keeps a table in step with it, and the storage's own
// gate tells the writer, if it asks, what it may remove (Floor).
//
// # Invariants
//
// I1: the gate is told a position only after a savepoint with it was synced to
// disk, including the position at which a new endpoint begins. A limit that
// removes more goes through Forfeit, which counts what is lost.
//
// I2: a mark passes an item only when the endpoint acknowledged it, refused it
// for good, or the configuration dropped it, and each of those is counted. A
// request that may have been stored before (one retried after its answer was
// lost, or one of the replay zone) and is refused is split down to single
// items before anything of it counts as refused.
//
// I4: items of one partition leave in the order of the log, one request at a
// time, and the next only after the one before is settled.
//
// I5: no endpoint waits for another. Changing the configuration waits for none:
// settings are replaced while requests are under way. Closing waits a few
// seconds at most.
//
// I6: an endpoint holds no more than queue_config.capacity items for each
// sender and one batch beyond it; while it catches up and its receiver answers,
// 16 items for each active series if that is more, but never more than 524,288
// (20 MiB). The rest waits in the log. What was handed over and not read yet is
// bounded by 65,536 items, what is shared by 8 requests for each group of
// endpoints.
//
// I8: after a crash, what lies between a partition's saved mark and the
// dispatch mark is the replay zone: it may have been sent. The dispatch mark is
// synced to disk before anything beyond it is sent. If it cannot be written,
// because the disk is full, delivery goes on without it, since delivering is
// what makes room; a crash in that state can make a receiver refuse a request
// whose other samples are then counted as refused. A window counts as one
// request: what is acknowledged of it is saved when all of it is, which takes no
// longer than the interval of savepoints unless the receiver fails meanwhile.
//
// I9: damage in the log is passed over and counted, a savepoint that cannot be
// read leads to the oldest record, never to the newest.
//
// # Goroutines and locks
//
// Storage owns the dispatcher (feed.run), the keeper, which writes savepoints,
// and, where the log is followed, the goroutine that reads it for series. Each endpoint owns a reader, a pacer and its senders. Items,
// batches and settings never change once they are shared. Lock order:
// Storage.mtx, Storage.saveMtx, Storage.listMtx; queue.mu, then
// endpoint.sendersMtx. Only Storage.mtx and Storage.saveMtx are held across
// I/O, and nothing on the path of a commit or of a request takes them, save for
// a sender that has to raise the dispatch mark.
//
// # What receivers have to do
//
// A receiver sees duplicates after a crash, at most what was acknowledged since
// the last savepoint (a quarter of a second) and what was under way, and none
// after a graceful stop. It sees no sample of a series before an older one of the same
// series was settled.
package delivery
