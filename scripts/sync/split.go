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
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/ackwal/ackwal/scripts/sync/git"
	"github.com/ackwal/ackwal/scripts/sync/series"
	"github.com/ackwal/ackwal/scripts/sync/tree"
)

const (
	// repository and descriptions are where split puts things below --out,
	// unfinished where a repository is made.
	repository   = "prometheus"
	descriptions = "descriptions"
	unfinished   = ".prometheus.unfinished"
	// baseBranch is upstream's state in a repository made by split.
	baseBranch = "upstream"
)

// composed is a base with the steps of the series on it.
type composed struct {
	base
	loaded

	steps []series.Step
	// alone are the steps of entries that stand alone, each on upstream's tree.
	alone map[string]series.Step
}

// composeAll puts the series on its base. Unlike what assembling allows, every
// file of ours has to be in an entry.
func composeAll(o options) (composed, error) {
	b, err := stock(o)
	if err != nil {
		return composed{}, err
	}
	l, err := load(o)
	if err != nil {
		return composed{}, err
	}
	if err := l.covered(); err != nil {
		return composed{}, err
	}
	l, _, err = l.on(o, b)
	if err != nil {
		return composed{}, err
	}
	steps, err := series.Compose(b.tree, l.entries, l.ours)
	if err != nil {
		return composed{}, err
	}
	for _, s := range steps {
		if len(s.Changed()) == 0 {
			return composed{}, fmt.Errorf("%s changes nothing", s.Entry.Name)
		}
	}
	alone := map[string]series.Step{}
	for i := range l.entries {
		if e := &l.entries[i]; e.Alone {
			if alone[e.Name], err = series.Apply(b.tree, e, l.ours); err != nil {
				return composed{}, fmt.Errorf("%s is to stand alone: %w", e.Name, err)
			}
		}
	}
	return composed{b, l, steps, alone}, nil
}

// commits are the steps as commits of one person, each on a branch of its own.
// Entries that stand alone are stacked too, for what comes after them, but their
// branches are those of aside.
func (c composed) commits(prefix string, who git.Person) []git.Commit {
	var commits []git.Commit
	for _, s := range c.steps {
		commit := c.commit(s, prefix, who)
		if s.Entry.Alone {
			commit.Ref = ""
		}
		commits = append(commits, commit)
	}
	return commits
}

// aside are the commits of entries that stand alone, each on upstream's tree.
func (c composed) aside(prefix string, who git.Person) []git.Commit {
	var commits []git.Commit
	for _, s := range c.steps {
		if s.Entry.Alone {
			commit := c.commit(c.alone[s.Entry.Name], prefix, who)
			commit.Aside = true
			commits = append(commits, commit)
		}
	}
	return commits
}

func (c composed) commit(s series.Step, prefix string, who git.Person) git.Commit {
	return git.Commit{
		Ref: "refs/heads/" + prefix + s.Entry.Name, Message: s.Entry.Message(who.String()),
		Author: who, When: c.when, Changes: changes(s.Changed()),
	}
}

func changes(t tree.Tree) []git.Change {
	var list []git.Change
	for _, name := range t.Paths() {
		list = append(list, git.Change{Path: name, Data: t[name].Data, Exec: t[name].Exec})
	}
	return list
}

// split makes the branches and the texts of the pull requests.
func split(ctx context.Context, o options) error {
	if o.onto != "" {
		o.upstream = o.onto
	}
	if err := outside(o); err != nil {
		return err
	}
	if err := git.Named(ctx, o.root, "branch", o.prefix+"0000-entry"); err != nil {
		return fmt.Errorf("--prefix %s: %w", o.prefix, err)
	}
	if o.onto == "" && strings.HasPrefix(o.prefix, baseBranch+"/") {
		return fmt.Errorf("--prefix %s: there is a branch %s, below which git cannot have others", o.prefix, baseBranch)
	}
	who, err := git.Identity(ctx, identityDir(o))
	if err != nil {
		return err
	}
	texts := filepath.Join(o.out, descriptions)
	if _, err := tree.LoadManifest(texts); err != nil {
		return err
	}
	c, err := composeAll(o)
	if err != nil {
		return err
	}
	commits := append(c.aside(o.prefix, who), c.commits(o.prefix, who)...)
	where, names, err := c.stack(ctx, o, who, commits)
	if err != nil {
		return err
	}
	pages := tree.Tree{}
	for _, s := range c.steps {
		pages[s.Entry.Name+".md"] = tree.File{Data: []byte(s.Entry.Description(c.entries))}
	}
	if _, err := pages.Write(texts, c.origin); err != nil {
		return failure{err}
	}
	for i, commit := range commits {
		if branch, ok := strings.CutPrefix(commit.Ref, "refs/heads/"); ok {
			fmt.Fprintf(o.stdout, "%.12s %s\n", names[i], branch)
		}
	}
	fmt.Fprintf(o.stdout, "%s: %d branches on %s, %d of them alone, signed off by %s; descriptions in %s. Nothing was pushed.\n", where, len(c.steps), c.origin, len(c.alone), who, texts)
	return nil
}

// stack makes the branches, in the user's checkout or in a repository of our own,
// and tells where that is.
func (c composed) stack(ctx context.Context, o options, who git.Person, commits []git.Commit) (where string, names []string, err error) {
	if o.onto != "" {
		parent, err := git.CleanHead(ctx, o.onto)
		if err != nil {
			return "", nil, err
		}
		names, err = git.Stack(ctx, o.onto, parent, commits)
		return o.onto, names, err
	}
	where = filepath.Join(o.out, repository)
	in := where
	// A new repository gets its name once it is complete: what a killed run leaves
	// behind does not block the next one.
	if entries, err := os.ReadDir(where); errors.Is(err, fs.ErrNotExist) || err == nil && len(entries) == 0 {
		in = filepath.Join(o.out, unfinished)
		if err := os.RemoveAll(in); err != nil {
			return "", nil, err
		}
		defer os.RemoveAll(in)
	}
	parent, err := c.found(ctx, in, o.prefix, who)
	if err != nil {
		return "", nil, err
	}
	if names, err = git.Stack(ctx, in, parent, commits); err != nil || in == where {
		return where, names, err
	}
	if err := show(ctx, in, o.prefix+c.steps[len(c.steps)-1].Entry.Name); err != nil {
		return "", nil, failure{err}
	}
	if err := os.Remove(where); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", nil, failure{err}
	}
	if err := os.Rename(in, where); err != nil {
		return "", nil, failure{err}
	}
	return where, names, nil
}

// identityDir is the repository whose settings name the user.
func identityDir(o options) string {
	if o.onto != "" {
		return o.onto
	}
	return o.root
}

// found makes a repository of its own with upstream's tree as first commit, or
// finds the one that an earlier run made.
func (c composed) found(ctx context.Context, dir, prefix string, who git.Person) (string, error) {
	entries, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist) || err == nil && len(entries) == 0:
		if err := os.MkdirAll(dir, 0o777); err != nil {
			return "", err
		}
		if _, err := git.Isolated(ctx, dir, "init", "--quiet", "--initial-branch="+prefix+c.entries[0].Name); err != nil {
			return "", err
		}
	case err != nil:
		return "", err
	default:
		if _, err := git.CleanHead(ctx, dir); err != nil {
			return "", fmt.Errorf("%w; choose another --out, or remove what is there", err)
		}
	}
	first := git.Commit{
		Ref: "refs/heads/" + baseBranch, Author: who, When: c.when, Changes: changes(c.tree),
		Message: fmt.Sprintf("upstream: %s\n\nThe files of upstream that the changes on top of it start from.\n", c.origin),
	}
	names, err := git.Stack(ctx, dir, "", []git.Commit{first})
	if err != nil {
		return "", err
	}
	return names[0], nil
}

// show checks out a branch in a repository of our own.
func show(ctx context.Context, dir, branch string) error {
	if _, err := git.Isolated(ctx, dir, "symbolic-ref", "HEAD", "refs/heads/"+branch); err != nil {
		return err
	}
	_, err := git.Isolated(ctx, dir, "reset", "--hard", "--quiet")
	return err
}

// assembleOnto commits the fork tree on a branch of the user's own checkout,
// where a tag makes it a version for a replace directive.
func assembleOnto(ctx context.Context, o options) error {
	if o.branch == "" {
		return errors.New("--onto needs --branch, the name of the branch to make")
	}
	if err := git.Named(ctx, o.root, "branch", o.branch); err != nil {
		return err
	}
	if o.tag != "" {
		if err := git.Named(ctx, o.root, "tag", o.tag); err != nil {
			return err
		}
	}
	o.upstream = o.onto
	who, err := git.Identity(ctx, o.onto)
	if err != nil {
		return err
	}
	b, err := stock(o)
	if err != nil {
		return err
	}
	t, origin, err := fork(o)
	if err != nil {
		return err
	}
	parent, err := git.CleanHead(ctx, o.onto)
	if err != nil {
		return err
	}
	message := "ackwal: durable delivery for agent mode\n\nAll changes of the series in one commit; upstream-sync.sh split makes one of each.\n\nSigned-off-by: " + who.String() + "\n"
	changed := tree.Tree{}
	for name, f := range t {
		if was, ok := b.tree[name]; !ok || was.Exec != f.Exec || !bytes.Equal(was.Data, f.Data) {
			changed[name] = f
		}
	}
	commit := git.Commit{Ref: "refs/heads/" + o.branch, Message: message, Author: who, When: b.when, Changes: changes(changed)}
	if o.tag != "" {
		// The tag comes second, so it must be known to be free first, or to be
		// the one of an earlier run with the same outcome.
		there, err := git.Resolve(ctx, o.onto, "refs/tags/"+o.tag)
		if err != nil {
			return err
		}
		branch, err := git.Resolve(ctx, o.onto, commit.Ref)
		if err != nil {
			return err
		}
		if there != "" && there != branch {
			return fmt.Errorf("%s has a tag %s already: delete it or choose another --tag", o.onto, o.tag)
		}
	}
	names, err := git.Stack(ctx, o.onto, parent, []git.Commit{commit})
	if err != nil {
		return err
	}
	if o.tag != "" {
		if err := git.Create(ctx, o.onto, "refs/tags/"+o.tag, names[0]); err != nil {
			return err
		}
	}
	fmt.Fprintf(o.stdout, "%s: branch %s is %s with our directories and hooks (%.12s). Nothing was pushed.\n", o.onto, o.branch, origin, names[0])
	return nil
}
