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
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"
)

// CleanHead returns the commit that is checked out in dir. dir must be the top
// of a checkout without changes: uncommitted ones would be left out without notice.
func CleanHead(ctx context.Context, dir string) (string, error) {
	if _, err := os.Stat(dir); err != nil {
		return "", err
	}
	top, err := Line(ctx, dir, "rev-parse", "--show-toplevel")
	if err != nil {
		return "", fmt.Errorf("%s is not a git checkout: %w", dir, err)
	}
	if same, err := samePlace(top, dir); err != nil {
		return "", err
	} else if !same {
		return "", fmt.Errorf("%s is not the top of a git checkout, that is %s", dir, top)
	}
	status, err := Run(ctx, dir, "status", "--porcelain")
	if err != nil {
		return "", err
	}
	if len(status) > 0 {
		first, _, _ := strings.Cut(string(status), "\n")
		return "", fmt.Errorf("%s has changes that are not committed (%s): commit or stash them first", dir, strings.TrimSpace(first))
	}
	return Line(ctx, dir, "rev-parse", "--verify", "HEAD^{commit}")
}

func samePlace(a, b string) (bool, error) {
	ia, err := os.Stat(a)
	if err != nil {
		return false, err
	}
	ib, err := os.Stat(b)
	if err != nil {
		return false, err
	}
	return os.SameFile(ia, ib), nil
}

// When returns the time of a commit.
func When(ctx context.Context, dir, commit string) (time.Time, error) {
	text, err := Line(ctx, dir, "show", "-s", "--format=%ct", commit)
	if err != nil {
		return time.Time{}, err
	}
	var seconds int64
	if _, err := fmt.Sscan(text, &seconds); err != nil {
		return time.Time{}, fmt.Errorf("time of commit %s: %w", commit, err)
	}
	return time.Unix(seconds, 0).UTC(), nil
}

// Resolve returns the object that a full reference name such as refs/heads/x
// points to, empty if there is no such reference.
func Resolve(ctx context.Context, dir, ref string) (string, error) {
	out, err := Line(ctx, dir, "rev-parse", "--verify", "--quiet", ref)
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && exit.ExitCode() == 1 {
		return "", nil
	}
	return out, err
}

// Person signs commits.
type Person struct{ Name, Email string }

func (p Person) String() string { return p.Name + " <" + p.Email + ">" }

// Identity returns whom the user commits as in dir: the variables
// GIT_AUTHOR_NAME and GIT_AUTHOR_EMAIL or else git's settings. Git itself would
// make up an address from the names of user and machine; signing off with that
// is an error here.
func Identity(ctx context.Context, dir string) (Person, error) {
	get := func(variable, setting string) (string, error) {
		if v := strings.TrimSpace(os.Getenv(variable)); v != "" {
			return v, nil
		}
		v, err := Line(ctx, dir, "config", "--get", setting)
		if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && exit.ExitCode() == 1 {
			return "", fmt.Errorf("git does not know who you are, and commits must be signed off: run git config --global %s …", setting)
		}
		return v, err
	}
	name, err := get("GIT_AUTHOR_NAME", "user.name")
	if err != nil {
		return Person{}, err
	}
	email, err := get("GIT_AUTHOR_EMAIL", "user.email")
	if err != nil {
		return Person{}, err
	}
	if name == "" || email == "" || strings.ContainsAny(name+email, "<>\n") {
		return Person{}, fmt.Errorf("%q <%q> cannot sign off commits: set user.name and user.email", name, email)
	}
	return Person{Name: name, Email: email}, nil
}
