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
// once each sample, and says what of the log is not needed any more. It takes the
// place of stock's remote storage in agent mode and answers prometheus#8809,
// #17616 and #17619; proposal 0072 is its ancestor.
//
// # Parts
//
//	log ──▶ dispatcher ──▶ queue ──▶ senders ──▶ endpoint
//	           (one)       (one each endpoint)
//
// The dispatcher has the head of the log read and decoded once, by one
// of the readers that wait there, and shares immutable batches with every
// endpoint that keeps up. An endpoint that falls behind them reads the log on
// its own, and joins again where it meets a batch. What belongs to one range
// of the log on its way to an endpoint is a stream: a reader, a queue and senders.
// An endpoint has one, or for a while two. A queue (package queue, below internal)
// holds what a stream has read, in 64 virtual partitions; a series belongs to one by
// the stable hash of its labels. Senders take requests from it that span several
// partitions, but no partition is in two requests at once, so their number can change
// without draining anything. A savepoint (package savepoint) keeps what each partition
// has acknowledged over a restart.
//
// Where the log is written in this process, commits are handed to the dispatcher
// in memory too, see [Commit]: the log is read only where one is missing. They wait
// until they fill a request, or for a part of batch_send_deadline (commitqueue.go), so
// that a request, and not each commit, wakes a reader and a sender.
//
// How requests are cut depends on how far behind an endpoint is. At the head of
// the log they are ranges of it in its own order, which endpoints with equal rules
// and protocol cut alike and share, encoded once (requestcache.go). With more to send
// than one request at a time can carry, they are cut by partition. With a backlog they
// wait until a partition has much, and a sender takes a window of it, in which samples
// of one series share a time series. In the replay range they are small and of one
// partition.
//
// The log is either that of an engine made for it, which shares its series table
// (Attach), or one in stock's format that has another writer (Follow). In the
// second case package follow keeps a table in step with it, and the storage's own
// gate tells the writer, if it asks, what it may remove (Floor).
//
// # What an endpoint does not take while it takes other things
//
// A request that fails again and again, or is refused, is not the end of what
// comes behind it. As long as nothing else is taken, the endpoint is what fails:
// no more requests are made than in any outage, but every second one has another
// part of what waits in it (doubt.go). Once one of them is taken, what is left goes on trial: its items
// leave the queue as if they were settled (park.go) and wait in its isolation
// (isolation.go), and an isolator, one goroutine of each stream (isolator.go), divides
// them until what the endpoint does not take is found (division.go). What is refused for good
// is dropped, sample by sample, and counted. A series that is refused, or gets no
// good answer alone, travels alone until it is accepted, while all others go on
// (suspects.go).
//
// A refusal counts only if the endpoint takes something else. One that refuses
// everything has a wrong password or URL, most likely, which an operator is about to
// correct: what it refuses is held, as in an outage (refusal.go, answers.go), without end or for
// Options.RefusedHold. A receiver that has what it is sent looks like that, too, but takes a
// request with nothing in it. Then, of what may have been sent before, what is refused is
// dropped (attempt.go, deliver.go).
//
// Later items of an isolated series wait behind its first, in memory or, beyond
// 256 of a series and 4 MiB of all, in the log (refill.go). 1,024 series may be
// suspects; then requests with others that fail are retried as in any outage, and
// refused ones dropped without their series becoming suspects. The savepoint has a
// mark for each isolated series, below which the log is kept.
//
// # Fresh first
//
// An endpoint with the option (Options.FreshFirst) that is far behind when its
// receiver answers again gets a second stream (fresh.go, stream.go). The first, the
// backlog's, ends at the head of the log as it was then, the second begins
// there, so that what is new does not wait. The backlog takes a share of the
// senders, and when it has come to its end, the second stream is the only one.
// There are two at most.
//
// Far behind means: in another segment than the head or more than 1 MiB before
// it, and a minute by the clock. For that, the timestamps of the oldest samples
// that are not acknowledged are looked at, the middle one of the partitions'.
// The time a batch was read says how long it is in memory, which after an outage
// is short, and the log keeps no other time.
//
// # Invariants
//
// Their numbers are those of docs/architecture.md; I3 and I7 are the storage's to keep.
//
// I1: the gate is told a position only after a savepoint with it was synced to
// disk, including the position at which a new endpoint begins. With two streams it
// is the backlog's. A limit that removes more goes through Forfeit, which counts
// what is forfeited, on each stream.
//
// I2: a mark passes an item only when the endpoint acknowledged it, refused it
// for good, or the configuration dropped it, and each of those is counted. A
// request that may have been stored before (one retried after its answer was
// lost, or one of the replay range) and is refused is split down to single
// items before anything of it counts as refused. What else an endpoint refuses that
// takes nothing counts as refused once the time for it is over.
//
// I4: items of one partition leave in the order of the log, one request at a
// time, and the next only after the one before is settled. That holds on each
// stream; between two streams there is no order, which is what Options.FreshFirst is
// for.
//
// I5: no endpoint waits for another. Changing the configuration waits for none:
// settings are replaced while requests are under way. Closing waits a few
// seconds at most.
//
// I6: a stream holds no more than queue_config.capacity items for each sender;
// while it catches up and its receiver answers, 16 items for each active series
// if that is more. Whatever the items are, it holds no more than 20 MiB of them,
// or 49 bytes for each item of capacity if that is more, and one batch beyond;
// what a partition has had acknowledged is forgotten at once. The rest waits in
// the log. A batch is 1 MiB, or one commit if that is more, up to 16 MiB, or one
// record. In-memory commits that were not read yet are bounded by 65,536 items and
// 8 MiB, what is shared by as much, and by 8 requests for each group of
// endpoints. Requests are encoded by as many senders at a time as there are cores
// (encoders.go); a sender keeps the request as it is sent. Bytes are those of the items
// with what only they refer to: histograms, labels of exemplars, and labels of series
// that have left the table (package queue). Of such series, a reader remembers 16,384
// at most and 16 MiB, and so do rules.
//
// I8: after a crash, what lies between a partition's saved mark and the
// dispatch watermark is the replay range: it may have been sent. The dispatch watermark is
// synced to disk before anything beyond it is sent. If it cannot be written,
// because the disk is full, delivery goes on without it, since delivering is
// what makes room; a crash in that state can make a receiver refuse a request
// whose other samples are then counted as refused. A window counts as one
// request: what is acknowledged of it is saved when all of it is, which takes no
// longer than the interval of savepoints unless the receiver fails meanwhile.
// Each stream has marks and a dispatch watermark of its own. A second stream sends nothing
// before a savepoint with both streams is synced to disk; if none can be written,
// it waits until the backlog is delivered.
//
// I9: damage in the log is passed over and counted, and so is what the disk refuses
// of a segment, or of the labels to it, after some tries (tries.go); a savepoint that
// cannot be read leads to the oldest record, never to the newest.
//
// # Goroutines and locks
//
// Storage owns the savepoint writer, and, where the log is followed, the goroutine that
// reads it for series. Each endpoint owns a pacer, which alone makes and ends streams, the
// sender of its metadata, and each stream a reader, an isolator, which makes up to eight
// attempts at a time, and its senders; all of them belong to the endpoint's wait group. The reader that leads has the
// dispatcher's log reader and the in-memory commits to itself until it publishes or
// resigns. Items, batches and settings never change once they are shared.
//
// Lock order: Storage.mtx, Storage.saveMtx, Storage.listMtx;
// endpoint.streamsMtx, readCursor.mu; Queue.mu, then endpoint.sendersMtx or isolation.mtx,
// then dispatchWatermark.mtx; of two isolations, that of the older stream first; fullQueue.mtx, then dispatcher.mu, then commitQueue.mtx. Only
// Storage.mtx and Storage.saveMtx are held across I/O, save that a file is closed under
// fullQueue.mtx, and nothing on the path of a commit or of a request takes them, save for
// a sender that has to raise the dispatch watermark.
//
// # What receivers have to do
//
// A receiver sees duplicates after a crash, at most what was under way and what was
// acknowledged since the last savepoint: a second at most, a quarter of one at high
// rates. It sees none after a graceful stop, and no sample of a series before an older
// one of the same series was settled, unless it is to have fresh samples first; then it
// has to take samples out of order.
package delivery
