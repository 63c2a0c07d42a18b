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
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/ackwal/ackwal/scripts/sync/git"
	"github.com/ackwal/ackwal/scripts/sync/tree"
)

// formatPatch makes the same bytes of a commit for every user on every machine:
// they do not depend on commit hashes, the version of git, or settings.
var formatPatch = []string{
	"format-patch", "--stdout", "--zero-commit", "--no-signature", "--no-numbered", "--keep-subject", "--full-index", "--binary",
	"--no-renames", "--diff-algorithm=myers", "--unified=3", "--no-ext-diff", "--no-textconv", "--src-prefix=a/", "--dst-prefix=b/",
	"--no-attach", "--no-thread", "--no-cover-letter", "--no-stat", "-p",
}

// export writes the series as files for git am.
func export(ctx context.Context, o options) error {
	if err := outside(o); err != nil {
		return err
	}
	if _, err := tree.LoadManifest(o.out); err != nil {
		return err
	}
	who, err := git.Identity(ctx, o.root)
	if err != nil {
		return err
	}
	c, err := composeAll(o)
	if err != nil {
		return err
	}
	files, err := c.patches(ctx, who)
	if err != nil {
		return failure{err}
	}
	changed, err := files.Write(o.out, c.origin)
	if err != nil {
		return failure{err}
	}
	fmt.Fprintf(o.stdout, "%s: %d patches for %s (%d written, %d removed, %d as before)\n", o.out, len(files), c.origin, changed.Written, changed.Removed, changed.Same)
	return nil
}

func (c composed) patches(ctx context.Context, who git.Person) (tree.Tree, error) {
	dir, err := os.MkdirTemp("", "ackwal-export-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	parent, err := c.found(ctx, filepath.Join(dir, repository), "", who)
	if err != nil {
		return nil, err
	}
	names, err := git.Stack(ctx, filepath.Join(dir, repository), parent, c.commits("", who))
	if err != nil {
		return nil, err
	}
	files := tree.Tree{}
	for i, s := range c.steps {
		text, err := git.Isolated(ctx, filepath.Join(dir, repository), append(formatPatch, "-1", names[i])...)
		if err != nil {
			return nil, err
		}
		if len(text) == 0 {
			return nil, fmt.Errorf("%s gave an empty patch", s.Entry.Name)
		}
		files[s.Entry.Name+".patch"] = tree.File{Data: text}
	}
	if len(files) == 0 {
		// An export of nothing would remove every patch of the last one.
		return nil, errors.New("there is nothing to export")
	}
	return files, nil
}
