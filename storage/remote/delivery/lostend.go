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
	"log/slog"
	"os"
	"slices"

	"github.com/ackwal/ackwal/storage/remote/delivery/internal/queue"
	"github.com/ackwal/ackwal/tsdb/wlog/cursor"
	"github.com/ackwal/ackwal/tsdb/wlog/epoch"
	"github.com/ackwal/ackwal/tsdb/wlog/savepoint"
	"github.com/ackwal/ackwal/tsdb/wlog/series"
)

// What is missing of the log after a start is found by its reader where it lies between
// other things. Before the oldest segment and at the end of what an earlier run wrote
// nothing is left to be read: the savepoint says how far that was. The next savepoint does
// not, so that is counted at the start, or noted as yet to be counted, for every endpoint.

// compare finds out whether a followed log is the one that a savepoint is about, and
// what the savepoint says of the sizes of segments.
func compare(src *Source, f savepoint.File, segments []epoch.Segment) {
	if src.follow == nil {
		return
	}
	if src.other = isOther(src, f, segments); src.other {
		return
	}
	seen := src.Size
	src.Size = func(segment int) int64 {
		if n := f.SizeOf(segment); n > 0 {
			return n
		}
		return seen(segment)
	}
}

// isOther reports whether a log is not certain to be the one that a savepoint is about.
// Writers begin logs with the series of the same targets, so that one that was made anew
// may begin with the same bytes; what proves that it is the same is the last record, or
// that the segment before it ends where it did, or that a position is still there.
func isOther(src *Source, f savepoint.File, segments []epoch.Segment) bool {
	last := f.Last()
	saved := f.Segments[last]
	if saved == 0 || last < segments[0].Index {
		return false // Nothing is known, or it was truncated, which no new log is.
	}
	now, err := cursor.Fingerprint(src.WALDir, last)
	switch newest := segments[len(segments)-1].Index; {
	case err != nil || now == 0 && last == newest:
		return true
	case now == 0 || goneOrStandIn(src.WALDir, last):
		return false // Damaged where it was.
	case now != saved:
		return true
	}
	if f.End > 0 && f.EndCRC != 0 {
		end := cursor.Point{Position: cursor.Position{Segment: last, Offset: f.End}, CRC: f.EndCRC}
		if _, v, err := cursor.Resolve(src.WALDir, cursor.Saved{Point: end, Fingerprint: saved}); err == nil && v != cursor.Sealed {
			return v != cursor.Exact
		}
	} else if n := f.SizeOf(last); n == 0 || n == cursor.SegmentSize(src.WALDir, last) {
		return false
	}
	if n := f.SizeOf(last - 1); n > 0 && n == cursor.SegmentSize(src.WALDir, last-1) {
		return false
	}
	for i := range f.Endpoints {
		for _, m := range f.Endpoints[i].MarksFor(queue.Partitions) {
			if m.Segment != last || m.Offset == 0 {
				continue
			}
			if _, v, err := cursor.Resolve(src.WALDir, cursor.Saved{Point: m.Point, Fingerprint: saved}); err == nil && v == cursor.Exact {
				return false
			}
		}
	}
	return true
}

// knowEnd makes the source tell how large the last segment of the earlier run was, and what
// it lacks of that, if that is still the one with its number.
func knowEnd(src *Source, segments []epoch.Segment, f savepoint.File) {
	of := slices.IndexFunc(segments, func(seg epoch.Segment) bool { return seg.Index == f.Segment })
	if of < 0 || f.End == 0 || src.other {
		return
	}
	if seg := segments[of]; src.follow == nil && !seg.Damaged && !seg.Empty && seg.Run.String() != f.Run {
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
	if len(src.lost) > 0 || f.Run == src.Run.String() {
		return // It is known already, or has not ended.
	}
	cut := queue.UnreadPart{Missing: goneOrStandIn(src.WALDir, f.Segment), Range: savepoint.Range{Segment: f.Segment, To: src.Size(f.Segment)}}
	if !cut.Missing {
		cut.From = cursor.RecordEnd(cursor.SegmentSize(src.WALDir, f.Segment))
	}
	if cut.From < cut.To {
		src.lostEnd = &cut
	}
}

// goneOrStandIn reports whether a segment is gone, or is the stand-in for one that is.
func goneOrStandIn(walDir string, segment int) bool {
	t, err := cursor.Open(walDir, cursor.Position{Segment: segment})
	if err != nil {
		return errors.Is(err, os.ErrNotExist)
	}
	defer t.Close()
	it, err := t.Next()
	return err == nil && it.Kind == cursor.Gap && it.Err.Gone
}

// ackedOf returns how far each partition had come in the segments that there were. Where
// one has to be read from its start, that is known only if it is the same still, or what
// is left of it.
func ackedOf(src *Source, f savepoint.File, e *savepoint.Endpoint, st *endpointState, found map[cursor.Point]resolved, segments []epoch.Segment) []savepoint.Mark {
	acked := slices.Clone(st.acked)
	for p, m := range e.MarksFor(queue.Partitions) {
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

// cutOf returns what an endpoint lost of what the last segment lacks.
func cutOf(t *series.Table, cut queue.UnreadPart, e *savepoint.Endpoint) (lost queue.Unread) {
	apart, end := e.IsolatedFor(queue.Partitions), cursor.Position{Segment: cut.Segment, Offset: cut.To}
	if r := e.FreshFor(queue.Partitions); r != nil {
		// Only what is before it is the backlog's.
		rest := cut
		switch {
		case r.From.Segment < cut.Segment:
			cut.To = cut.From
		case r.From.Segment == cut.Segment:
			cut.To = min(max(r.From.Offset, cut.From), cut.To)
		}
		rest.From = cut.To
		if r.From.Before(end) {
			apart = r.Isolated
		}
		lost = lostTo(&queue.Unread{Parts: []queue.UnreadPart{rest}}, r.Acked, spreadOf(t, r.Acked), &counted{})
		cut.Missing = cut.Missing && len(lost.Parts) == 0 // It is one segment.
	}
	acked := e.MarksFor(queue.Partitions)
	backlog := lostTo(&queue.Unread{Parts: []queue.UnreadPart{cut}}, acked, spreadOf(t, acked), &counted{})
	lost.Parts = append(lost.Parts, backlog.Parts...)
	if len(lost.Parts) == 0 && slices.ContainsFunc(apart, func(is savepoint.Isolated) bool { return is.Mark.Before(end) }) {
		cut.From, cut.To = end.Offset-1, end.Offset // As in startOf.
		lost.Parts = []queue.UnreadPart{cut}
	}
	return lost
}

// endOf returns what an endpoint lost of the end of the log: what the last segment lacks,
// the rest of another one that ends before where it was, and the segments behind the last
// one there is.
func endOf(src *Source, f savepoint.File, e *savepoint.Endpoint, found map[cursor.Point]resolved, segments []epoch.Segment) (lost queue.Unread) {
	if f.Run == src.Run.String() {
		return lost // It has not ended.
	}
	for _, d := range src.lost {
		part := queue.UnreadPart{Missing: d.Offset == 0, Range: savepoint.Range{Segment: d.Segment, From: d.Offset, To: d.Offset + d.Bytes}}
		rest := cutOf(src.Table, part, e)
		lost.Parts = append(lost.Parts, rest.Parts...)
	}
	if len(src.lost) > 0 {
		return lost
	}
	acked := e.MarksFor(queue.Partitions)
	if r := e.FreshFor(queue.Partitions); r != nil {
		acked = r.Acked
	}
	if src.lostEnd != nil {
		lost = cutOf(src.Table, *src.lostEnd, e)
	}
	in, cut := spreadOf(src.Table, acked), slices.Clone(acked)
	short := map[int]bool{}
	for p, m := range acked {
		if at, ok := found[m.Point]; ok && at.verdict == cursor.Sealed && (src.lostEnd == nil || m.Segment != src.lostEnd.Segment) {
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
		part := queue.UnreadPart{Range: savepoint.Range{Segment: segment, To: src.Size(segment)}}
		rest := lostTo(&queue.Unread{Parts: []queue.UnreadPart{part}}, cut, in, none)
		lost.Parts = append(lost.Parts, rest.Parts...)
	}
	first, last := segments[0].Index, -1
	for _, seg := range segments {
		if seg.Run != src.Run {
			last = seg.Index
		}
	}
	gone := goneSegments(src, f, max(first, last+1, e.Floor.Segment), f.Segment, segments)
	rest := lostTo(&gone, acked, in, none)
	lost.Parts = append(lost.Parts, rest.Parts...)
	return lost
}

// startOf returns what an endpoint lost of the segments before the oldest one there is. It
// has forfeited those before a segment, and some was counted before.
func startOf(src *Source, f savepoint.File, e *savepoint.Endpoint, forfeitedBefore int, before *counted, segments []epoch.Segment) (lost queue.Unread) {
	acked, ahead := e.MarksFor(queue.Partitions), e.FreshFor(queue.Partitions)
	in := spreadOf(src.Table, acked)
	last := segments[0].Index - 1
	if src.follow == nil { // Else its writer may have gone on after delivery ended.
		last = min(last, f.Segment)
	}
	gone := goneSegments(src, f, max(e.Floor.Segment, forfeitedBefore), last, segments)
	for _, part := range gone.Parts {
		if ahead != nil && part.Segment >= ahead.From.Segment {
			acked, in, ahead = ahead.Acked, spreadOf(src.Table, ahead.Acked), nil
		}
		whole := &queue.Unread{Parts: []queue.UnreadPart{part}}
		rest := lostTo(whole, acked, in, before)
		if end := (cursor.Position{Segment: part.Segment, Offset: part.To}); len(lostTo(whole, acked, in, &counted{}).Parts) == 0 && e.Floor.Before(end) {
			// Only an isolated series waited there.
			part.From = part.To - 1
			rest.Parts = []queue.UnreadPart{part}
		}
		lost.Parts = append(lost.Parts, rest.Parts...)
	}
	return lost
}

// goneSegments returns segments of an earlier run that are not there, with the sizes that
// are known, or that of the largest that is there.
func goneSegments(src *Source, f savepoint.File, from, to int, segments []epoch.Segment) (gone queue.Unread) {
	near := int64(1)
	for _, seg := range segments {
		if seg.Run != src.Run {
			near = max(near, cursor.SegmentSize(src.WALDir, seg.Index))
		}
	}
	for segment := from; segment <= to; segment++ {
		size := near
		if segment == f.Segment && f.End > 0 {
			size = f.End
		} else if src.Size != nil && src.Size(segment) > 0 {
			size = src.Size(segment)
		}
		gone.Parts = append(gone.Parts, queue.UnreadPart{Missing: true, Range: savepoint.Range{Segment: segment, To: size}})
	}
	return gone
}

// estimateLost says how many items were lost to an endpoint at the start, by what the savepoint
// says of the log, or by the newest segment that can be read.
func estimateLost(l *slog.Logger, src *Source, segments []epoch.Segment, lost *queue.Unread) {
	r := newLogReader(l, src, func(*cursor.Corruption) {})
	defer r.close()
	for _, seg := range slices.Backward(segments) {
		if items, _ := r.density.seen(); items > 0 {
			break
		}
		// What cannot be read tells nothing.
		_, _ = r.read(cursor.Point{Position: cursor.Position{Segment: seg.Index}}, maxBatchItems, func(cursor.Position) bool { return false })
	}
	for i, p := range lost.Parts {
		lost.Parts[i].Items = r.density.of(p.To - p.From)
	}
}
