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

package durable

import (
	"context"

	"github.com/ackwal/ackwal/storage/remote/delivery"
	"github.com/ackwal/ackwal/tsdb/wlog/cursor"
)

// Sender is what the storage needs of the delivery; *delivery.Storage is one.
type Sender interface {
	// Attach hands the log over, once, before the first append. If it succeeds
	// the sender calls the source's Release when it needs the directory no
	// longer.
	Attach(delivery.Source) error
	// Persist makes the positions of all endpoints durable and moves the gate.
	Persist(context.Context) error
	// Forfeit takes what is before a position from the holders of the gate with the given
	// IDs, from all if there are none. It does not read the log for more than moments, and
	// no longer than ctx lasts.
	Forfeit(ctx context.Context, before cursor.Position, reason string, ids ...string) error
	// Holders returns what keeps parts of the log, as it is now.
	Holders() []delivery.Holder
	// Notify says that something was committed. It does not block.
	Notify()
}

// commitSink is a sender that takes commits in memory, so that it need not read them.
type commitSink interface {
	// NewCommit returns what is to be filled with a commit of so many items, nil if
	// the sender reads it from the log.
	NewCommit(items int) *delivery.Commit
	// Committed takes a commit that was written between two positions.
	Committed(c *delivery.Commit, start, end cursor.Position)
}

var _ commitSink = (*delivery.Storage)(nil)

var _ Sender = (*delivery.Storage)(nil)
