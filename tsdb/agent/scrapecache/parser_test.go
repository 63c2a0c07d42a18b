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
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/textparse"
	"github.com/prometheus/prometheus/storage"
)

// parsed is what a page gives: an entry in each line, up to the error that ends it.
func parsed(t testing.TB, page string, c *Cache, withLabels func(n int) bool) (out []string, quick int) {
	p, err := textparse.New([]byte(page), "text/plain", labels.NewSymbolTable(), textparse.ParserOptions{})
	require.NoError(t, err)
	if _, ok := p.(lineParser); !ok {
		t.Skip("the parser can pass over lines in the fork only")
	}
	p = c.Parser(p)
	for n := 0; ; n++ {
		entry, err := p.Next()
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = nil
			}
			out = append(out, fmt.Sprint("end ", err))
			break
		}
		switch entry {
		case textparse.EntryType:
			name, is := p.Type()
			out = append(out, fmt.Sprintf("type %q %s", name, is))
		case textparse.EntryHelp:
			name, is := p.Help()
			out = append(out, fmt.Sprintf("help %q %q", name, is))
		case textparse.EntryComment:
			out = append(out, fmt.Sprintf("comment %q", p.Comment()))
		case textparse.EntrySeries:
			if is, ok := p.(*parser); ok && is.line > 0 {
				quick++
			}
			text, ts, v := p.Series()
			at := "none"
			if ts != nil {
				at = strconv.FormatInt(*ts, 10)
			}
			var lset labels.Labels
			if withLabels(n) {
				p.Labels(&lset)
			}
			require.Zero(t, p.StartTimestamp())
			require.False(t, p.Exemplar(nil))
			out = append(out, fmt.Sprintf("series %q %s %x %s", text, at, math.Float64bits(v), lset))
			if c == nil {
				break
			}
			if _, ok, _ := get(c, text); !ok && len(text)%11 != 0 {
				c.Add(text, storage.SeriesRef(n+1))
			} else if !ok {
				c.AddDropped(text)
			}
		default:
			out = append(out, fmt.Sprint("entry ", entry))
		}
	}
	c.Flush()
	c.Done()
	return out, quick
}

func get(c *Cache, text []byte) (ref storage.SeriesRef, ok, again bool) {
	if c.Dropped(text) {
		return 0, true, false
	}
	return c.Get(text)
}

// FuzzParser shows that pages give the same whether lines are passed over or parsed in
// full, whatever was on the page before.
func FuzzParser(f *testing.F) {
	const page = "# HELP m is a metric\n# TYPE m counter\nm 1\nm{a=\"b\"} 2\nm{a=\"c\",b=\"d e\"} 3.5e-7\nn 4\n"
	for _, pages := range [][2]string{
		{page, page},
		{page, "# HELP m is a metric\n# TYPE m counter\nm -0\nm{a=\"b\"} NaN\nm{a=\"c\",b=\"d e\"} +Inf\nn 1e400\n"},
		{page, "m 1\nm{a=\"b\"} 2 1234\nm{a=\"c\",b=\"d e\"}  3\nn 0x1p-2\n"},
		{"m 1\n", "mm 2\nm{} 2\nm\t2\nm 3\r\nm 4 \nm  5\nm 6"},
		{"m{a=\"1\n2\"} 1\nn 2\n", "m{a=\"1\n2\"} 2\nn 3\n"},
		{"m 1\nn 2\n", "m 99999999999999999\nn 1_0\nm 007\nn -\n"},
		{"m{a=\"b\"}1\nn 2", "m{a=\"b\"}2\nn \x00\n"},
		{"{\"m\",a=\"b\"} 1\n", "{\"m\",a=\"b\"} 2\n{\"m\",a=\"b\"} {\n"},
		{"m 1\n#c\nn 2\n\n", "\nm 1\n# HELP n\nn 2\n"},
	} {
		f.Add(pages[0], pages[1])
	}
	f.Fuzz(func(t *testing.T, first, second string) {
		c := New(&knower{})
		for n, page := range []string{first, second, first, second, second} {
			some := func(i int) bool { return (i+n)%3 == 0 }
			want, _ := parsed(t, page, nil, some)
			got, _ := parsed(t, page, c, some)
			require.Equal(t, want, got)
		}
	})
}

// Pages as targets have them are passed over line by line, but for what is new.
func TestParserPassesOver(t *testing.T) {
	never := func(int) bool { return false }
	page := func(value, skip int) string {
		var b strings.Builder
		for i := range 100 {
			if i%10 == 0 {
				fmt.Fprintf(&b, "# TYPE m%d counter\n", i/10)
			}
			if i != skip {
				fmt.Fprintf(&b, "m%d{number=\"%d\"} %d\n", i/10, i, value*i)
			}
		}
		return b.String()
	}
	c := New(&knower{})
	for n, want := range []int{0, 100, 100} {
		_, quick := parsed(t, page(n, -1), c, never)
		require.Equal(t, want, quick)
	}
	_, quick := parsed(t, page(7, 50), c, never)
	require.Equal(t, 98, quick, "the one after what is gone is looked up")
	_, quick = parsed(t, page(8, 50), c, never)
	require.Equal(t, 99, quick)
	_, quick = parsed(t, page(9, -1), c, never)
	require.Equal(t, 98, quick, "what is new, and the one after it, are parsed")
	_, quick = parsed(t, page(9, -1), c, never)
	require.Equal(t, 100, quick)
}

// A line that has the key of a report sample is no report sample, and nothing else that
// was not parsed from this format is found in it.
func TestParserTakesItsOwnOnly(t *testing.T) {
	never := func(int) bool { return false }
	c := New(&knower{})
	for range 3 {
		_, ok, _ := get(c, []byte("up\xff"))
		if !ok {
			c.Add([]byte("up\xff"), 1)
		}
		c.Flush()
		c.Done()
	}
	got, quick := parsed(t, "up\xff 5\n", c, never)
	require.Zero(t, quick)
	require.Len(t, got, 1)
	require.NotEqual(t, "end <nil>", got[0])
}

// Numbers are parsed as the full parser parses them, or not at all.
func TestParseNumber(t *testing.T) {
	texts := []string{"0", "-0", "1", "-1", "+1", "1.5", "1e3", "1E-3", ".5", "5.", "-", "+", "", ".", "e", "1e", "NaN", "nan", "+NaN", "Inf", "+Inf", "-Inf", "0x10", "1_000", "007", "123456789012345", "1234567890123456", "9007199254740993", "1e309", "--1", "1-", "½"}
	for range 10_000 {
		texts = append(texts, fmt.Sprint(rand.NormFloat64()*math.Pow(10, float64(rand.IntN(40)-20))), strconv.FormatInt(rand.Int64N(1<<53), 10))
	}
	for _, text := range texts {
		got, ok := parseNumber([]byte(text))
		if !ok {
			continue
		}
		p := textparse.NewPromParser([]byte("m "+text+"\n"), labels.NewSymbolTable(), false)
		entry, err := p.Next()
		require.NoError(t, err, text)
		require.Equal(t, textparse.EntrySeries, entry)
		_, _, want := p.Series()
		require.Equal(t, math.Float64bits(want), math.Float64bits(got), text)
	}
	for _, text := range texts[:1] {
		_, ok := parseNumber([]byte(text))
		require.True(t, ok)
	}
}
