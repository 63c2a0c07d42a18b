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

package exposition

import (
	"bytes"
	"fmt"
	"strings"
)

// Form is a format of a page.
type Form string

// The formats. A target that has another form than text serves text to a
// scraper that does not ask for it, with as many series.
const (
	Text        Form = "text"
	OpenMetrics Form = "openmetrics"
	Protobuf    Form = "protobuf"
)

// ContentType is what a page of the form is served as.
func (f Form) ContentType() string {
	switch f {
	case OpenMetrics:
		return "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=underscores"
	case Protobuf:
		return "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
	default:
		return "text/plain; version=0.0.4; charset=utf-8; escaping=underscores"
	}
}

// line is a series: everything before its value, and the value.
type line struct {
	text  []byte
	move  movement
	value float64
}

// block is a family on a page, with the lines of each subject side by side.
type block struct {
	metric
	lines []line
}

// Page is what one target serves.
type Page struct {
	shape  *shape
	target int
	random random
	blocks []*block
	proto  *messages // Nil unless the page exists in protobuf.

	subjects    int
	generations []int // By subject.
	replaceable int   // Series that a subject takes with it.
	oldest      int   // The subject that is replaced next.
}

// newPage makes a page with exactly n series.
func newPage(s *shape, target, n int, form Form) *Page {
	p := &Page{shape: s, target: target, random: seeded(7, target)}
	fixed, each := 0, 0
	for _, m := range s.metrics {
		switch m.by {
		case page:
			fixed += m.series()
		default:
			each += m.series()
			if replaceable(m.by) {
				p.replaceable += m.series()
			}
		}
	}
	p.subjects = max(0, n-fixed) / each
	p.generations = make([]int, p.subjects)
	left := n
	for _, m := range s.metrics {
		b := &block{metric: m}
		if m.by == page {
			b.lines = p.render(m, "")
			b.lines = b.lines[:min(left, len(b.lines))] // A page may be too small for them.
		} else {
			for i := range p.subjects {
				b.lines = append(b.lines, p.render(m, s.describe(m.by, target, i, 0))...)
			}
		}
		left -= len(b.lines)
		p.blocks = append(p.blocks, b)
	}
	rest := s.filler
	rest.dims = nil
	for i := range left {
		rest.dims = append(rest.dims, fmt.Sprintf(s.filler.dims[0], i))
	}
	if left > 0 {
		p.blocks = append(p.blocks, &block{metric: rest, lines: p.render(rest, "")})
	}
	if form == Protobuf {
		p.proto = newMessages(p)
	}
	return p
}

// replaceable says whether subjects come and go in the life of a target.
func replaceable(by subject) bool { return by == pod || by == network || by == route }

// render returns the lines of a metric for a subject, whose labels are given.
func (p *Page) render(m metric, subject string) []line {
	if m.typ == histogram {
		return p.renderHistogram(m, subject)
	}
	name := m.name
	if m.typ == native {
		name += "_observations_total"
	}
	dims := m.dims
	if len(dims) == 0 {
		dims = []string{""}
	}
	lines := make([]line, len(dims))
	for i, d := range dims {
		lines[i] = p.line(name, m.move, subject, d)
	}
	return lines
}

func (p *Page) renderHistogram(m metric, subject string) []line {
	lines := make([]line, 0, len(bounds)+2)
	for i, le := range bounds {
		move := movement{share, float64(i+1) / float64(len(bounds))}
		if i == 0 {
			move.kind = lead
		}
		lines = append(lines, p.line(m.name+"_bucket", move, subject, `le="`+le+`"`))
	}
	return append(lines,
		p.line(m.name+"_sum", movement{sum, m.move.size}, subject, ""),
		p.line(m.name+"_count", movement{share, 1}, subject, ""))
}

func (p *Page) line(name string, move movement, labels ...string) line {
	text := bytes.NewBufferString(name)
	separator := "{"
	for _, l := range labels {
		if l != "" {
			text.WriteString(separator)
			text.WriteString(l)
			separator = ","
		}
	}
	if separator == "," {
		text.WriteString("}")
	}
	text.WriteString(" ")
	l := line{text: bytes.Clone(text.Bytes())}
	l.move, l.value = move.begin(&p.random)
	return l
}

// Series is the number of series on the page.
func (p *Page) Series() int {
	n := 0
	for _, b := range p.blocks {
		n += len(b.lines)
	}
	return n
}

// Append moves all values by dt seconds and appends the page in a form that it
// has.
func (p *Page) Append(out []byte, form Form, dt float64) []byte {
	if form == Protobuf {
		p.move(dt)
		return p.proto.appendTo(out)
	}
	for _, b := range p.blocks {
		if len(b.lines) == 0 {
			continue
		}
		out = b.appendHeader(out, form)
		n := 0.0 // Observations of the histogram that the lines are of.
		for i := range b.lines {
			l := &b.lines[i]
			l.value = l.move.advance(l.value, dt, &p.random)
			v := l.value
			if l.move.kind >= lead {
				if l.move.kind == lead {
					n = l.value
				}
				v = l.move.shown(n)
			}
			out = appendValue(append(out, l.text...), v)
			if l.move.kind == lead && form == OpenMetrics {
				out = append(out, ` # {trace_id="4bf92f3577b34da6a3ce929d0e0e4736"} 0.004`...)
			}
			out = append(out, '\n')
		}
	}
	if form == OpenMetrics {
		out = append(out, "# EOF\n"...)
	}
	return out
}

// move moves the values without showing them.
func (p *Page) move(dt float64) {
	for _, b := range p.blocks {
		for i := range b.lines {
			b.lines[i].value = b.lines[i].move.advance(b.lines[i].value, dt, &p.random)
		}
	}
}

// appendHeader appends HELP and TYPE. OpenMetrics names counters without the
// suffix that their series have.
func (b *block) appendHeader(out []byte, form Form) []byte {
	name, typ := b.name, b.typ
	switch {
	case typ == native:
		name, typ = name+"_observations_total", counter
	case form == OpenMetrics && typ == counter:
		name = strings.TrimSuffix(name, "_total")
	}
	out = append(out, "# HELP "...)
	out = append(out, name...)
	out = append(out, ' ')
	out = append(out, b.help...)
	out = append(out, "\n# TYPE "...)
	out = append(out, name...)
	out = append(out, ' ')
	out = append(out, typ...)
	return append(out, '\n')
}

// Replaceable is how many series one call of [Page.Replace] replaces. On a page
// without a pod, an interface or a route it is none.
func (p *Page) Replaceable() int {
	if p.subjects == 0 {
		return 0
	}
	return p.replaceable
}

// Replace has the subject that has been there for longest make room for another
// one, with as many series.
func (p *Page) Replace() {
	if p.Replaceable() > 0 {
		p.replace(p.oldest)
		p.oldest = (p.oldest + 1) % p.subjects
	}
}

func (p *Page) replace(i int) {
	p.generations[i]++
	for _, b := range p.blocks {
		if !replaceable(b.by) {
			continue
		}
		per := b.series()
		lines := b.lines[i*per : (i+1)*per]
		copy(lines, p.render(b.metric, p.shape.describe(b.by, p.target, i, p.generations[i])))
		for j := range lines {
			if k := lines[j].move.kind; k == whole || k == seconds || k == lead {
				lines[j].value = 0 // Counters begin with their subject.
			}
		}
	}
	if p.proto != nil {
		p.proto.relabel(p)
	}
}
