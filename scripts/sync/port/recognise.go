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
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/ackwal/ackwal/scripts/sync/git"
	"github.com/ackwal/ackwal/scripts/sync/hook"
)

// merge brings the entry's change of a file into the file as it is now. It
// returns nil if it is not known what the change was.
func (p *piece) merge(ctx context.Context, name string, now []byte) (merged []byte, clean bool, err error) {
	edited, ok := p.edited[name]
	if p.was == nil || !ok {
		return nil, false, nil
	}
	dir, err := os.MkdirTemp("", "ackwal-merge-")
	if err != nil {
		return nil, false, err
	}
	defer os.RemoveAll(dir)
	for side, data := range map[string][]byte{"now": now, "was": p.was[name].Data, "entry": edited.Data} {
		if err := os.WriteFile(filepath.Join(dir, side), data, 0o666); err != nil {
			return nil, false, err
		}
	}
	merged, err = git.Isolated(ctx, dir, "merge-file", "-p", "-L", "upstream now", "-L", "upstream before", "-L", p.entry.Name, "now", "was", "entry")
	// The exit code is the number of conflicts; errors have 255.
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && exit.ExitCode() > 0 && exit.ExitCode() < 128 {
		return merged, false, nil
	}
	return merged, err == nil, err
}

// landed tells whether upstream has gained what every hook adds, and lost what
// it takes away, since the old base.
func (p *piece) landed(hooks []hook.Hook, now []byte) bool {
	before := p.was[hooks[0].File].Data // Nil where it is not known.
	for _, h := range hooks {
		added := false
		for _, text := range []string{h.Before, h.After, h.Replace} {
			lines := folded([]byte(text))
			if len(lines) == 0 {
				continue
			}
			added = true
			if occurrences(folded(now), lines) < occurrences(folded(before), lines)+h.Matches {
				return false
			}
		}
		gone := occurrences(folded(now), folded([]byte(h.Anchor))) == 0
		if (h.Delete || h.Replace != "") && !gone || !added && !h.Delete {
			return false
		}
	}
	return true
}

// folded returns the lines of a text that are not blank, with one blank for all
// white space within.
func folded(text []byte) []string {
	var lines []string
	for line := range bytes.Lines(text) {
		if words := strings.Join(strings.Fields(string(line)), " "); words != "" {
			lines = append(lines, words)
		}
	}
	return lines
}

// occurrences counts where part is in all.
func occurrences(all, part []string) (n int) {
	for i := 0; i+len(part) <= len(all); i++ {
		same := true
		for k := range part {
			same = same && all[i+k] == part[k]
		}
		if same {
			n++
		}
	}
	return n
}

// renamed looks for a file that has all anchors of a file that is gone.
func (p *piece) renamed(hooks []hook.Hook) string {
	var found []string
	for _, name := range p.now.Paths() {
		if filepath.Ext(name) != filepath.Ext(hooks[0].File) {
			continue
		}
		if _, old := p.was[name]; old {
			continue
		}
		if lines := folded(p.now[name].Data); hasAll(lines, hooks) {
			found = append(found, name)
		}
	}
	if len(found) == 0 {
		return ", and no new file has the lines that the entry needs"
	}
	return "; the lines that the entry needs are in " + strings.Join(found, ", ")
}

// hasAll tells whether the anchors that do not come from the hooks themselves
// are among the lines.
func hasAll(lines []string, hooks []hook.Hook) bool {
	var own []string
	for _, h := range hooks {
		anchor := folded([]byte(h.Anchor))
		if occurrences(own, anchor) == 0 && occurrences(lines, anchor) == 0 {
			return false
		}
		for _, text := range []string{h.Before, h.After, h.Replace} {
			own = append(own, folded([]byte(text))...)
		}
	}
	return true
}

// nearest finds the line that shares most words with an anchor that was not
// found.
func nearest(missing *hook.AnchorError, now []byte) string {
	if len(missing.Lines) > 0 {
		return ""
	}
	want := words(missing.Anchor)
	best, score := "", 0.5
	n := 0
	for line := range bytes.Lines(now) {
		n++
		if s := alike(want, words(string(line))); s > score {
			best, score = fmt.Sprintf("line %d, %s", n, strings.TrimSpace(string(line))), s
		}
	}
	return best
}

func words(line string) map[string]bool {
	set := map[string]bool{}
	for _, w := range strings.FieldsFunc(line, func(r rune) bool { return strings.ContainsRune(" \t\n.,()[]{}\"`|&:=", r) }) {
		set[w] = true
	}
	return set
}

// alike is the share of words that two lines have in common.
func alike(a, b map[string]bool) float64 {
	both := 0
	for w := range a {
		if b[w] {
			both++
		}
	}
	if both == 0 {
		return 0
	}
	return float64(both) / float64(len(a)+len(b)-both)
}
