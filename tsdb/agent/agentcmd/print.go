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

package agentcmd

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/ackwal/ackwal/tsdb/agent/inspect"
)

// printer prints for people.
type printer struct {
	out      io.Writer
	terminal bool // Out is one.
}

// size renders bytes for people.
func size(n int64) string {
	const units = "KMGTPE"
	v, unit := float64(n), -1
	for v >= 1024 && unit < len(units)-1 {
		v, unit = v/1024, unit+1
	}
	if unit < 0 {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %ciB", v, units[unit])
}

// at renders a time.
func at(t *time.Time) string {
	if t == nil {
		return "-"
	}
	return t.UTC().Format(time.RFC3339)
}

// items renders what an endpoint has yet to be sent.
func items(e *inspect.Endpoint) string {
	var parts []string
	for _, p := range []struct {
		n    int
		what string
	}{{e.Samples, "samples"}, {e.Histograms, "histograms"}, {e.Exemplars, "exemplars"}} {
		if p.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", p.n, p.what))
		}
	}
	if len(parts) == 0 {
		return "nothing"
	}
	s := strings.Join(parts, ", ")
	if e.Estimated > 0 {
		s += fmt.Sprintf(" (%d by estimate)", e.Estimated)
	}
	return s
}

// passedOver says what another engine wrote in between.
func passedOver(e *inspect.Endpoint) string {
	if e.Passed == 0 {
		return ""
	}
	return fmt.Sprintf("; %d that another engine wrote are passed over", e.Passed)
}

func (c *printer) table(rows func(row func(cells ...string))) {
	w := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
	rows(func(cells ...string) {
		for i := range cells {
			cells[i] = printable(cells[i])
		}
		fmt.Fprintln(w, strings.Join(cells, "\t"))
	})
	_ = w.Flush() // An error of printing has no reader.
}

func (c *printer) printf(format string, args ...any) {
	for i := range args {
		if s, ok := args[i].(string); ok {
			args[i] = printable(s)
		}
	}
	fmt.Fprintf(c.out, format, args...)
}

// printable quotes what would move the cursor: names of endpoints are what a configuration
// or a file says.
func printable(s string) string {
	if strings.ContainsFunc(s, func(r rune) bool { return !strconv.IsPrint(r) }) {
		return strconv.Quote(s)
	}
	return s
}

func (c *printer) printNotes(notes []string) {
	if len(notes) == 0 {
		return
	}
	c.printf("\nA start of the agent would say:\n")
	for _, n := range notes {
		c.printf("  %s\n", n)
	}
}

func (c *printer) printStatus(s *inspect.Status, now time.Time) {
	c.table(func(row func(...string)) {
		in := "no lock file: no agent is running"
		if s.LockFile {
			in = "lock file present: an agent is running, or was killed"
		}
		row("Directory", s.Directory)
		row("", in)
		l := s.Log
		if l.Segments == 0 {
			row("Log", "no segments")
		} else {
			row("Log", fmt.Sprintf("%d segments, %08d to %08d, %s", l.Segments, l.First, l.Last, size(l.Bytes)))
			row("", fmt.Sprintf("samples of %s to %s", at(l.Oldest), at(l.Newest)))
			by := "written last by durable delivery, run " + l.Run
			if l.Run == "" {
				by = "written last by another engine, such as best-effort delivery"
			}
			row("", by)
		}
		if l.Missing > 0 {
			row("", fmt.Sprintf("%d segments between them are missing", l.Missing))
		}
		if l.Foreign > 0 {
			row("", fmt.Sprintf("%d segments of another engine", l.Foreign))
		}
		if l.Checkpoint >= 0 {
			row("", fmt.Sprintf("checkpoint %08d", l.Checkpoint))
		}
		series := fmt.Sprintf("%d defined", s.Series)
		if s.Snapshot.Present && s.Snapshot.Covered >= 0 {
			series += fmt.Sprintf("; snapshot up to segment %08d, %s", s.Snapshot.Covered, size(s.Snapshot.Bytes))
		}
		row("Series", series)
		row("Savepoint", savepointLine(s.Savepoint, now))
	})
	c.printEndpoints(s.Endpoints, s.Savepoint, false)
	c.printNotes(s.Notes)
}

func savepointLine(p inspect.Savepoint, now time.Time) string {
	if p.File == "" {
		return "none"
	}
	how := "not by a stop: the agent is running, or was killed"
	if p.Clean {
		how = "by a stop"
	}
	return fmt.Sprintf("%s, written %s ago at %s, %s", p.File, now.Sub(*p.Written).Round(time.Second), at(p.Written), how)
}

// missing says what is found missing in the log, after something else.
func missing(e *inspect.Endpoint) string {
	if e.LostBytes == 0 {
		return ""
	}
	return fmt.Sprintf("; about %d samples are missing in the log", e.LostSamples)
}

// printEndpoints prints what each endpoint has yet to be sent, and their IDs if that is
// asked for.
func (c *printer) printEndpoints(all []inspect.Endpoint, p inspect.Savepoint, ids bool) {
	c.printf("\n")
	if len(all) == 0 {
		if p.File == "" {
			c.printf("No endpoint has a position here.\n")
		} else {
			c.printf("The savepoint has no endpoint.\n")
		}
		return
	}
	unnamed := false
	c.table(func(row func(...string)) {
		head := []string{"ENDPOINT", "TO BE SENT", "OF THE LOG", "OLDEST SAMPLE", "POSITION"}
		if ids {
			head = append(head, "ID")
		}
		row(head...)
		for i := range all {
			e := &all[i]
			name := e.Name
			if !e.Named {
				name, unnamed = name+"*", true
			}
			what := items(e)
			if e.Isolated > 0 {
				what += fmt.Sprintf("; %d series isolated", e.Isolated)
			}
			what += passedOver(e)
			if e.Removed != nil {
				what += "; removed from the configuration at " + at(e.Removed)
			}
			what += missing(e)
			cells := []string{name, what, size(e.Bytes), at(e.Oldest), e.From.String()}
			if ids {
				cells = append(cells, e.ID)
			}
			row(cells...)
		}
	})
	if unnamed {
		c.printf("* has no name in the configuration; this is the beginning of a hash of its URL.\n")
	}
}

func (c *printer) printReport(r *inspect.Report) {
	c.printf("Read %d records in %d segments and the checkpoints, %s.\n", r.Records, r.Segments, size(r.Bytes))
	type kind struct {
		name  string
		files int
		bytes int64
		bad   int
	}
	var kinds []*kind
	byName := map[string]*kind{}
	seen := map[string]bool{}
	for _, f := range r.Findings {
		k := byName[f.Kind]
		if k == nil {
			k = &kind{name: f.Kind}
			byName[f.Kind] = k
			kinds = append(kinds, k)
		}
		if !seen[f.Path] {
			seen[f.Path] = true
			k.files++
			k.bytes += f.Bytes
		}
		if f.Severity != inspect.Fine {
			k.bad++
		}
	}
	c.printf("\n")
	c.table(func(row func(...string)) {
		row("KIND", "FILES", "SIZE", "FINDINGS")
		for _, k := range kinds {
			row(k.name, strconv.Itoa(k.files), size(k.bytes), strconv.Itoa(k.bad))
		}
	})
	for _, f := range r.Findings {
		if f.Severity == inspect.Fine {
			continue
		}
		c.printf("\n%s (%s): %s\n", f.Path, f.Severity, f.What)
		if f.Lost > 0 {
			c.printf("  %d bytes from offset %d on, at least %d records\n", f.Lost, f.Offset, f.Records)
		}
		if f.Action != "" {
			c.printf("  at a start: %s\n", f.Action)
		}
	}
	for i, n := range r.Notes {
		if i == 0 {
			c.printf("\n")
		}
		c.printf("%s\n", n)
	}
	c.printf("\n%s\n", map[inspect.Severity]string{
		inspect.Fine:    "Everything is whole.",
		inspect.Usual:   "Nothing is damaged; a start puts in order what a crash has left.",
		inspect.Damaged: "Something is damaged. A start of the agent, or `promtool agent drain`, repairs it as said above and goes on; keep a copy of the directory first if you want to look into it.",
		inspect.Refused: "An agent would not start in this directory, for the reason above.",
	}[r.Severity])
}

func (c *printer) printSavepoint(s *inspect.Status) {
	c.printf("%s\n", savepointLine(s.Savepoint, time.Now()))
	c.printEndpoints(s.Endpoints, s.Savepoint, true)
	c.printNotes(s.Notes)
}

func (c *printer) printMoved(m *inspect.Moved, dry bool) {
	was, now := "had", "has"
	if dry {
		was, now = "has", "would have"
	}
	c.table(func(row func(...string)) {
		row("Endpoint", m.Endpoint.Name)
		row("From", m.Endpoint.From.String(), was+" yet to be sent: "+items(&m.Endpoint))
		row("To", m.To.From.String(), now+" yet to be sent: "+items(&m.To))
	})
	if m.Backup != "" {
		c.printf("The savepoint as it was is kept in %s; to take the move back, copy it over delivery.json and delivery.prev.json while the agent is stopped.\n", m.Backup)
	}
}
