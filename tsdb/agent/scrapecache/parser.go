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

package scrapecache

import (
	"bytes"
	"hash/crc32"
	"hash/maphash"
	"math"
	"strconv"
	"unsafe"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/textparse"
	"github.com/prometheus/prometheus/model/value"
)

// lineParser is a parser of the text format, which can be made to pass over lines. That
// of the fork is one.
type lineParser interface {
	textparse.Parser
	// Rest returns what was not parsed yet. Between two entries it begins with a line.
	Rest() []byte
	// Skip passes over n bytes, which have to be whole lines, or back over them.
	Skip(n int)
}

// parser passes over the samples of which it is known how they are parsed: the series
// that came next in the last scrape comes next, a space and a number follow, and nothing
// else. The text up to there was parsed before, and gives the same again, since the
// format has no context. Everything else is left to a full parser.
type parser struct {
	lineParser
	c     *Cache
	line  int // How long the line is that was passed over, 0 for none.
	text  []byte
	value float64
}

// Parser begins a scrape whose page p parses. It returns a parser that gives what p gives,
// in less time where it is of the text format. Labels are parsed only if they are asked
// for.
func (c *Cache) Parser(p textparse.Parser) textparse.Parser {
	if c == nil {
		return p
	}
	c.begin()
	lines, ok := p.(lineParser)
	if !ok {
		return p
	}
	return &parser{lineParser: lines, c: c}
}

// Next implements textparse.Parser.
func (p *parser) Next() (textparse.Entry, error) {
	if p.line = p.known(p.Rest()); p.line > 0 {
		p.Skip(p.line)
		p.c.text = true
		return textparse.EntrySeries, nil
	}
	entry, err := p.lineParser.Next()
	p.c.text = entry == textparse.EntrySeries
	return entry, err
}

// Series implements textparse.Parser.
func (p *parser) Series() ([]byte, *int64, float64) {
	if p.line > 0 {
		return p.text, nil, p.value
	}
	return p.lineParser.Series()
}

// Labels implements textparse.Parser.
func (p *parser) Labels(l *labels.Labels) {
	if p.line > 0 {
		p.Skip(-p.line)
		// It is the line that was parsed when its series was new.
		_, _ = p.lineParser.Next()
	}
	p.lineParser.Labels(l)
}

// longestNumber is how many characters a number has at most that is not left to the full
// parser.
const longestNumber = 32

// known returns how long the line is that rest begins with, if its series is the one that
// came next in the last scrape, and 0 otherwise.
func (p *parser) known(rest []byte) int {
	c := p.c
	guess := *c.guess()
	if guess >= uint32(len(c.entries)) {
		return 0
	}
	e := &c.entries[guess]
	n := int(e.size)
	if n == 0 || n+1 >= len(rest) || rest[n] != ' ' {
		return 0
	}
	number := rest[n+1 : min(n+1+longestNumber+1, len(rest))]
	end := bytes.IndexByte(number, '\n')
	if end < 0 {
		return 0
	}
	v, ok := parseNumber(number[:end])
	if !ok {
		return 0
	}
	text := rest[:n]
	if e.hash != maphash.Bytes(seed, text) || e.check != crc32.Checksum(text, castagnoli) {
		return 0
	}
	p.text, p.value = text, v
	c.hash, c.check, c.at, c.prev, c.asked = e.hash, e.check, int(guess), int(guess), true
	return n + 1 + end + 1
}

// parseNumber parses what is written in digits, as the full parser does.
func parseNumber(b []byte) (float64, bool) {
	if string(b) == "NaN" {
		return math.Float64frombits(value.NormalNaN), true
	}
	digits, negative := b, false
	if len(b) > 0 && b[0] == '-' {
		digits, negative = b[1:], true
	}
	if n := len(digits); n > 0 && n <= 15 { // Any such integer is a float64.
		var whole int64
		for _, c := range digits {
			if c < '0' || c > '9' {
				return parseFloat(b)
			}
			whole = whole*10 + int64(c-'0')
		}
		v := float64(whole)
		if negative {
			v = -v
		}
		return v, true
	}
	return parseFloat(b)
}

func parseFloat(b []byte) (float64, bool) {
	for _, c := range b {
		if (c < '0' || c > '9') && c != '.' && c != '-' && c != '+' && c != 'e' && c != 'E' {
			return 0, false
		}
	}
	v, err := strconv.ParseFloat(unsafe.String(unsafe.SliceData(b), len(b)), 64)
	return v, err == nil
}
