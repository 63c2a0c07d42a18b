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

package hook

import (
	"fmt"
	"path"
	"path/filepath"
	"strings"
)

// Entry is the edits that belong together, under the name of the file they are
// written in.
type Entry struct {
	Name  string
	Hooks []Hook
}

// Hook is one edit. At least one of Before, After, Replace and Delete is set; a
// text may have several lines.
type Hook struct {
	// File is the slash-separated path below the tree's root.
	File string `yaml:"file"`
	// In limits the search to one declaration of a Go file: "imports",
	// "func NAME", "func (*TYPE) NAME" or "type NAME". Empty: the whole file.
	In string `yaml:"in"`
	// Anchor is one whole line. How much white space is around it and
	// between its words does not count in Go files, which are formatted
	// afterwards.
	Anchor string `yaml:"anchor"`
	// Matches is how often the line must be found; left out it is 1.
	Matches int    `yaml:"matches"`
	Before  string `yaml:"before"`
	After   string `yaml:"after"`
	Replace string `yaml:"replace"`
	Delete  bool   `yaml:"delete"`
	// Part makes the anchor a part of a line, of which Replace takes the place: for
	// long lines that several entries change.
	Part bool `yaml:"part"`
}

// Complete fills in what was left out and refuses a hook that says too little or
// too much.
func (h *Hook) Complete() error {
	if h.Matches == 0 {
		h.Matches = 1
	}
	h.Anchor = strings.TrimSuffix(h.Anchor, "\n")
	switch {
	case h.File == "" || path.Clean(h.File) != h.File || !filepath.IsLocal(filepath.FromSlash(h.File)):
		return fmt.Errorf("file %q is not a clean relative path", h.File)
	case strings.TrimSpace(h.Anchor) == "" || strings.Contains(h.Anchor, "\n"):
		return fmt.Errorf("%s: anchor must be exactly one line, not %q", h.File, h.Anchor)
	case h.Matches < 0:
		return fmt.Errorf("%s: matches must be positive", h.File)
	case h.Before == "" && h.After == "" && h.Replace == "" && !h.Delete:
		return fmt.Errorf("%s: nothing to do: none of before, after, replace and delete is set", h.File)
	case h.Replace != "" && h.Delete:
		return fmt.Errorf("%s: replace and delete exclude each other", h.File)
	case h.Part && (h.Replace == "" || h.Before+h.After != ""):
		return fmt.Errorf("%s: a part of a line can only be replaced", h.File)
	case h.In != "" && !h.isGo():
		return fmt.Errorf("%s: 'in' works on Go files only", h.File)
	}
	return nil
}

func (h *Hook) isGo() bool { return strings.HasSuffix(h.File, ".go") }
