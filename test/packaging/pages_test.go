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

package packaging

import (
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"unicode"

	"github.com/grafana/regexp"
	"github.com/stretchr/testify/require"
)

// pages are the texts of all Markdown files that people read, by their path.
func pages(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, pattern := range []string{"*.md", "*/*.md", "docs/*/*.md"} {
		files, err := filepath.Glob(filepath.Join(root, pattern))
		require.NoError(t, err)
		for _, file := range files {
			name, err := filepath.Rel(root, file)
			require.NoError(t, err)
			if name = filepath.ToSlash(name); !strings.HasPrefix(name, "build/") {
				all[name] = read(t, name)
			}
		}
	}
	require.Contains(t, all, "docs/format/wal.md")
	return all
}

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, name))
	require.NoError(t, err)
	return string(text)
}

// hidden are flags that upstream leaves out of --help.
var hidden = []string{"storage.agent.wal-truncate-frequency", "storage.agent.wal-segment-size"}

// Flags that pages, units, images and examples name are flags of the binary.
func TestFlagsExist(t *testing.T) {
	binary := os.Getenv("ACKWAL_PROMTOOL")
	if binary == "" {
		t.Skip("LEFT OUT: ACKWAL_PROMTOOL does not name a binary; `make packaging-test` does")
	}
	help, err := exec.Command(filepath.Join(filepath.Dir(binary), "prometheus"), "--help").CombinedOutput()
	require.NoError(t, err)
	known := map[string]bool{}
	for _, flag := range hidden {
		known[flag] = true
	}
	for word := range strings.FieldsSeq(strings.ReplaceAll(string(help), "--[no-]", "--")) {
		if flag, ok := strings.CutPrefix(word, "--"); ok {
			flag, _, _ = strings.Cut(flag, "=")
			known[flag] = true
		}
	}
	texts := pages(t)
	for _, name := range []string{
		"packaging/Dockerfile", "packaging/systemd/prometheus-agent.service", "packaging/systemd/prometheus-agent.default",
		"examples/prometheus.yml", "examples/kubernetes/agent.yaml",
	} {
		texts[name] = read(t, name)
	}
	named := 0
	for name, text := range texts {
		for _, word := range strings.FieldsFunc(text, func(r rune) bool { return !isFlagRune(r) }) {
			if rest, ok := strings.CutPrefix(word, "--"); ok && (strings.HasPrefix(rest, "storage.") || strings.HasPrefix(rest, "web.") || rest == "config.file") {
				require.True(t, known[strings.TrimRight(rest, ".")], "%s: %s is no flag", name, word)
				named++
			}
		}
	}
	require.Greater(t, named, 10)
}

func isFlagRune(r rune) bool {
	return r == '-' || r == '.' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9'
}

var (
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#+ (.*)$`)
)

// Links between pages lead to files and headings that are there.
func TestLinks(t *testing.T) {
	all := pages(t)
	for name, text := range all {
		for _, found := range link.FindAllStringSubmatch(text, -1) {
			file, anchor, _ := strings.Cut(found[1], "#")
			if strings.Contains(file, "://") {
				continue
			}
			to := name
			if file != "" {
				to = path.Join(path.Dir(name), file)
			}
			_, err := os.Stat(filepath.Join(root, to))
			require.NoError(t, err, "%s links to %s", name, found[1])
			if anchor != "" {
				require.Contains(t, anchors(all[to]), anchor, "%s links to %s", name, found[1])
			}
		}
	}
}

// anchors are what GitHub makes of the headings of a page.
func anchors(text string) (all []string) {
	for _, h := range heading.FindAllStringSubmatch(text, -1) {
		all = append(all, strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r):
				return unicode.ToLower(r)
			}
			return -1
		}, h[1]))
	}
	return all
}

var (
	target    = regexp.MustCompile(`(?m)^([a-z0-9-]+):`)
	makes     = regexp.MustCompile("(?m)(?:^|`)make ([a-z][a-z0-9-]*)")
	test      = regexp.MustCompile(`\b(?:Test|Benchmark|Fuzz)[A-Z]\w+`)
	testsFunc = regexp.MustCompile(`func ((?:Test|Benchmark|Fuzz)[A-Z]\w+)\(`)
)

// Targets of make and tests that pages name are there; a test may be named by the beginning
// that some have in common. A page may also define the test that it names.
func TestTargetsAndTestsExist(t *testing.T) {
	all := pages(t)
	var known strings.Builder
	note := func(text string) {
		for _, found := range testsFunc.FindAllStringSubmatch(text, -1) {
			known.WriteString("\n" + found[1])
		}
	}
	require.NoError(t, filepath.WalkDir(root, func(file string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() && entry.Name() == "build" {
			return fs.SkipDir
		}
		if err != nil || !strings.HasSuffix(file, "_test.go") {
			return err
		}
		text, err := os.ReadFile(file)
		note(string(text))
		return err
	}))
	var targets []string
	for _, found := range target.FindAllStringSubmatch(read(t, "Makefile"), -1) {
		targets = append(targets, found[1])
	}
	for name, text := range all {
		note(text)
		for _, found := range makes.FindAllStringSubmatch(text, -1) {
			require.Contains(t, targets, found[1], name)
		}
		for _, found := range test.FindAllString(text, -1) {
			require.True(t, strings.Contains(known.String(), "\n"+found), "%s: %s is no test", name, found)
		}
	}
}
