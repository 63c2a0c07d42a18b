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
	"slices"

	"github.com/ackwal/ackwal/tsdb/wlog/cursor"
	"github.com/ackwal/ackwal/tsdb/wlog/epoch"
	"github.com/ackwal/ackwal/tsdb/wlog/savepoint"

	"github.com/prometheus/prometheus/tsdb/wlog"
)

// What is missing of the log after a start is found by its reader where it lies between
// other things. Before the oldest segment and at the end of what an earlier run wrote
// nothing is left to be read: the savepoint says how far that was.

// knowEnd makes the source tell how large the last segment of the earlier run was, if
// that is still the one with its number.
func knowEnd(src *Source, segments []epoch.Segment, f savepoint.File) {
	of := slices.IndexFunc(segments, func(seg epoch.Segment) bool { return seg.Index == f.Segment })
	if of < 0 || f.End == 0 {
		return
	}
	if seg := segments[of]; !seg.Damaged && !seg.Empty && seg.Run.String() != f.Run {
		return
	}
	size := src.Size
	src.Size = func(segment int) (n int64) {
		if size != nil {
			n = size(segment)
		}
		if segment == f.Segment {
			n = max(n, f.End)
		}
		return n
	}
}

// ackedOf returns how far each partition had come in the segments that there were. Where
// one has to be read from its start, that is known only if it is the same still, or what
// is left of it.
func ackedOf(src *Source, f savepoint.File, e *savepoint.Endpoint, st *endpointState, found map[cursor.Point]resolved, segments []epoch.Segment) []savepoint.Mark {
	acked := slices.Clone(st.marks)
	for p, m := range e.MarksFor(partitions) {
		if at, ok := found[m.Point]; !ok || at.verdict != cursor.SegmentStart {
			continue
		}
		now, err := cursor.Fingerprint(src.WALDir, m.Segment)
		if (err == nil && now == f.Segments[m.Segment]) || slices.ContainsFunc(segments, func(seg epoch.Segment) bool {
			return seg.Index == m.Segment && (seg.Damaged || seg.Empty)
		}) {
			acked[p] = m
		}
	}
	return acked
}

// endOf returns what an endpoint lost of the end of the log: the rest of the segment that
// ends before where it was, and the segments behind the last one there is.
func endOf(src *Source, f savepoint.File, e *savepoint.Endpoint, found map[cursor.Point]resolved, segments []epoch.Segment) (lost unread) {
	if src.follow != nil || f.Run == src.Run.String() {
		return lost // Its writer may begin anew, or has not ended.
	}
	acked := e.MarksFor(partitions)
	if r := e.FreshFor(partitions); r != nil {
		acked = r.Acked
	}
	cut := slices.Clone(acked)
	short := map[int]bool{}
	for p, m := range acked {
		if at, ok := found[m.Point]; ok && at.verdict == cursor.Sealed {
			short[m.Segment] = true
		} else {
			cut[p].Segment = f.Segment + 1 // It is read as far as that goes.
		}
	}
	none := &counted{}
	for segment := range short {
		if src.Size == nil {
			break
		}
		part := unreadPart{Stretch: savepoint.Stretch{Segment: segment, To: src.Size(segment)}}
		rest := (&unread{parts: []unreadPart{part}}).lostTo(cut, none)
		lost.parts = append(lost.parts, rest.parts...)
	}
	first, last := segments[0].Index, -1
	for _, seg := range segments {
		if seg.Run != src.Run {
			last = seg.Index
		}
	}
	gone := goneSegments(src, f, max(first, last+1, e.Floor.Segment), f.Segment, segments)
	rest := gone.lostTo(acked, none)
	lost.parts = append(lost.parts, rest.parts...)
	return lost
}

// startOf returns what an endpoint lost of the segments before the oldest one there is. It
// had given up those before a segment, and some was counted before.
func startOf(src *Source, f savepoint.File, e *savepoint.Endpoint, givenUp int, before *counted, segments []epoch.Segment) (lost unread) {
	acked, ahead := e.MarksFor(partitions), e.FreshFor(partitions)
	gone := goneSegments(src, f, max(e.Floor.Segment, givenUp), min(segments[0].Index-1, f.Segment), segments)
	for _, part := range gone.parts {
		if ahead != nil && part.Segment >= ahead.From.Segment {
			acked = ahead.Acked
		}
		rest := (&unread{parts: []unreadPart{part}}).lostTo(acked, before)
		if end := (cursor.Position{Segment: part.Segment, Offset: part.To}); len(rest.parts) == 0 && e.Floor.Before(end) {
			// Only an isolated series waited there.
			part.From = part.To - 1
			rest.parts = []unreadPart{part}
		}
		lost.parts = append(lost.parts, rest.parts...)
	}
	return lost
}

// goneSegments returns segments of an earlier run that are not there, with the sizes that
// are known, or that of the largest that is there.
func goneSegments(src *Source, f savepoint.File, from, to int, segments []epoch.Segment) (gone unread) {
	near := int64(1)
	for _, seg := range segments {
		if seg.Run != src.Run {
			near = max(near, fileSize(wlog.SegmentName(src.WALDir, seg.Index)))
		}
	}
	for segment := from; segment <= to; segment++ {
		size := near
		if segment == f.Segment && f.End > 0 {
			size = f.End
		} else if src.Size != nil && src.Size(segment) > 0 {
			size = src.Size(segment)
		}
		gone.parts = append(gone.parts, unreadPart{missing: true, Stretch: savepoint.Stretch{Segment: segment, To: size}})
	}
	return gone
}

// estimateLost says how many items lost segments held, by what the savepoint says of the
// log, or by the newest segment that can be read.
func (s *Storage) estimateLost(src *Source, segments []epoch.Segment, lost *unread) {
	if len(lost.parts) == 0 {
		return
	}
	r := newLogReader(s.logger, src, func(*cursor.Corruption) {})
	defer r.close()
	for _, seg := range slices.Backward(segments) {
		if items, _ := r.density.seen(); items > 0 {
			break
		}
		// What cannot be read tells nothing.
		_, _ = r.read(cursor.Point{Position: cursor.Position{Segment: seg.Index}}, maxBatchItems, func(cursor.Position) bool { return false })
	}
	for i, p := range lost.parts {
		lost.parts[i].items = r.density.of(p.To - p.From)
	}
}
