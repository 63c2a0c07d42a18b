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

package main

import (
	"errors"
	"maps"
	"path/filepath"
	"time"

	"github.com/ackwal/ackwal/scripts/sync/series"
	"github.com/ackwal/ackwal/scripts/sync/tree"
)

// base is a tree of upstream's, and what it is.
type base struct {
	tree tree.Tree
	// origin says it for people.
	origin string
	// when is the time of the commit or version. Commits made on it have it
	// too, so that they are the same whenever they are made.
	when time.Time
}

func project(o options) series.Project {
	return series.Project{Root: o.root, Dirs: ourDirs, Module: ourModule, Upstream: upstreamModule}
}

// loaded is the series of this project with the files of ours.
type loaded struct {
	entries []series.Entry
	ours    series.Ours
}

func load(o options) (loaded, error) {
	entries, err := series.Load(filepath.Join(o.root, "patches"))
	if err != nil {
		return loaded{}, err
	}
	ours, err := project(o).Read(entries)
	return loaded{entries, ours}, err
}

// covered refuses a series that does not bring every file of ours exactly once:
// what is split from it would not be what is built.
func (l loaded) covered() error {
	return errors.Join(series.Cover(l.entries, l.ours)...)
}

// on makes files of ours fit an older release line of upstream, if patches says
// how, and tells which that is.
func (l loaded) on(o options, b base) (loaded, string, error) {
	version, err := b.tree.Read("VERSION")
	if err != nil {
		return l, "", nil //nolint:nilerr // A tree without one is of no release line.
	}
	line, err := series.LoadBase(filepath.Join(o.root, "patches"), string(version))
	if err != nil || line == nil {
		return l, "", err
	}
	if l.ours, err = l.ours.On(line); err != nil {
		return l, "", err
	}
	l.entries, err = line.Entries(l.entries)
	return l, line.Name, err
}

// fork puts the whole tree together in memory. Files of ours that no entry
// lists yet are laid in too, so that one can build while writing them.
func fork(o options) (tree.Tree, string, error) {
	b, err := stock(o)
	if err != nil {
		return nil, "", err
	}
	l, err := load(o)
	if err != nil {
		return nil, "", err
	}
	l, _, err = l.on(o, b)
	if err != nil {
		return nil, "", err
	}
	steps, err := series.Compose(b.tree, l.entries, l.ours)
	if err != nil {
		return nil, "", err
	}
	t := maps.Clone(l.ours.Files)
	maps.Copy(t, steps[len(steps)-1].Tree)
	return t, b.origin, nil
}
