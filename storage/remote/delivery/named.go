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
	"slices"
	"sync"
	"time"

	"go.uber.org/atomic"
)

// sparse is a log handler that lets a message about an endpoint through once a minute.
// What is said of one does not keep it from being said of another.
type sparse struct {
	next     slog.Handler
	endpoint string // Whom lines are about, "" for none in particular.
	said     *said  // Shared with those made from it.
}

// said is when messages were logged last.
type said struct {
	mtx sync.Mutex
	at  map[saidOf]time.Time
}

type saidOf struct{ endpoint, message string }

const (
	sayEvery     = time.Minute
	mostMessages = 1024 // That are remembered.
)

func newSparse(next slog.Handler) *sparse {
	return &sparse{next: next, said: &said{at: map[saidOf]time.Time{}}}
}

// again reports whether a message is due, and takes note of it.
func (s *said) again(m saidOf, now time.Time) bool {
	s.mtx.Lock()
	defer s.mtx.Unlock()
	if last, known := s.at[m]; known && now.Sub(last) < sayEvery {
		return false
	}
	if len(s.at) >= mostMessages {
		for m, last := range s.at {
			if now.Sub(last) >= sayEvery {
				delete(s.at, m)
			}
		}
	}
	if len(s.at) < mostMessages {
		s.at[m] = now
	}
	return true
}

// about returns the endpoint that attributes name, or else one.
func about(attrs []slog.Attr, or string) string {
	for _, a := range attrs {
		if a.Key == "remote_name" {
			return a.Value.String()
		}
	}
	return or
}

// Enabled implements slog.Handler.
func (s *sparse) Enabled(ctx context.Context, l slog.Level) bool { return s.next.Enabled(ctx, l) }

// Handle implements slog.Handler.
func (s *sparse) Handle(ctx context.Context, r slog.Record) error {
	endpoint := s.endpoint
	r.Attrs(func(a slog.Attr) bool {
		endpoint = about([]slog.Attr{a}, endpoint)
		return true
	})
	if !s.said.again(saidOf{endpoint, r.Message}, time.Now()) {
		return nil
	}
	return s.next.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (s *sparse) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &sparse{next: s.next.WithAttrs(attrs), endpoint: about(attrs, s.endpoint), said: s.said}
}

// WithGroup implements slog.Handler.
func (s *sparse) WithGroup(name string) slog.Handler {
	return &sparse{next: s.next.WithGroup(name), endpoint: s.endpoint, said: s.said}
}

// named is a log handler that says which endpoint a line is about. An endpoint can
// change its name and URL while it is at work, and its loggers, and those made from
// them, then log the new ones.
type named struct {
	base *slog.Logger
	now  *atomic.Pointer[slog.Handler] // Shared with those made from it.
	more []func(slog.Handler) slog.Handler
}

func newNamed(base *slog.Logger) *named {
	n := &named{base: base, now: &atomic.Pointer[slog.Handler]{}}
	h := base.Handler()
	n.now.Store(&h)
	return n
}

// set replaces what is said of the endpoint.
func (n *named) set(name, url string) {
	h := n.base.With("remote_name", name, "url", url).Handler()
	n.now.Store(&h)
}

func (n *named) handler() slog.Handler {
	h := *n.now.Load()
	for _, f := range n.more {
		h = f(h)
	}
	return h
}

// with returns a handler that does what f says besides.
func (n *named) with(f func(slog.Handler) slog.Handler) *named {
	return &named{base: n.base, now: n.now, more: append(slices.Clip(n.more), f)}
}

// Enabled implements slog.Handler.
func (n *named) Enabled(ctx context.Context, l slog.Level) bool { return n.handler().Enabled(ctx, l) }

// Handle implements slog.Handler.
func (n *named) Handle(ctx context.Context, r slog.Record) error { return n.handler().Handle(ctx, r) }

// WithAttrs implements slog.Handler.
func (n *named) WithAttrs(attrs []slog.Attr) slog.Handler {
	return n.with(func(h slog.Handler) slog.Handler { return h.WithAttrs(attrs) })
}

// WithGroup implements slog.Handler.
func (n *named) WithGroup(name string) slog.Handler {
	return n.with(func(h slog.Handler) slog.Handler { return h.WithGroup(name) })
}
