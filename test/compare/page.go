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
	_ "embed" // For the page.
	"fmt"
	"os"
	"slices"
	"strings"
	"text/template"

	"github.com/ackwal/ackwal/conformance"
)

//go:embed page.md.tmpl
var pageText string

// write makes the page and the drawings. There are no costs if they were not measured.
func write(r *Results, costs *Costs, page, dir string) error {
	text, err := r.page(costs)
	if err != nil {
		return err
	}
	if err := os.WriteFile(page, text, 0o666); err != nil {
		return err
	}
	for _, d := range drawings {
		if err := d.draw(r, dir); err != nil {
			return err
		}
	}
	return nil
}

// page renders the page.
func (r *Results) page(costs *Costs) ([]byte, error) {
	return r.render(pageText, template.FuncMap{
		"table": r.table, "contenders": func() []contender { return contenders }, "cases": r.described,
		"costs": func() *Costs { return costs },
	})
}

// render fills the template of a page.
func (r *Results) render(text string, funcs template.FuncMap) ([]byte, error) {
	t, err := template.New("page").Funcs(funcs).Parse(text)
	if err != nil {
		return nil, err
	}
	out := bytes.Buffer{}
	if err := t.Execute(&out, r); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// Fields of contenders that the page shows.
func (c contender) Title() string   { return c.title }
func (c contender) Program() string { return c.program }
func (c contender) What() string    { return c.what }

// described are the cases that were run.
func (r *Results) described() []conformance.Case {
	return slices.DeleteFunc(conformance.Cases(), func(c conformance.Case) bool {
		return !slices.ContainsFunc(r.rows(), func(row string) bool { return caseOf(row) == c.Name })
	})
}

func caseOf(row string) string {
	name, _, _ := strings.Cut(row, "/")
	return name
}

// table has a row for each case and a column for each sender.
func (r *Results) table(figure string) (string, error) {
	cells := map[string]func(conformance.Result) string{
		"lost":         lostShare,
		"duplicated":   func(x conformance.Result) string { return count(x.Duplicated) },
		"out of order": func(x conformance.Result) string { return count(x.OutOfOrder) },
	}
	cell, ok := cells[figure]
	if !ok {
		return "", fmt.Errorf("there is no table of %q", figure)
	}
	head, rows := []string{"case"}, [][]string(nil)
	for _, s := range r.Senders {
		head = append(head, s.Name)
	}
	for _, name := range r.rows() {
		row := []string{"`" + name + "`"}
		for _, s := range r.Senders {
			row = append(row, s.cell(name, cell))
		}
		rows = append(rows, row)
	}
	return markdown(head, rows), nil
}

// markdown renders a table.
func markdown(head []string, rows [][]string) string {
	lines := []string{line(head), "|" + strings.Repeat("---|", len(head))}
	for _, row := range rows {
		lines = append(lines, line(row))
	}
	return strings.Join(lines, "\n")
}

func line(cells []string) string {
	out := "|"
	for _, cell := range cells {
		out += strings.TrimRight(" "+cell, " ") + " |"
	}
	return out
}

func rowName(x conformance.Result) string {
	if x.Receiver != "" {
		return x.Case + "/" + x.Receiver
	}
	return x.Case
}

// rows are the cases that any sender has, in their order. A case with several
// receivers has one for each, also if there is nothing of them for some sender.
func (r *Results) rows() (rows []string) {
	for _, s := range r.Senders {
		for _, x := range s.Cases {
			if !slices.Contains(rows, rowName(x)) && x.Verdict != conformance.NotApplicable {
				rows = append(rows, rowName(x))
			}
		}
	}
	return slices.DeleteFunc(rows, func(row string) bool {
		return slices.ContainsFunc(rows, func(other string) bool { return strings.HasPrefix(other, row+"/") })
	})
}

func (s SenderResults) cell(row string, cell func(conformance.Result) string) string {
	for _, x := range s.Cases {
		if rowName(x) != row && (x.Case != caseOf(row) || x.Receiver != "") {
			continue
		}
		switch x.Verdict {
		case conformance.NotApplicable:
			return "n/a"
		case conformance.Ended:
			return "**ended**"
		case conformance.Failed:
			return "could not be run"
		}
		return cell(x)
	}
	return "–"
}

// lostShare tells what was lost while the disk was full apart from what was lost besides.
func lostShare(x conformance.Result) string {
	text := share(x.Lost, x.Scraped)
	if x.LostWhileFull > 0 {
		text += " (" + share(x.Lost-x.LostWhileFull, x.Scraped) + ")"
	}
	return text
}

func share(part, whole int) string {
	switch {
	case part == 0:
		return "0"
	case whole == 0:
		return "–"
	}
	percent := 100 * float64(part) / float64(whole)
	if percent < 0.1 {
		return "**< 0.1 %**"
	}
	return fmt.Sprintf("**%.1f %%**", percent)
}

func count(n int) string {
	text := fmt.Sprint(n)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}
