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
	"go/scanner"
	"go/token"
	"path"
	"slices"
	"strings"
	"unicode"
)

// Upstream may have merged an entry with edits: other names, another comment, in
// another order. Then its file has moved from what it was towards what the entry
// makes of it. How far is measured in two ways, of which the one that sees more
// counts: in words that would have to be added or removed, so that an edit within
// a line costs what it changes, and in lines that the file did not have, wherever
// they are. Comments of Go files do not count.

const (
	// taken is the share of an entry's change, from -1 for none to 1 for all,
	// from which on upstream counts as having it; from maybeTaken on, a
	// maintainer has to look.
	taken, maybeTaken = 0.3, 0
	// maxWords bounds the time and memory that a comparison takes; beyond it
	// lines are compared instead.
	maxWords = 12000
	// fewWords is what says nothing about where it came from.
	fewWords = 5
)

// towards tells how far upstream's file has moved from was to edited: 1 if it
// has all that the entry changes, -1 if it has nothing of it, about 0 for half.
func towards(name string, was, edited, now []byte) float64 {
	if strings.HasSuffix(name, ".go") {
		was, edited, now = withoutComments(was), withoutComments(edited), withoutComments(now)
	}
	return max(inWords(was, edited, now), inLines(was, edited, now))
}

func inWords(was, edited, now []byte) float64 {
	split := wordsOf
	if len(wordsOf(now)) > maxWords {
		split = folded
	}
	a, b, c := split(was), split(edited), split(now)
	size := distance(a, b)
	if size < fewWords {
		return -1
	}
	return float64(distance(a, c)-distance(b, c)) / float64(size)
}

// inLines looks at lines that were not there and say something.
func inLines(was, edited, now []byte) float64 {
	old := counted(folded(was))
	fresh := func(text []byte) map[string]bool {
		lines := map[string]bool{}
		for _, line := range folded(text) {
			if old[line] == 0 && len(words(line)) >= 2 {
				lines[line] = true
			}
		}
		return lines
	}
	ours, theirs := fresh(edited), fresh(now)
	if len(ours) == 0 {
		return -1
	}
	both := 0
	for line := range ours {
		if theirs[line] {
			both++
		}
	}
	return float64(2*both-len(ours)) / float64(len(ours))
}

// withoutComments blanks the comments of a Go file.
func withoutComments(text []byte) []byte {
	text = slices.Clone(text)
	file := token.NewFileSet().AddFile("", -1, len(text))
	var s scanner.Scanner
	s.Init(file, slices.Clone(text), nil, scanner.ScanComments)
	for {
		pos, tok, literal := s.Scan()
		if tok == token.EOF {
			return text
		}
		if tok != token.COMMENT {
			continue
		}
		at := file.Offset(pos)
		for i := at; i < min(at+len(literal), len(text)); i++ {
			if text[i] != '\n' {
				text[i] = ' '
			}
		}
	}
}

// wordsOf cuts a text into names, numbers and other characters.
func wordsOf(text []byte) []string {
	var list []string
	inWord := false
	for _, r := range string(text) {
		switch {
		case unicode.IsSpace(r):
			inWord = false
		case unicode.IsLetter(r) || unicode.IsDigit(r) || r == '_':
			if inWord {
				list[len(list)-1] += string(r)
			} else {
				list = append(list, string(r))
			}
			inWord = true
		default:
			list = append(list, string(r))
			inWord = false
		}
	}
	return list
}

// distance is how many words have to be added or removed to make one text of
// the other.
func distance(a, b []string) int {
	for len(a) > 0 && len(b) > 0 && a[0] == b[0] {
		a, b = a[1:], b[1:]
	}
	for len(a) > 0 && len(b) > 0 && a[len(a)-1] == b[len(b)-1] {
		a, b = a[:len(a)-1], b[:len(b)-1]
	}
	// The length of the longest common subsequence, by rows.
	row, next := make([]int32, len(b)+1), make([]int32, len(b)+1)
	for _, word := range a {
		for j, other := range b {
			if word == other {
				next[j+1] = row[j] + 1
			} else {
				next[j+1] = max(row[j+1], next[j])
			}
		}
		row, next = next, row
	}
	return len(a) + len(b) - 2*int(row[len(b)])
}

// moved looks for a file that is new in upstream and has most of one of ours,
// under another name.
func (p *piece) moved(name string) string {
	if p.was == nil {
		return ""
	}
	ours := wordsOf(withoutHeader(p.brought[name].Data))
	if len(ours) < 10*fewWords {
		return ""
	}
	count := counted(ours)
	for _, other := range p.now.Paths() {
		if _, old := p.was[other]; old || other == name || path.Ext(other) != path.Ext(name) || isTest(other) != isTest(name) || p.laid[other] {
			continue
		}
		theirs := wordsOf(withoutHeader(p.now[other].Data))
		same := 0
		for word, n := range counted(theirs) {
			same += min(n, count[word])
		}
		if float64(2*same) > 0.85*float64(len(ours)+len(theirs)) {
			return other
		}
	}
	return ""
}

// withoutHeader leaves out the licence, which all files share.
func withoutHeader(text []byte) []byte {
	if at := bytes.Index(text, []byte("\npackage ")); at >= 0 {
		return text[at:]
	}
	return text
}

func isTest(name string) bool { return strings.HasSuffix(name, "_test.go") }

func counted(words []string) map[string]int {
	n := map[string]int{}
	for _, w := range words {
		n[w]++
	}
	return n
}
