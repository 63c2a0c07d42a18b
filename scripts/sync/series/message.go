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
	"fmt"
	"strings"
)

// Message is the commit message of an entry, signed off.
func (e *Entry) Message(signer string) string {
	parts := []string{e.Title, e.Why}
	if e.Measured != "" {
		parts = append(parts, e.Measured)
	}
	if len(e.Links) > 0 {
		parts = append(parts, strings.Join(e.Links, "\n"))
	}
	return strings.Join(append(parts, e.trailers()+"Signed-off-by: "+signer), "\n\n") + "\n"
}

// trailers say why a change stays here, in the words of Debian's DEP-3. What goes
// to upstream has none of ours: they mean nothing there.
func (e *Entry) trailers() string {
	if e.Status != ForkOnly {
		return ""
	}
	var b strings.Builder
	fmt.Fprintf(&b, "Reason: %s\n", e.Reason)
	fmt.Fprintf(&b, "Forwarded: %s\n", e.Forwarded)
	for _, name := range e.DependsOn {
		fmt.Fprintf(&b, "Depends-on: %s\n", name)
	}
	return b.String()
}

// Description is the text of the pull request, in the form of upstream's
// template. The title goes into a field of its own and is the first line here.
func (e *Entry) Description(entries []Entry) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n\n", e.Title)
	if e.Status == ForkOnly {
		b.WriteString("Stays in the fork; not to be submitted.\n\n")
	}
	fmt.Fprintf(&b, "%s\n\n", e.Why)
	if e.Measured != "" {
		fmt.Fprintf(&b, "%s\n\n", e.Measured)
	}
	if len(e.DependsOn) > 0 {
		b.WriteString("Depends on, to be replaced by their numbers once they are open:\n\n")
		for _, name := range e.DependsOn {
			if dep, err := Find(entries, name); err == nil {
				fmt.Fprintf(&b, "- %s\n", dep.Title)
			}
		}
		b.WriteByte('\n')
	}
	b.WriteString("#### Which issue(s) does the PR fix:\n\n")
	for _, link := range e.Links {
		fmt.Fprintf(&b, "%s\n", link)
	}
	if len(e.Links) == 0 {
		b.WriteString("None.\n")
	}
	fmt.Fprintf(&b, "\n#### Release notes for end users\n\n```release-notes\n%s\n```\n", e.ReleaseNotes)
	return b.String()
}
