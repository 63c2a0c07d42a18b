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

// Package queue is what an endpoint has read of the log and not yet had acknowledged: the
// part of delivery that invariants I2 and I4 rest on. It does no I/O and knows neither
// requests on the wire nor receivers.
//
//	records ──▶ Builder ──▶ Batch ──▶ Entry ──▶ Queue ──▶ Request ──▶ Ack or Release
//	               one for all endpoints │ one for each endpoint
//	                             Resumption takes out what an earlier run had acknowledged
//
// A batch is a part of the log as it was decoded, shared by endpoints; an entry is a
// batch as one endpoint sees it. A queue keeps entries in 64 virtual partitions; a series
// belongs to one by the stable hash of its labels. A request is what one sender has taken
// of it. What waits in a partition goes through these states, each item once:
//
//	          Push              Take, TakeOther             Ack
//	(the log) ────▶ waiting ───────────────────▶ under way ─────▶ acknowledged: the mark
//	                   ▲                             │            has passed it, and it is
//	                   └─────────────────────────────┘            forgotten
//	                               Release
//
// A partition is busy while something of it is under way; the items of those that are not
// busy are ready. How requests are cut, in order, by partition or as windows, is drawn in
// cut.go.
//
// # Invariants
//
// I2: what a partition has acknowledged is a prefix of what it was given, and its mark
// never passes an item that is not acknowledged. What is taken out of it for other reasons,
// such as series that wait apart, has a mark of its own elsewhere before it is acknowledged
// here.
//
// I4: a partition has one request under way at a time, and items leave it in the order of
// the log. The next can be taken only after the one before was acknowledged or released; a
// released one is the next. A request in order has all partitions; no other is under way
// beside it.
//
// I6: Push waits when the queue has as many items as it was configured for, or more bytes
// than [HeldBytes] says, with one entry beyond. What a partition has had acknowledged is
// forgotten at once if the batch is kept by partition, and else when all partitions are
// through with it.
//
// I8: what was ever taken ends before [Stats].Taken, so that a process that stops knows what
// may have been sent.
//
// TestQueueModel compares it with a naive model over several runs: nothing is handed out
// twice or out of order, and no mark passes an item that is not acknowledged.
//
// # Goroutines and locks
//
// The package starts no goroutine, but for a timer that wakes those that wait in Take. One
// goroutine calls Push, Jump and Unskip, the reader of the stream, which owns its Builder
// and Resumption too; each sender calls Take and owns the Request until Ack or Release;
// any goroutine may call the rest. Queue.mu guards the queue, and is held for a walk over the
// partitions at most; keep and isolated, which are called under it, must be as quick. The
// lock in an Entry is held for a look at a map. Batches, and lists of items, never change
// once they are in a queue.
package queue
