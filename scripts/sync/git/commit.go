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

package git

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strings"
	"time"
)

// Change is a file as a commit leaves it.
type Change struct {
	Path string
	Data []byte
	Exec bool
}

// Commit is one to be made.
type Commit struct {
	// Ref is the full name of the reference that will point to it, empty for
	// none of its own.
	Ref string
	// Aside commits lie on the parent of the whole stack, and the next one goes
	// on from the one before them.
	Aside bool
	// Message ends with a line feed.
	Message string
	Author  Person
	When    time.Time
	Changes []Change
}

// refSpace is where commits are made before their references are known to be
// free. Nothing stays there.
const refSpace = "refs/ackwal/import/"

// Stack makes commits on top of each other, the first on top of parent, or
// without one if parent is empty, and creates their references. A reference
// that exists already must point to the very commit that would be made;
// otherwise nothing changes. The result are the commits' names.
func Stack(ctx context.Context, dir, parent string, commits []Commit) ([]string, error) {
	names, err := write(ctx, dir, parent, commits)
	if err != nil {
		return nil, err
	}
	var update strings.Builder
	update.WriteString("start\n")
	for i, c := range commits {
		if c.Ref == "" {
			continue
		}
		if err := Free(ctx, dir, c.Ref, names[i]); err != nil {
			return nil, err
		}
		// It is there already, or nowhere: "create" would refuse the former.
		fmt.Fprintf(&update, "update %s %s\n", c.Ref, names[i])
	}
	update.WriteString("prepare\ncommit\n")
	if _, err := Feed(ctx, dir, strings.NewReader(update.String()), "update-ref", "--stdin"); err != nil {
		return nil, err
	}
	return names, nil
}

// Named refuses a branch or a tag, as kind says, whose name git would refuse.
func Named(ctx context.Context, dir, kind, name string) error {
	refs := map[string]string{"branch": "refs/heads/", "tag": "refs/tags/"}
	// The command takes these two, but "git branch" and "git tag" do not.
	if strings.HasPrefix(name, "-") || name == "HEAD" {
		return fmt.Errorf("git has no %s with the name %q: choose another", kind, name)
	}
	if _, err := Run(ctx, dir, "check-ref-format", refs[kind]+name); err != nil {
		return fmt.Errorf("git has no %s with the name %q: choose another, see git check-ref-format", kind, name)
	}
	return nil
}

// Create makes a reference to a commit. It is an error if it exists and points to
// another one.
func Create(ctx context.Context, dir, ref, commit string) error {
	if err := Free(ctx, dir, ref, commit); err != nil {
		return err
	}
	_, err := Run(ctx, dir, "update-ref", ref, commit)
	return err
}

// Free returns an error if a reference exists and does not point to commit.
func Free(ctx context.Context, dir, ref, commit string) error {
	there, err := Resolve(ctx, dir, ref)
	if err == nil && there != "" && there != commit {
		return fmt.Errorf("%s has %s already, with other content (%.12s): rename or delete it, or choose another name", dir, ref, there)
	}
	return err
}

// write stores the commits without leaving references to them.
func write(ctx context.Context, dir, parent string, commits []Commit) (names []string, err error) {
	marks, err := os.CreateTemp("", "ackwal-marks-")
	if err != nil {
		return nil, err
	}
	defer os.Remove(marks.Name())
	marks.Close()

	var in bytes.Buffer
	in.WriteString("feature done\n")
	from := parent
	for i, c := range commits {
		who := fmt.Sprintf("%s %d +0000\n", c.Author, c.When.Unix())
		fmt.Fprintf(&in, "commit %s%d\nmark :%d\nauthor %scommitter %sdata %d\n%s\n", refSpace, i, i+1, who, who, len(c.Message), c.Message)
		switch {
		case c.Aside && parent != "":
			fmt.Fprintf(&in, "from %s\n", parent)
		case !c.Aside && from != "":
			fmt.Fprintf(&in, "from %s\n", from)
		}
		if !c.Aside {
			from = fmt.Sprintf(":%d", i+1)
		}
		for _, f := range c.Changes {
			mode := "100644"
			if f.Exec {
				mode = "100755"
			}
			if strings.ContainsAny(f.Path, "\"\n\\") {
				return nil, fmt.Errorf("file name %q is not supported", f.Path)
			}
			fmt.Fprintf(&in, "M %s inline %s\ndata %d\n", mode, f.Path, len(f.Data))
			in.Write(f.Data)
			in.WriteByte('\n')
		}
	}
	in.WriteString("done\n")

	defer func() {
		for i := range commits {
			// Also when the user has interrupted it.
			if _, cleanErr := Run(context.WithoutCancel(ctx), dir, "update-ref", "-d", fmt.Sprintf("%s%d", refSpace, i)); err == nil {
				err = cleanErr
			}
		}
	}()
	if _, err := Feed(ctx, dir, &in, "fast-import", "--quiet", "--force", "--export-marks="+marks.Name()); err != nil {
		return nil, err
	}
	text, err := os.ReadFile(marks.Name())
	if err != nil {
		return nil, err
	}
	names = make([]string, len(commits))
	for line := range strings.Lines(string(text)) {
		var n int
		var name string
		if _, err := fmt.Sscanf(line, ":%d %s", &n, &name); err != nil {
			return nil, fmt.Errorf("git fast-import: mark %q: %w", line, err)
		}
		names[n-1] = name
	}
	return names, nil
}
