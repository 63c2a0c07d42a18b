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
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/ackwal/ackwal/scripts/sync/hook"
)

// basesDir is where the patches directory says what it takes to be on an older
// release line of upstream, one file for each, such as 3.15.yaml.
const basesDir = "bases"

// Base is what files of ours are without, or are otherwise, on a release line of
// upstream that lacks something they use.
type Base struct {
	// Name is that of the release line, such as 3.15.
	Name string `yaml:"-"`
	// Why tells what is not there.
	Why string `yaml:"why"`
	// Like names a later line: what is said of that holds here as well, and what
	// is said here comes on top.
	Like string `yaml:"like"`
	// Without are entries that are about what is not there.
	Without []string `yaml:"without"`
	// LeaveOut are files of ours that are about just that.
	LeaveOut []string `yaml:"leave-out"`
	// Hooks are edits of files of ours.
	Hooks []hook.Hook `yaml:"hooks"`
}

// LoadBase returns what patches says of the release line of a version, such as
// 3.15.1, and nil if that needs nothing.
func LoadBase(dir, version string) (*Base, error) {
	parts := strings.SplitN(strings.TrimSpace(version), ".", 3)
	if len(parts) < 3 {
		return nil, nil
	}
	b, err := loadLine(dir, parts[0]+"."+parts[1])
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil || b.Like == "" {
		return b, err
	}
	like, err := loadLine(dir, b.Like)
	if err == nil && like.Like != "" {
		err = errors.New("it is like another one itself")
	}
	if err != nil {
		return nil, fmt.Errorf("%s/%s is like %s: %w", basesDir, b.Name, b.Like, err)
	}
	b.Without = slices.Concat(like.Without, b.Without)
	b.LeaveOut = slices.Concat(like.LeaveOut, b.LeaveOut)
	b.Hooks = slices.Concat(like.Hooks, b.Hooks)
	return b, nil
}

// loadLine reads what is said of one release line.
func loadLine(dir, name string) (*Base, error) {
	b := &Base{Name: name}
	file := filepath.Join(dir, basesDir, name+extension)
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	dec := yaml.NewDecoder(bytes.NewReader(text))
	dec.KnownFields(true)
	if err := dec.Decode(b); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if strings.TrimSpace(b.Why) == "" {
		return nil, fmt.Errorf("%s: why is missing", file)
	}
	for i := range b.Hooks {
		if err := b.Hooks[i].Complete(); err != nil {
			return nil, fmt.Errorf("%s: hook %d: %w", file, i+1, err)
		}
	}
	return b, nil
}

// Entries returns those that are of use on that release line.
func (b *Base) Entries(all []Entry) ([]Entry, error) {
	for _, name := range b.Without {
		if _, err := Find(all, name); err != nil {
			return nil, fmt.Errorf("%s/%s: %w", basesDir, b.Name, err)
		}
	}
	return slices.DeleteFunc(slices.Clone(all), func(e Entry) bool { return slices.Contains(b.Without, e.Name) }), nil
}

// On returns the files of ours as they are on that release line.
func (o Ours) On(b *Base) (Ours, error) {
	files := maps.Clone(o.Files)
	var errs []error
	for _, name := range b.LeaveOut {
		if _, ok := files[name]; !ok {
			errs = append(errs, fmt.Errorf("%s/%s: there is no file %s to leave out", basesDir, b.Name, name))
		}
		delete(files, name)
	}
	hooks := hook.Entry{Name: basesDir + "/" + b.Name, Hooks: b.Hooks}
	edited, err := hooks.Apply(files.Read)
	if err := errors.Join(append(errs, err)...); err != nil {
		return Ours{}, err
	}
	for name, data := range edited {
		files.Set(name, data)
	}
	return Ours{Files: files, Docs: o.Docs}, nil
}
