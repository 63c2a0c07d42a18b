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
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/ackwal/ackwal/scripts/sync/tree"
)

// movePin makes every go.mod of ours that requires upstream require a version
// of it, with the dependencies which that version names: what is built here is
// what is built in the fork tree, and what is built is named after it. If that cannot
// be done, nothing has changed.
func movePin(ctx context.Context, o options, version string, next tree.Tree) (err error) {
	mods, err := requiring(o.root)
	if err != nil {
		return err
	}
	gomod, err := next.Read("go.mod")
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "ackwal-rebase-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "go.mod")
	if err := os.WriteFile(file, gomod, 0o666); err != nil {
		return err
	}
	theirs, err := requirements(file)
	if err != nil {
		return err
	}
	theirs[upstreamModule] = version

	kept := map[string][]byte{}
	defer func() {
		if err == nil {
			return
		}
		for name, data := range kept {
			err = errors.Join(err, putBack(name, data))
		}
	}()
	for _, mod := range mods {
		for _, name := range []string{mod, strings.TrimSuffix(mod, "mod") + "sum"} {
			data, err := os.ReadFile(name)
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			kept[name] = data
		}
		ours, err := requirements(mod)
		if err != nil {
			return err
		}
		edit := []string{"mod", "edit"}
		for path := range ours {
			if v, ok := theirs[path]; ok {
				edit = append(edit, "-require="+path+"@"+v)
			}
		}
		steps := [][]string{edit, {"mod", "tidy"}}
		// Where a directory is taken for upstream, such as the assembled fork, the
		// version is only a name. Such a module says what a user would write;
		// what it needs besides is filled in where it is built.
		replaced, err := replaces(mod)
		if err != nil {
			return err
		}
		if replaced {
			steps = steps[:1]
		}
		for _, args := range steps {
			in := o
			in.out = filepath.Dir(mod)
			if err := quietly(ctx, in, nil, args); err != nil {
				return fmt.Errorf("%s: %w", mod, err)
			}
		}
	}
	return moveVersion(o.root, next)
}

// moveVersion has versionFile name another version of upstream, with the first of ours
// on it.
func moveVersion(root string, next tree.Tree) error {
	upstreams, err := next.Read("VERSION")
	if err != nil {
		return err
	}
	name := filepath.Join(root, filepath.FromSlash(versionFile))
	named, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	was, ours, _ := strings.Cut(strings.TrimSpace(string(named)), "+")
	now := strings.TrimSpace(string(upstreams))
	if was == now {
		return nil
	}
	return os.WriteFile(name, []byte(now+"+"+strings.TrimRight(ours, "0123456789")+"1\n"), 0o666)
}

// replaces tells whether a go.mod has a directory in the place of upstream.
func replaces(file string) (bool, error) {
	var mod struct {
		Replace []struct {
			Old, New struct{ Path, Version string }
		}
	}
	if err := goJSON(filepath.Dir(file), &mod, "mod", "edit", "-json", file); err != nil {
		return false, err
	}
	for _, r := range mod.Replace {
		if r.Old.Path == upstreamModule && r.New.Version == "" {
			return true, nil
		}
	}
	return false, nil
}

func putBack(name string, data []byte) error {
	if data == nil {
		if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	}
	return os.WriteFile(name, data, 0o666)
}

// requiring finds the go.mod files of this repository that require upstream.
func requiring(root string) (mods []string, err error) {
	err = filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && name != root && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata" || name == filepath.Join(root, "build")):
			return fs.SkipDir
		case d.Name() != "go.mod":
			return nil
		}
		requires, err := requirements(name)
		if _, ok := requires[upstreamModule]; ok {
			mods = append(mods, name)
		}
		return err
	})
	if err == nil && len(mods) == 0 {
		err = fmt.Errorf("no go.mod in %s requires %s", root, upstreamModule)
	}
	return mods, err
}
