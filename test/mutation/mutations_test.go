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

package mutation

// mutation is a defect, written where one line decides over an invariant.
type mutation struct {
	name string
	// invariant is the one of the design that it breaks.
	invariant string
	// effect is what goes wrong.
	effect string
	// by is the model that has to notice.
	by *model

	// What it replaces asks defect(name) whether to be wrong, so that one build has
	// all mutations.
	edit
}

var mutations = []mutation{
	{
		name: "ignore_gate", invariant: "I1", effect: "segments are removed whatever endpoints need", by: pipeline,
		edit: edit{
			file:   "tsdb/agent/durable/retention.go",
			anchor: `out.free = max(oldest, min(floor.Position.Segment, active))`,
			replacement: `out.free = max(oldest, min(floor.Position.Segment, active))
		if defect("ignore_gate") {
			out.free = active
		}`,
		},
	},
	{
		name: "trust_unsynced", invariant: "I1", effect: "segments are removed on the word of savepoints that are not synced to disk", by: pipeline,
		edit: edit{
			file:        "storage/remote/delivery/savepointwriter.go",
			anchor:      `s.store.WriteEncoded(data, durable)`,
			replacement: `s.store.WriteEncoded(data, durable && !defect("trust_unsynced"))`,
		},
	},
	{
		name: "mark_ahead", invariant: "I2", effect: "a savepoint says that all that was read was acknowledged", by: pipeline,
		edit: edit{
			file:        "storage/remote/delivery/internal/queue/queue.go",
			anchor:      `case part.entries.len() > 0:`,
			replacement: `case part.entries.len() > 0 && !defect("mark_ahead"):`,
		},
	},
	{
		name: "forget_retired", invariant: "I3", effect: "series that left memory are not found in the snapshot", by: pipeline,
		edit: edit{
			file:   "tsdb/agent/durable/snapshotter.go",
			anchor: `return s.store.Resolve(ref)`,
			replacement: `if defect("forget_retired") {
			return labels.EmptyLabels(), false, nil
		}
		return s.store.Resolve(ref)`,
		},
	},
	{
		name: "retry_reversed", invariant: "I4", effect: "a request is sent in the opposite order when it is sent again", by: pipeline,
		edit: edit{
			file: "storage/remote/delivery/deliver.go",
			anchor: `	if d.request != nil && set == d.packed && set.queue.SampleAgeLimit == 0 {
`,
			replacement: `	if d.attempt > 0 && defect("retry_reversed") {
		d.sender.list(d.packed, &d.work)
		for i, j := 0, len(d.work.items)-1; i < j; i, j = i+1, j-1 {
			d.work.items[i], d.work.items[j] = d.work.items[j], d.work.items[i]
		}
		d.request = nil
	}
	if d.request != nil && set == d.packed && set.queue.SampleAgeLimit == 0 {
`,
		},
	},
	{
		name: "no_replay_range", invariant: "I8", effect: "after a crash nothing counts as perhaps sent before", by: pipeline,
		edit: edit{
			file:   "storage/remote/delivery/stream.go",
			anchor: `if head := e.src.Head(); head.Before(s.replayEnd) {`,
			replacement: `if defect("no_replay_range") {
			s.replayEnd = cursor.Position{}
		}
		if head := e.src.Head(); head.Before(s.replayEnd) {`,
		},
	},
	{
		name: "send_unmarked", invariant: "I8", effect: "samples are sent before the dispatch watermark is on the disk", by: pipeline,
		edit: edit{
			file:        "storage/remote/delivery/positions.go",
			anchor:      `if !d.durable.Before(end) {`,
			replacement: `if !d.durable.Before(end) || defect("send_unmarked") {`,
		},
	},
	{
		name: "skip_replay_range", invariant: "I8", effect: "after a crash delivery resumes at the dispatch watermark", by: pipeline,
		edit: edit{
			file:   "storage/remote/delivery/stream.go",
			anchor: `s.cursor.pos = lowest(acked).Point`,
			replacement: `s.cursor.pos = lowest(acked).Point
		if defect("skip_replay_range") {
			s.cursor.pos = cursor.Point{Position: s.replayEnd}
		}`,
		},
	},
	{
		name: "fresh_floor", invariant: "I1", effect: "segments are removed that only the backlog needs", by: twoRanges,
		edit: edit{
			file:   "storage/remote/delivery/savepointwriter.go",
			anchor: `s.src.Gate.Set(gate.Holder{ID: st.id, Name: st.name, Position: st.neededFrom()})`,
			replacement: `needed := st.neededFrom()
		if st.fresh != nil && defect("fresh_floor") {
			needed = lowest(st.fresh.acked).Position
		}
		s.src.Gate.Set(gate.Holder{ID: st.id, Name: st.name, Position: needed})`,
		},
	},
	{
		name: "merge_early", invariant: "I2", effect: "the backlog counts as delivered when it was read", by: twoRanges,
		edit: edit{
			file:   "storage/remote/delivery/fresh.go",
			anchor: `return bounded && s.queue.Done(until.Position)`,
			replacement: `if defect("merge_early") {
			return bounded && !s.cursor.start().Before(until.Position)
		}
		return bounded && s.queue.Done(until.Position)`,
		},
	},
}
