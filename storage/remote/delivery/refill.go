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
	"errors"
	"math"
	"slices"
	"time"

	"github.com/ackwal/ackwal/storage/remote/delivery/internal/queue"
	"github.com/ackwal/ackwal/tsdb/wlog/cursor"
	"github.com/ackwal/ackwal/tsdb/wlog/savepoint"
)

// loadFromLog makes sure that something of each series is in memory, if something waits.
func (w *isolator) loadFromLog(part ...*isolated) bool {
	iso := w.stream.isolation
	for w.stream.reading.Err() == nil {
		var (
			empty []*isolated
			at    cursor.Position
		)
		iso.mtx.Lock()
		for _, is := range part {
			if is.restInLog && len(is.items) == 0 {
				if len(empty) == 0 || is.next.Before(at) {
					at = is.next.Position
				}
				empty = append(empty, is)
			}
		}
		iso.mtx.Unlock()
		if len(empty) == 0 {
			return true
		}
		moved, err := w.reread(empty)
		switch {
		case err == nil && moved:
			continue
		case err == nil:
			err = errors.New("nothing more of them could be read")
		}
		if w.stream.reading.Err() == nil {
			w.stream.endpoint.logger.Error("Cannot read the log for series that wait alone, trying again", "position", at.String(), "err", err)
		}
		return false
	}
	return false
}

// reread fills isolated series that have nothing in memory from the log, all in
// one pass, and with them those that are due. It reports whether it came on.
func (w *isolator) reread(part []*isolated) (moved bool, err error) {
	type filling struct {
		seriesRange
		is          *isolated
		from, until savepoint.Mark // As they were.
		items       []isolatedItem
	}
	var (
		all   []*seriesRange
		of    = map[*seriesRange]*filling{}
		iso   = w.stream.isolation
		bytes = 0
	)
	iso.mtx.Lock()
	now := time.Now()
	for _, is := range iso.series {
		if is.restInLog && len(is.items) == 0 && (!now.Before(is.due) || slices.Contains(part, is)) {
			f := &filling{seriesRange: seriesRange{hash: is.hash, from: is.next, until: is.until}, is: is, from: is.next, until: is.until}
			all, of[&f.seriesRange] = append(all, &f.seriesRange), f
		}
	}
	room := max(isolatedBytes-iso.bytes, 1)
	iso.mtx.Unlock()
	if len(all) == 0 {
		return false, nil
	}
	log := newLogReader(w.stream.endpoint.logger, w.stream.endpoint.src, func(*cursor.Corruption) {})
	log.tries = w.tries
	r := newRereader(log, all)
	var lost unreadApart
	r.onUnread = func(series int, u queue.Unread) { lost.add(w.stream, series, u) }
	err = r.read(w.stream.reading, func() bool { return bytes < room }, func(m *seriesRange, it queue.ItemView, at savepoint.Mark) bool {
		f := of[m]
		size := isolatedSize(it)
		f.items = append(f.items, newIsolatedItem(it, at, size))
		bytes += size
		return len(f.items) < isolatedItems
	})
	if err != nil {
		return false, err
	}
	lost.count(w.stream)
	iso.mtx.Lock()
	defer iso.mtx.Unlock()
	for _, m := range all {
		f := of[m]
		is := f.is
		if is.gone || is.next != f.from || len(is.items) > 0 {
			moved = true // A limit took it.
			continue
		}
		moved = moved || len(f.items) > 0 || m.complete || m.from != f.from
		iso.bytes += sizeOf(f.items)
		is.items, is.next = f.items, m.from
		if m.complete {
			is.next, is.restInLog = f.until, is.until != f.until
		}
	}
	return moved, nil
}

// unreadApart is what isolated series lose because it cannot be read, by estimate.
type unreadApart struct {
	bytes    int64
	items    float64
	segments int
}

// add adds a part that so many series had items in. What the reader of the stream could
// not read either, it has counted.
func (u *unreadApart) add(s *stream, series int, more queue.Unread) {
	if more.Labels == 0 && s.endpoint.counted.have(more) {
		return
	}
	u.bytes += max(more.Bytes(), 1)
	u.segments += more.Segments()
	u.items += share(s.endpoint.src.Table, series, more)
}

func (u *unreadApart) count(s *stream) {
	if u.bytes == 0 {
		return
	}
	s.endpoint.logger.Error("A part of the log that series wait in cannot be read; what they had there is lost", "bytes", u.bytes, "items", math.Ceil(u.items))
	m := s.endpoint.metrics.Load()
	m.unreadableBytes.Add(float64(u.bytes))
	m.unreadable.Add(math.Ceil(u.items))
	m.segmentsMissing.Add(float64(u.segments))
}
