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

package series

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/ackwal/ackwal/scripts/sync/hook"
	"github.com/ackwal/ackwal/scripts/sync/tree"
)

// Project is this repository as far as it goes into upstream's tree.
type Project struct {
	Root string
	// Dirs are laid into upstream's tree at the same place.
	Dirs []string
	// Module is our module, whose imports become imports of Upstream.
	Module, Upstream string
}

// Ours are the files of ours as they are in upstream's tree.
type Ours struct {
	// Files are those below the project's directories.
	Files tree.Tree
	// Docs are those that entries take from elsewhere, by the path there.
	Docs tree.Tree
}

// Read reads the files of ours that a series lays into upstream's tree.
func (p Project) Read(entries []Entry) (Ours, error) {
	o := Ours{Files: tree.Tree{}, Docs: tree.Tree{}}
	if err := o.Files.LayIn(p.Root, p.Dirs, p.Module, p.Upstream); err != nil {
		return Ours{}, err
	}
	by := map[string]string{}
	for _, e := range entries {
		for _, d := range e.Docs {
			data, err := os.ReadFile(filepath.Join(p.Root, filepath.FromSlash(d.From)))
			if err != nil {
				return Ours{}, fmt.Errorf("%s: %w", e.Name, err)
			}
			if other, ok := by[d.To]; ok {
				return Ours{}, fmt.Errorf("%s is brought twice, by the docs of %s and of %s: leave one of them", d.To, other, e.Name)
			}
			by[d.To] = e.Name
			o.Docs[d.To] = tree.File{Data: data}
		}
	}
	return o, nil
}

// Of returns the files that an entry brings.
func (o Ours) Of(e *Entry) tree.Tree {
	t := tree.Tree{}
	for name, f := range o.Files {
		if e.brings(name) {
			t[name] = f
		}
	}
	for _, d := range e.Docs {
		t[d.To] = o.Docs[d.To]
	}
	return t
}

// Step is what one entry does to a tree.
type Step struct {
	Entry *Entry
	// Brought are files of ours, Edited files of upstream, as they are after
	// the entry.
	Brought, Edited tree.Tree
	// Tree is the whole tree then.
	Tree tree.Tree
}

// Changed returns the files the step adds or changes.
func (s *Step) Changed() tree.Tree {
	t := maps.Clone(s.Brought)
	maps.Copy(t, s.Edited)
	return t
}

// Dirs returns the directories of the Go files that the step adds or changes,
// in order.
func (s *Step) Dirs() []string {
	var dirs []string
	for name := range s.Changed() {
		if strings.HasSuffix(name, ".go") && !strings.Contains("/"+name, "/testdata/") {
			dirs = append(dirs, path.Dir(name))
		}
	}
	slices.Sort(dirs)
	return slices.Compact(dirs)
}

// Apply makes the step of one entry on a tree, which stays as it is.
func Apply(base tree.Tree, e *Entry, o Ours) (Step, error) {
	s, errs := apply(base, e, o, &hook.Lost{})
	if len(errs) > 0 {
		return Step{}, errors.Join(errs...)
	}
	return s, nil
}

// apply makes the step with what fits, and tells what does not.
func apply(base tree.Tree, e *Entry, o Ours, lost *hook.Lost) (s Step, errs []error) {
	s = Step{Entry: e, Brought: o.Of(e), Edited: tree.Tree{}, Tree: maps.Clone(base)}
	for _, name := range s.Brought.Paths() {
		if _, taken := base[name]; taken {
			errs = append(errs, fmt.Errorf("%s: %s is also a file of upstream: rename ours", e.Name, name))
			continue
		}
		s.Tree[name] = s.Brought[name]
	}
	hooks := e.Hooked()
	edited, bad := hooks.Fit(base.Read, lost)
	for name, data := range edited {
		s.Tree.Set(name, data)
		s.Edited[name] = s.Tree[name]
	}
	return s, append(errs, bad...)
}

// Compose applies all entries in order. If some do not fit, the error names all
// that there is to correct.
func Compose(base tree.Tree, entries []Entry, o Ours) ([]Step, error) {
	if errs := twice(entries, o); len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	steps := make([]Step, len(entries))
	var errs []error
	var lost hook.Lost
	for i := range entries {
		var bad []error
		steps[i], bad = apply(base, &entries[i], o, &lost)
		errs = append(errs, bad...)
		base = steps[i].Tree
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return steps, nil
}
