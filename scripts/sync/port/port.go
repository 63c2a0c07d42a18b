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

package port

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/ackwal/ackwal/scripts/sync/hook"
	"github.com/ackwal/ackwal/scripts/sync/series"
	"github.com/ackwal/ackwal/scripts/sync/tree"
)

// State is what became of an entry.
type State string

// The states.
const (
	// Clean entries apply as they are.
	Clean State = "clean"
	// Obsolete entries are in upstream by now and are left out.
	Obsolete State = "obsolete"
	// Conflict needs a human.
	Conflict State = "conflict"
)

// oursSuffix ends the name of our file where upstream has one of that name.
const oursSuffix = ".ours"

// Finding is the state of one entry.
type Finding struct {
	Entry string
	State State
	// Notes tell what was found where.
	Notes []string
}

// Result is a series on another base.
type Result struct {
	Findings []Finding
	// Tree is the new base with everything that fits.
	Tree tree.Tree
	// Dirs are the directories of the Go files that entries changed in it.
	Dirs []string
}

// Count returns how many entries are in a state.
func (r Result) Count(s State) (n int) {
	for _, f := range r.Findings {
		if f.State == s {
			n++
		}
	}
	return n
}

// Blame makes an entry that applied one in conflict: it does not compile.
func (r *Result) Blame(entry, note string) {
	for i := range r.Findings {
		if f := &r.Findings[i]; f.Entry == entry && !slices.Contains(f.Notes, note) {
			f.State = Conflict
			f.Notes = append(f.Notes, note)
		}
	}
}

// Series puts a series on the tree now. was is the tree it fitted, nil if that
// is not known; less is recognised then. Both stay as they are.
func Series(ctx context.Context, was, now tree.Tree, entries []series.Entry, ours series.Ours) (Result, error) {
	var r Result
	laid := map[string]bool{}
	for i := range entries {
		p := piece{entry: &entries[i], was: was, now: now, brought: ours.Of(&entries[i]), laid: laid}
		if was != nil {
			if step, err := series.Apply(was, &entries[i], ours); err == nil {
				p.edited, was = step.Edited, step.Tree
			} else {
				// The old base does not fit either, so it tells nothing.
				p.was, was = nil, nil
			}
		}
		if err := p.place(ctx); err != nil {
			return Result{}, fmt.Errorf("%s: %w", entries[i].Name, err)
		}
		r.Findings = append(r.Findings, p.finding())
		if p.state() != Obsolete {
			now = p.result
			for name := range p.brought {
				laid[name] = true
			}
			step := series.Step{Brought: p.brought, Edited: p.changed}
			r.Dirs = append(r.Dirs, step.Dirs()...)
		}
	}
	slices.Sort(r.Dirs)
	r.Dirs, r.Tree = slices.Compact(r.Dirs), now
	return r, nil
}

// piece is one entry on its way.
type piece struct {
	entry    *series.Entry
	was, now tree.Tree
	brought  tree.Tree
	edited   tree.Tree       // Upstream's files after the entry, on the old base.
	laid     map[string]bool // Files of entries before it in now.

	result  tree.Tree
	changed tree.Tree // Files of upstream that the result changes.
	has     int       // Parts that upstream has.
	fits    int       // Parts that can be applied.
	notes   []string
	failed  bool
}

func (p *piece) note(format string, args ...any) {
	p.notes = append(p.notes, fmt.Sprintf(format, args...))
}

func (p *piece) state() State {
	switch {
	case p.failed || p.has > 0 && p.fits > 0:
		return Conflict
	case p.has > 0:
		return Obsolete
	}
	return Clean
}

func (p *piece) finding() Finding {
	f := Finding{Entry: p.entry.Name, State: p.state(), Notes: p.notes}
	if f.State == Conflict && !p.failed {
		f.Notes = append(f.Notes, fmt.Sprintf("upstream has %d of its %d parts", p.has, p.has+p.fits))
	}
	return f
}

// place puts each file of the entry into the result.
func (p *piece) place(ctx context.Context) error {
	p.result, p.changed = maps.Clone(p.now), tree.Tree{}
	for _, name := range p.brought.Paths() {
		there, isThere := p.now[name]
		switch {
		case !isThere:
			if other := p.moved(name); other != "" {
				p.has++
				p.note("%s looks like upstream's %s; theirs is kept, ours is beside it in the tree if the entry is still needed", name, other)
				p.result[name+oursSuffix] = p.brought[name]
				continue
			}
			p.fits++
			p.result[name] = p.brought[name]
		case bytes.Equal(there.Data, p.brought[name].Data):
			p.has++
		default:
			p.has++
			p.note("%s is in upstream with other content; theirs is kept, ours is beside it in the tree if the entry is still needed", name)
			p.result[name+oursSuffix] = p.brought[name]
		}
	}
	var files []string
	for _, h := range p.entry.Hooks {
		if !slices.Contains(files, h.File) {
			files = append(files, h.File)
		}
	}
	for _, name := range files {
		if err := p.edit(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

// edit does what the entry's hooks want in one file of upstream.
func (p *piece) edit(ctx context.Context, name string) error {
	hooks := hook.Entry{Name: p.entry.Name}
	for _, h := range p.entry.Hooks {
		if h.File == name {
			hooks.Hooks = append(hooks.Hooks, h)
		}
	}
	there, ok := p.now[name]
	if !ok {
		p.failed = true
		p.note("%s is gone from upstream%s", name, p.renamed(hooks.Hooks))
		return nil
	}
	merged, clean, err := p.merge(ctx, name, there.Data)
	if err != nil {
		return err
	}
	if merged != nil && clean && bytes.Equal(merged, there.Data) || p.landed(hooks.Hooks, there.Data) {
		p.has++
		return nil
	}
	share := p.share(name, there.Data)
	if share >= taken {
		p.has++
		p.note("upstream has it in %s with edits, %d %% of what the entry changes; theirs is kept", name, percent(share))
		return nil
	}
	edited, err := hooks.Apply(p.now.Read)
	if err == nil && share < maybeTaken {
		p.fits++
		p.set(name, edited[name])
		return nil
	}
	p.failed = true
	if share >= maybeTaken {
		p.note("upstream may have a part of it in %s, %d %% of what the entry changes: look whether it is still needed", name, percent(share))
	}
	if err != nil {
		p.note("%v", err)
	}
	for _, anchor := range hook.Anchors(err) {
		if near := nearest(anchor, there.Data); near != "" {
			p.note("nearest to %s now: %s", strings.TrimSpace(anchor.Anchor), near)
		}
	}
	if merged != nil {
		p.set(name, merged)
		if clean {
			p.note("a three-way merge of the last state of %s fits; the tree has it", name)
		} else {
			p.note("%s in the tree has the conflict marks of a three-way merge", name)
		}
	}
	return nil
}

// share tells how much of the entry's change of a file upstream has, see towards.
func (p *piece) share(name string, now []byte) float64 {
	edited, ok := p.edited[name]
	if p.was == nil || !ok {
		return -1
	}
	return towards(name, p.was[name].Data, edited.Data, now)
}

// percent is a share as one of the words that the entry changes.
func percent(share float64) int { return int((share+1)*50 + 0.5) }

func (p *piece) set(name string, data []byte) {
	p.result.Set(name, data)
	p.changed[name] = p.result[name]
}
