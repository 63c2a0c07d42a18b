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
	"io"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/ackwal/ackwal/scripts/sync/hook"
)

// Status says where an entry belongs.
type Status string

// The two kinds of entries.
const (
	// ToSubmit marks a change meant for upstream.
	ToSubmit Status = "to-submit"
	// ForkOnly marks a change that stays here.
	ForkOnly Status = "fork-only"
)

// Entry is one file of the patches directory.
type Entry struct {
	// Name is the file's name without its extension.
	Name string `yaml:"-"`
	// Title is one line in upstream's form, "area: what".
	Title  string `yaml:"title"`
	Status Status `yaml:"status"`

	// Why tells a reviewer what stock lacks and what the change does about it.
	Why string `yaml:"why"`
	// Measured tells how the effect was measured. Changes that claim one on
	// performance must have it.
	Measured string `yaml:"measured"`
	// ReleaseNotes is what upstream's checker of pull requests accepts: NONE,
	// or lines that begin with [FEATURE] and the like.
	ReleaseNotes string `yaml:"release-notes"`
	// Links are lines such as "Part of #17616".
	Links []string `yaml:"links"`

	// Reason says in one line why the change is carried here.
	Reason string `yaml:"reason"`
	// Forwarded is the address of the pull request, "no", or "not-needed".
	Forwarded string `yaml:"forwarded"`
	// AppliedUpstream is the version or commit of upstream that has it.
	AppliedUpstream string `yaml:"applied-upstream"`
	// Alone marks a change of upstream's own files that needs nothing else: its
	// branch begins at upstream's tree. Such entries come first.
	Alone bool `yaml:"alone"`
	// DependsOn names the entries that must be merged before.
	DependsOn []string `yaml:"depends-on"`

	// Files are files of ours, or with a slash at the end all below a
	// directory; they have the same path in upstream's tree.
	Files []string `yaml:"files"`
	// Docs are pages that have another path there.
	Docs  []Doc       `yaml:"docs"`
	Hooks []hook.Hook `yaml:"hooks"`
}

// Doc is a page of this repository and its path in upstream's tree.
type Doc struct {
	From string `yaml:"from"`
	To   string `yaml:"to"`
}

// Parse reads one entry and refuses unknown keys and what is incomplete.
func Parse(name string, text []byte) (Entry, error) {
	e := Entry{Name: name}
	dec := yaml.NewDecoder(bytes.NewReader(text))
	dec.KnownFields(true)
	if err := dec.Decode(&e); err != nil && !errors.Is(err, io.EOF) {
		return Entry{}, err
	}
	for _, text := range []*string{&e.Why, &e.Measured, &e.ReleaseNotes, &e.Reason} {
		*text = strings.TrimSpace(*text)
	}
	return e, e.check()
}

func (e *Entry) check() error {
	area, what, _ := strings.Cut(e.Title, ": ")
	switch {
	case area == "" || what == "" || strings.ContainsAny(e.Title, "\n\r"):
		return fmt.Errorf("title %q must be one line of the form \"area: what\"", e.Title)
	case len(e.Title) > 100:
		return fmt.Errorf("title is %d characters long, at most 100 are read", len(e.Title))
	case e.Status != ToSubmit && e.Status != ForkOnly:
		return fmt.Errorf("status is %q, want %q or %q", e.Status, ToSubmit, ForkOnly)
	case e.Why == "":
		return errors.New("why is missing")
	case e.Reason == "" || strings.Contains(e.Reason, "\n"):
		return errors.New("reason must be one line")
	case e.Forwarded != "no" && e.Forwarded != "not-needed" && !strings.HasPrefix(e.Forwarded, "https://"):
		return fmt.Errorf("forwarded is %q, want \"no\", \"not-needed\" or the address of the pull request", e.Forwarded)
	case e.Status == ForkOnly && e.Forwarded != "not-needed":
		return errors.New("a fork-only entry is not forwarded: set forwarded to not-needed")
	case e.Alone && (e.Status == ForkOnly || len(e.DependsOn) > 0):
		return errors.New("a change that stands alone depends on nothing and does not stay in the fork")
	case len(e.Files)+len(e.Docs)+len(e.Hooks) == 0:
		return errors.New("nothing to do: no files, docs or hooks")
	}
	if err := CheckReleaseNotes(e.ReleaseNotes); err != nil {
		return err
	}
	if strings.Contains(e.ReleaseNotes, "[PERF]") && e.Measured == "" {
		return errors.New("a change for performance must say how it was measured")
	}
	for _, name := range e.Files {
		if !clean(strings.TrimSuffix(name, "/")) {
			return fmt.Errorf("files: %q is not a clean relative path", name)
		}
	}
	for _, d := range e.Docs {
		if !clean(d.From) || !clean(d.To) {
			return fmt.Errorf("docs: %q and %q must be clean relative paths", d.From, d.To)
		}
	}
	for _, link := range e.Links {
		if strings.TrimSpace(link) == "" || strings.Contains(link, "\n") {
			return fmt.Errorf("links: %q is not one line", link)
		}
	}
	for i := range e.Hooks {
		if err := e.Hooks[i].Complete(); err != nil {
			return fmt.Errorf("hook %d: %w", i+1, err)
		}
	}
	return nil
}

func clean(name string) bool {
	return name != "" && path.Clean(name) == name && filepath.IsLocal(filepath.FromSlash(name))
}

// brings tells whether the entry lists a file of ours.
func (e *Entry) brings(name string) bool {
	return slices.ContainsFunc(e.Files, func(f string) bool { return matches(f, name) })
}

func matches(pattern, name string) bool {
	return pattern == name || strings.HasSuffix(pattern, "/") && strings.HasPrefix(name, pattern)
}

// Hooked returns the entry's edits.
func (e *Entry) Hooked() hook.Entry { return hook.Entry{Name: e.Name, Hooks: e.Hooks} }
