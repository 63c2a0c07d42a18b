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

package delivery

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ackwal/ackwal/storage/remote/delivery/internal/queue"
)

// tellLossEvery is how often lines sum up what an endpoint loses.
const tellLossEvery = time.Minute

// lossLog sums up what an endpoint lost since lines said so. It is safe for concurrent use.
type lossLog struct {
	mtx  sync.Mutex // Guards what follows.
	lost map[lossKind]*loss
	told time.Time
}

// lossKind is why something is lost: it was refused with a status, or, with none, it cannot
// be read.
type lossKind struct {
	status string
	again  bool // The endpoint most likely has it from before.
}

// loss is what an endpoint lost of one kind.
type loss struct {
	items queue.Counts // Of what cannot be read an estimate.
	bytes int64        // Of the log, of what cannot be read.
	span  timeSpan
}

// add adds to a kind. Callers hold mtx.
func (l *lossLog) add(kind lossKind, items queue.Counts, bytes int64, span timeSpan) {
	of := l.lost[kind]
	if of == nil {
		of = &loss{}
		if l.lost == nil {
			l.lost = map[lossKind]*loss{}
		}
		l.lost[kind] = of
	}
	of.items.Plus(items)
	of.bytes += bytes
	of.span = of.span.with(span)
}

// refused adds what was refused for good, and which the endpoint may have from before.
func (l *lossLog) refused(items queue.Counts, status string, again bool, span timeSpan) {
	if items.Total() == 0 {
		return
	}
	l.mtx.Lock()
	defer l.mtx.Unlock()
	l.add(lossKind{status, again}, items, 0, span)
}

// unread adds what cannot be read: bytes, and about how many samples. What stands around it
// is of a span.
func (l *lossLog) unread(bytes, samples int64, span timeSpan) {
	if bytes == 0 {
		return // It was counted before.
	}
	l.mtx.Lock()
	defer l.mtx.Unlock()
	l.add(lossKind{}, queue.Counts{queue.Samples: int(samples)}, bytes, span)
}

// tell logs what was lost, a line for each kind, unless there were lines a moment ago.
func (l *lossLog) tell(to *slog.Logger, set *settings, last bool) {
	l.mtx.Lock()
	defer l.mtx.Unlock()
	if len(l.lost) == 0 || (!last && time.Since(l.told) < tellLossEvery) {
		return
	}
	byStatus := func(a, b lossKind) int { return strings.Compare(a.status, b.status) }
	for _, kind := range slices.SortedFunc(maps.Keys(l.lost), byStatus) {
		of, attrs := l.lost[kind], []any{"remote_name", set.name, "url", set.shown}
		level, message := slog.LevelError, "Samples are lost: the endpoint refused them for good"
		if kind.again {
			level, message = slog.LevelWarn, "The endpoint refused samples that it most likely has, since they may have been sent before"
		}
		if kind.status == "" {
			message = "Samples are lost: a part of the log cannot be read"
			attrs = append(attrs, "reason", "unreadable", "bytes", of.bytes, "samples_estimated", of.items[queue.Samples])
		} else {
			attrs = append(attrs, "reason", "refused", "status", kind.status,
				"samples", of.items[queue.Samples], "histograms", of.items[queue.Histograms], "exemplars", of.items[queue.Exemplars])
		}
		to.Log(context.Background(), level, message, append(attrs, of.span.attrs()...)...)
	}
	l.lost, l.told = nil, time.Now()
}
