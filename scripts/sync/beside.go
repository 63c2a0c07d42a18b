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
	"fmt"
	"go/parser"
	"go/token"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/grafana/regexp"

	"github.com/ackwal/ackwal/scripts/sync/tree"
)

// changelog is upstream's. What it says of one of these subjects may ask for
// something that no test of ours knows of yet.
const changelog = "CHANGELOG.md"

var subjects = regexp.MustCompile(`(?i)\b(agent|remote[- ]?(write|storage|read)|queue manager|PRW|RW ?[12]|WAL|wlog|write-ahead|checkpoints?|exemplars?|metadata|NHCBs?|start timestamps?)\b`)

// beside tells which files of upstream that ours are next to, use or edit are
// other than before, and what upstream's changelog says of them.
func beside(ctx context.Context, o options, l loaded, was, now tree.Tree) error {
	changed, err := l.neighbours(ctx, was, now)
	if err != nil {
		return err
	}
	if len(changed) > 0 {
		fmt.Fprintf(o.stdout, "Files of upstream that ours are next to, use or edit, and that have changed (%d). Is there something that ours should do as well?\n", len(changed))
	}
	for _, line := range changed {
		fmt.Fprintf(o.stdout, "  %s\n", line)
	}
	gained, lost := changelogOf(was[changelog].Data, now[changelog].Data)
	for _, part := range []struct {
		about string
		lines []string
	}{
		{"Upstream's changelog says meanwhile, of the agent, remote write and the WAL:", gained},
		{"What upstream's changelog said of them and this version does not have:", lost},
	} {
		if len(part.lines) > 0 {
			fmt.Fprintln(o.stdout, part.about)
		}
		for _, line := range part.lines {
			fmt.Fprintf(o.stdout, "  %s\n", line)
		}
	}
	return nil
}

// neighbours lists changed files: below the directories that ours lie in, of
// the packages that ours import, and those that hooks edit. Tests are left out.
func (l loaded) neighbours(ctx context.Context, was, now tree.Tree) ([]string, error) {
	near, err := l.near()
	if err != nil {
		return nil, err
	}
	before, after := tree.Tree{}, tree.Tree{}
	kinds := map[string]string{}
	for name := range union(was, now) {
		if !near(name) {
			continue
		}
		old, had := was[name]
		f, has := now[name]
		if had && has && bytes.Equal(old.Data, f.Data) {
			continue
		}
		kinds[name] = "changed"
		if had {
			before[name] = old
		} else {
			kinds[name] = "new"
		}
		if has {
			after[name] = f
		} else {
			kinds[name] = "gone"
		}
	}
	counts, err := counted(ctx, before, after)
	if err != nil {
		return nil, err
	}
	var list []string
	for name, kind := range kinds {
		list = append(list, fmt.Sprintf("%-7s %s %s", kind, name, counts[name]))
	}
	slices.SortFunc(list, func(a, b string) int { return strings.Compare(strings.Fields(a)[1], strings.Fields(b)[1]) })
	return list, nil
}

func union(a, b tree.Tree) map[string]bool {
	all := map[string]bool{}
	for _, t := range []tree.Tree{a, b} {
		for name := range t {
			all[name] = true
		}
	}
	return all
}

// near tells of a file whether ours have to do with it.
func (l loaded) near() (func(name string) bool, error) {
	used, hooked := map[string]bool{}, map[string]bool{}
	for name, f := range l.ours.Files {
		if !isSource(name) {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), name, f.Data, parser.ImportsOnly)
		if err != nil {
			return nil, err
		}
		for _, spec := range parsed.Imports {
			target, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return nil, err
			}
			if dir, ok := strings.CutPrefix(target, upstreamModule+"/"); ok {
				used[dir] = true
			}
		}
	}
	for _, e := range l.entries {
		for _, h := range e.Hooks {
			hooked[h.File] = true
		}
	}
	return func(name string) bool {
		if hooked[name] {
			return true
		}
		below := slices.ContainsFunc(ourDirs, func(dir string) bool { return strings.HasPrefix(name, dir+"/") })
		return isSource(name) && (below || used[path.Dir(name)])
	}, nil
}

func isSource(name string) bool {
	return strings.HasSuffix(name, ".go") && !strings.HasSuffix(name, "_test.go") && !strings.Contains("/"+name, "/testdata/")
}

// counted counts the lines that were added to and removed from each file.
func counted(ctx context.Context, before, after tree.Tree) (map[string]string, error) {
	text, err := compared(ctx, before, after, "--numstat", "-z", "--no-renames")
	if err != nil {
		return nil, err
	}
	counts := map[string]string{}
	// Without the name of a side: "added TAB removed TAB NUL a/name NUL b/name NUL".
	fields := strings.Split(string(text), "\x00")
	for i := 0; i < len(fields); i++ {
		parts := strings.SplitN(fields[i], "\t", 3)
		if len(parts) < 3 {
			continue
		}
		name := parts[2]
		for name == "" && i+2 < len(fields) {
			name = fields[i+1]
			if name == "/dev/null" {
				name = fields[i+2]
			}
			i += 2
		}
		if _, rest, ok := strings.Cut(name, "/"); ok {
			counts[rest] = "+" + parts[0] + " -" + parts[1]
		}
	}
	return counts, nil
}

// changelogOf returns the lines on our subjects that one version of the
// changelog has and the other has not, below the versions that they are under.
func changelogOf(was, now []byte) (gained, lost []string) {
	return entriesBeyond(now, was), entriesBeyond(was, now)
}

func entriesBeyond(text, other []byte) (lines []string) {
	known := map[string]bool{}
	for line := range bytes.Lines(other) {
		known[strings.TrimSpace(string(line))] = true
	}
	heading, shown := "", ""
	for line := range bytes.Lines(text) {
		s := strings.TrimSpace(string(line))
		if rest, ok := strings.CutPrefix(s, "## "); ok {
			heading = rest
			continue
		}
		if known[s] || !strings.HasPrefix(s, "- ") && !strings.HasPrefix(s, "* ") || !subjects.MatchString(s) {
			continue
		}
		if heading != shown {
			shown = heading
			lines = append(lines, heading)
		}
		lines = append(lines, s)
	}
	return lines
}
