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
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/ackwal/ackwal/storage/remote/delivery/internal/queue"
)

// tellLossEvery is how often lines sum up what an endpoint loses.
const tellLossEvery = time.Minute

// lossLog sums up what an endpoint lost in one way since lines said so. It is safe for
// concurrent use.
type lossLog struct {
	mtx  sync.Mutex // Guards what follows.
	lost map[string]*loss
	told time.Time
}

// loss is what an endpoint lost of one kind: refused with one status, or unreadable.
type loss struct {
	items queue.Counts // Of what cannot be read an estimate.
	bytes int64        // Of the log, of what cannot be read.
	span  timeSpan
}

// unreadable is the kind of what cannot be read. Those of what is refused are statuses.
const unreadable = ""

// add adds to a kind. Callers hold mtx.
func (l *lossLog) add(kind string, items queue.Counts, bytes int64, span timeSpan) {
	of := l.lost[kind]
	if of == nil {
		of = &loss{}
		if l.lost == nil {
			l.lost = map[string]*loss{}
		}
		l.lost[kind] = of
	}
	of.items.Plus(items)
	of.bytes += bytes
	of.span = of.span.with(span)
}

// refused adds what was refused for good.
func (l *lossLog) refused(items queue.Counts, status string, span timeSpan) {
	if items.Total() == 0 {
		return
	}
	l.mtx.Lock()
	defer l.mtx.Unlock()
	l.add(status, items, 0, span)
}

// unread adds what cannot be read: bytes, and about how many samples. What stands around it
// is of a span.
func (l *lossLog) unread(bytes, samples int64, span timeSpan) {
	if bytes == 0 {
		return // It was counted before.
	}
	l.mtx.Lock()
	defer l.mtx.Unlock()
	l.add(unreadable, queue.Counts{queue.Samples: int(samples)}, bytes, span)
}

// tell logs what was lost, a line for each kind, unless there were lines a moment ago.
func (l *lossLog) tell(to *slog.Logger, set *settings, last bool) {
	l.mtx.Lock()
	defer l.mtx.Unlock()
	if len(l.lost) == 0 || (!last && time.Since(l.told) < tellLossEvery) {
		return
	}
	for _, kind := range slices.Sorted(maps.Keys(l.lost)) {
		of, attrs := l.lost[kind], []any{"remote_name", set.name, "url", set.url}
		message := "Samples are lost: the endpoint refused them for good"
		if kind == unreadable {
			message = "Samples are lost: a part of the log cannot be read"
			attrs = append(attrs, "reason", "unreadable", "bytes", of.bytes, "samples_estimated", of.items[queue.Samples])
		} else {
			attrs = append(attrs, "reason", "refused", "status", kind,
				"samples", of.items[queue.Samples], "histograms", of.items[queue.Histograms], "exemplars", of.items[queue.Exemplars])
		}
		to.Error(message, append(attrs, of.span.attrs()...)...)
	}
	l.lost, l.told = nil, time.Now()
}
