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
	// Waiting entries need lines that one in conflict would bring.
	Waiting State = "waiting"
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
	var (
		r     Result
		lost  hook.Lost
		laid  = map[string]bool{}
		shown = tree.Tree{}
	)
	for i := range entries {
		p := piece{entry: &entries[i], was: was, now: now, brought: ours.Of(&entries[i]), laid: laid, lost: &lost, shown: shown}
		if was != nil {
			was = p.before()
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
	r.Dirs, r.Tree = slices.Compact(r.Dirs), maps.Clone(now)
	maps.Copy(r.Tree, shown)
	return r, nil
}

// piece is one entry on its way.
type piece struct {
	entry    *series.Entry
	was, now tree.Tree
	brought  tree.Tree
	edited   tree.Tree       // Upstream's files after the entry, on the old base.
	laid     map[string]bool // Files of entries before it in now.
	lost     *hook.Lost
	// shown are the files with the marks of a merge. now has what fits of them
	// without, so that entries after it can be tried.
	shown tree.Tree

	result  tree.Tree
	changed tree.Tree // Files of upstream that the result changes.
	has     int       // Parts that upstream has.
	fits    int       // Parts that can be applied.
	notes   []string
	failed  bool
}

func (p *piece) note(format string, args ...any) {
	if note := fmt.Sprintf(format, args...); !slices.Contains(p.notes, note) {
		p.notes = append(p.notes, note)
	}
}

func (p *piece) state() State {
	switch {
	case p.failed || p.has > 0 && p.fits > 0:
		return Conflict
	case p.lost.Waiting[p.entry.Name] != "":
		return Waiting
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
	if by := p.lost.Waiting[p.entry.Name]; by != "" {
		f.Notes = append(f.Notes, "it needs what hooks of "+by+" would bring, and is tried when those are resolved")
	}
	return f
}

// hooked returns the files that the entry edits, in the order of its hooks, and its
// hooks for each.
func (p *piece) hooked() (files []string, hooks map[string]*hook.Entry) {
	hooks = map[string]*hook.Entry{}
	for _, h := range p.entry.Hooks {
		if hooks[h.File] == nil {
			files = append(files, h.File)
			hooks[h.File] = &hook.Entry{Name: p.entry.Name}
		}
		hooks[h.File].Hooks = append(hooks[h.File].Hooks, h)
	}
	return files, hooks
}

// before notes what the entry made of upstream's files on the old base, and returns
// that as it is behind the entry. Hooks that do not fit there are resolved for the new
// one; of their files it is not known what they made.
func (p *piece) before() tree.Tree {
	next := maps.Clone(p.was)
	p.edited = tree.Tree{}
	for name, f := range p.brought {
		if _, theirs := next[name]; !theirs {
			next[name] = f
		}
	}
	files, hooks := p.hooked()
	for _, name := range files {
		out, errs := hooks[name].Fit(p.was.Read, &hook.Lost{})
		text, ok := out[name]
		if !ok {
			continue
		}
		next.Set(name, text)
		if len(errs) == 0 {
			p.edited[name] = next[name]
		}
	}
	return next
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
	files, hooks := p.hooked()
	for _, name := range files {
		if err := p.edit(ctx, name, hooks[name]); err != nil {
			return err
		}
	}
	return nil
}

// edit does what the entry's hooks want in one file of upstream.
func (p *piece) edit(ctx context.Context, name string, hooks *hook.Entry) error {
	there, ok := p.now[name]
	if !ok {
		waits := true
		for i := range hooks.Hooks {
			waits = p.lost.Needs(p.entry.Name, &hooks.Hooks[i]) && waits
			p.lost.Add(p.entry.Name, &hooks.Hooks[i])
		}
		if !waits {
			p.failed = true
			p.note("%s is gone from upstream%s", name, p.renamed(hooks.Hooks))
		}
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
	edited, errs := hooks.Fit(p.now.Read, p.lost)
	if text, ok := edited[name]; ok {
		p.set(name, text)
	}
	if len(errs) == 0 && share < maybeTaken {
		p.fits++
		return p.show(ctx, name)
	}
	p.failed = true
	if share >= maybeTaken {
		p.note("upstream may have a part of it in %s, %d %% of what the entry changes: look whether it is still needed", name, percent(share))
	}
	p.noteErrors(errs, there.Data)
	switch {
	case merged == nil && p.was != nil && len(errs) > 0:
		p.note("%s cannot be merged three ways, for the hooks do not fit the present base either", name)
	case merged == nil:
	case clean:
		p.set(name, merged)
		p.note("a three-way merge of the last state of %s fits; the tree has it", name)
		return p.show(ctx, name)
	default:
		p.note("%s in the tree has the conflict marks of a three-way merge", name)
		if _, marked := p.shown[name]; marked {
			return p.show(ctx, name)
		}
		p.shown.Set(name, merged)
	}
	return nil
}

// noteErrors notes for each hook that does not fit what is nearest to its anchor. That
// they are the entry's, everything says.
func (p *piece) noteErrors(errs []error, now []byte) {
	for _, err := range errs {
		anchors := hook.Anchors(err)
		if len(anchors) == 0 {
			p.note("%s", strings.TrimPrefix(err.Error(), p.entry.Name+": "))
		}
		for _, anchor := range anchors {
			near := nearest(anchor, now)
			if near != "" {
				near = "\nnearest to it now: " + near
			}
			p.note("%s%s", anchor.Place(), near)
		}
	}
}

// show brings the entry's change into a file that is shown with the marks of an
// earlier one.
func (p *piece) show(ctx context.Context, name string) error {
	marked, ok := p.shown[name]
	if !ok {
		return nil
	}
	merged, _, err := p.merge(ctx, name, marked.Data)
	if merged == nil {
		p.note("%s in the tree, with its conflict marks, does not have what this entry changes", name)
		return err
	}
	p.shown.Set(name, merged)
	return err
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
