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
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// ListName is the file in the patches directory that gives the order.
const ListName = "series"

const extension = ".yaml"

// Load reads the entries of a directory in the order of its list. Every entry
// is on the list, and the list names nothing else.
func Load(dir string) ([]Entry, error) {
	list, err := os.ReadFile(filepath.Join(dir, ListName))
	if err != nil {
		return nil, fmt.Errorf("the order of the entries: %w", err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*"+extension))
	if err != nil {
		return nil, err
	}
	var entries []Entry
	for n, line := range strings.Split(string(list), "\n") {
		name := strings.TrimSpace(line)
		if name == "" || strings.HasPrefix(name, "#") {
			continue
		}
		file := filepath.Join(dir, name+extension)
		at := slices.Index(files, file)
		if at < 0 {
			return nil, fmt.Errorf("%s:%d: %s is not there, or named twice", filepath.Join(dir, ListName), n+1, name+extension)
		}
		files = slices.Delete(files, at, at+1)
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		e, err := Parse(name, text)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		entries = append(entries, e)
	}
	if len(files) > 0 {
		return nil, fmt.Errorf("%s is not in %s", files[0], filepath.Join(dir, ListName))
	}
	if len(entries) == 0 {
		return nil, fmt.Errorf("no entries in %s", dir)
	}
	return entries, checkOrder(entries)
}

// checkOrder wants entries before those that depend on them, and those that
// stay here last.
func checkOrder(entries []Entry) error {
	seen := map[string]Status{}
	fork, stacked := "", ""
	for _, e := range entries {
		if e.Alone && stacked != "" {
			return fmt.Errorf("%s stands alone but comes after %s, which does not", e.Name, stacked)
		}
		if !e.Alone {
			stacked = e.Name
		}
		for _, name := range e.DependsOn {
			if _, ok := seen[name]; !ok {
				return fmt.Errorf("%s depends on %s, which is not before it", e.Name, name)
			}
		}
		if e.Status == ForkOnly {
			fork = e.Name
		} else if fork != "" {
			return fmt.Errorf("%s is to be submitted but comes after %s, which is fork-only", e.Name, fork)
		}
		seen[e.Name] = e.Status
	}
	return nil
}

// Find returns the entry of a name.
func Find(entries []Entry, name string) (*Entry, error) {
	for i := range entries {
		if entries[i].Name == name {
			return &entries[i], nil
		}
	}
	return nil, fmt.Errorf("patches has no entry %q", name)
}

var errReleaseNotes = errors.New("release-notes must be NONE, or each line begin with one of [FEATURE], [ENHANCEMENT], [PERF], [BUGFIX], [SECURITY], [CHANGE]")

// CheckReleaseNotes accepts what upstream's scripts/check_release_notes.sh
// accepts between the fences. An entry that goes on in a second line fails
// there, and so it does here.
func CheckReleaseNotes(text string) error {
	text = strings.TrimSpace(text)
	if text == "NONE" {
		return nil
	}
	for line := range strings.Lines(text) {
		kind, rest, ok := strings.Cut(line, "]")
		if strings.TrimSpace(line) == "" {
			continue
		}
		if !ok || strings.TrimSpace(rest) == "" || !slices.Contains([]string{"[FEATURE", "[ENHANCEMENT", "[PERF", "[BUGFIX", "[SECURITY", "[CHANGE"}, kind) {
			return fmt.Errorf("%w, not %q", errReleaseNotes, strings.TrimSpace(line))
		}
	}
	if text == "" || strings.Contains(text, "```") {
		return errReleaseNotes
	}
	return nil
}
