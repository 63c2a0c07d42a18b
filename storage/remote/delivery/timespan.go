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
	"time"

	"github.com/ackwal/ackwal/storage/remote/delivery/internal/queue"
)

// timeSpan is from the oldest to the newest of samples, in ms. The zero value is none.
type timeSpan struct{ oldest, newest int64 }

func (s *timeSpan) add(t int64) {
	if *s == (timeSpan{}) {
		s.oldest, s.newest = t, t
	}
	s.oldest, s.newest = min(s.oldest, t), max(s.newest, t)
}

func spanOf(items []queue.ItemView) (s timeSpan) {
	for _, it := range items {
		s.add(it.T)
	}
	return s
}

// with returns the span with all that another has.
func (s timeSpan) with(o timeSpan) timeSpan {
	if o != (timeSpan{}) {
		s.add(o.oldest)
		s.add(o.newest)
	}
	return s
}

// attrs is what log lines say of it.
func (s timeSpan) attrs() []any {
	if s == (timeSpan{}) {
		return nil
	}
	at := func(ms int64) string { return time.UnixMilli(ms).UTC().Format("2006-01-02T15:04:05.000Z") }
	return []any{"oldest", at(s.oldest), "newest", at(s.newest)}
}
