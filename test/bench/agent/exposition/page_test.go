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
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"testing"

	"github.com/prometheus/common/model"
	"github.com/stretchr/testify/require"

	"github.com/prometheus/prometheus/model/exemplar"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/textparse"
)

// parsed is what upstream's parser finds on a page.
type parsed struct {
	values     map[string]float64 // By labels. The count of native histograms.
	types      map[string]model.MetricType
	helps      int
	histograms int
	exemplars  int
	bytes      int // Of names and values of labels.
	labels     int
}

func parse(t testing.TB, text []byte, form Form) parsed {
	t.Helper()
	parser, err := textparse.New(text, form.ContentType(), labels.NewSymbolTable(), textparse.ParserOptions{})
	require.NoError(t, err)
	p := parsed{values: map[string]float64{}, types: map[string]model.MetricType{}}
	add := func(v float64) {
		var l labels.Labels
		parser.Labels(&l)
		require.True(t, l.IsValid(model.LegacyValidation), "%s", l)
		of := l.String()
		if _, ok := p.values[of]; ok {
			t.Fatalf("a series twice: %s", of)
		}
		p.values[of] = v
		l.Range(func(l labels.Label) {
			p.bytes += len(l.Name) + len(l.Value)
			p.labels++
		})
	}
	for {
		entry, err := parser.Next()
		if errors.Is(err, io.EOF) {
			return p
		}
		require.NoError(t, err, "%s", text)
		switch entry {
		case textparse.EntrySeries:
			_, timestamp, v := parser.Series()
			require.Nil(t, timestamp)
			add(v)
			var e exemplar.Exemplar
			if parser.Exemplar(&e) {
				p.exemplars++
			}
		case textparse.EntryHistogram:
			_, _, h, _ := parser.Histogram()
			require.NoError(t, h.Validate())
			p.histograms++
			add(float64(h.Count))
		case textparse.EntryType:
			name, typ := parser.Type()
			require.NotContains(t, p.types, string(name), "a family twice")
			p.types[string(name)] = typ
		case textparse.EntryHelp:
			p.helps++
		default:
		}
	}
}

// forms are those that a target serves.
func forms(target *Target) []Form {
	if target.Form == Text {
		return []Form{Text}
	}
	return []Form{Text, target.Form}
}

// allKinds returns a target of every kind and form, of a size.
func allKinds(size int) (all []*Target) {
	seen := map[string]bool{}
	for _, target := range Targets(100*size, Sizes{size, size}) {
		if !seen[target.Job] {
			seen[target.Job] = true
			all = append(all, target)
		}
	}
	return all
}

func TestPagesHaveTheSeriesThatWereAskedFor(t *testing.T) {
	for _, size := range []int{1, 3, 49, 50, 51, 77, 100, 999, 1000, 1001} {
		targets := allKinds(size)
		require.Len(t, targets, 6)
		for _, target := range targets {
			page := target.Page()
			require.Equal(t, size, page.Series())
			for _, form := range forms(target) {
				t.Run(fmt.Sprintf("%s/%s/%d", target.Job, form, size), func(t *testing.T) {
					for range 3 {
						text := page.Append(nil, form, 15)
						require.Len(t, parse(t, text, form).values, size)
						page.Replace()
						page.Replace()
					}
				})
			}
		}
	}
}

func TestFamiliesHaveHelpAndType(t *testing.T) {
	for _, target := range allKinds(1000) {
		page := target.Page()
		for _, form := range forms(target) {
			p := parse(t, page.Append(nil, form, 15), form)
			require.Len(t, p.types, p.helps)
			require.Greater(t, p.helps, 5)
			for name, typ := range p.types {
				require.NotEqual(t, model.MetricTypeUnknown, typ, name)
			}
			switch form {
			case OpenMetrics:
				require.Positive(t, p.exemplars)
			case Protobuf:
				require.Greater(t, p.histograms, 100)
			default:
				require.Zero(t, p.histograms+p.exemplars)
			}
		}
	}
}

// Agents that do not ask for the form that a target prefers get as many series.
func TestTextHasTheSamePlainSeries(t *testing.T) {
	for _, target := range allKinds(1000) {
		text := parse(t, target.Page().Append(nil, Text, 15), Text)
		for _, form := range forms(target) {
			p := parse(t, target.Page().Append(nil, form, 15), form)
			require.Len(t, p.values, len(text.values))
			different := 0
			for of, v := range p.values {
				if other, ok := text.values[of]; !ok {
					different++ // A native histogram.
				} else if v != other {
					t.Fatalf("%s: %g in the text, else %g", of, other, v)
				}
			}
			require.Equal(t, p.histograms, different)
		}
	}
}

func TestCountersGrowAndSomeSeriesRest(t *testing.T) {
	for _, target := range allKinds(1000) {
		page := target.Page()
		for _, form := range forms(target) {
			t.Run(target.Job+"/"+string(form), func(t *testing.T) {
				before := parse(t, page.Append(nil, form, 15), form)
				after := parse(t, page.Append(nil, form, 15), form)
				moved := 0
				for of, v := range after.values {
					was, ok := before.values[of]
					require.True(t, ok, of)
					if v != was {
						moved++
					}
					if strings.Contains(of, "_total") || strings.Contains(of, "_bucket") || strings.Contains(of, "_count") {
						require.GreaterOrEqual(t, v, was, of)
					}
				}
				require.Less(t, moved, 1000)
				if target.Job != "kube-state-metrics" { // Nothing ever happens there but churn.
					require.Greater(t, moved, 100)
				}
			})
		}
	}
}

func TestBucketsAreCumulative(t *testing.T) {
	shape := application(histogram)
	page := newPage(&shape, 0, 100, Text)
	text := string(page.Append(nil, Text, 15))
	last, histograms := 0.0, 0
	for row := range strings.Lines(text) {
		series, shown, _ := strings.Cut(strings.TrimSpace(row), "} ")
		if !strings.HasPrefix(series, "http_request_duration_seconds_") || strings.Contains(series, "_sum") {
			continue
		}
		v, err := strconv.ParseFloat(shown, 64)
		require.NoError(t, err)
		if strings.Contains(series, `le="0.005"`) {
			histograms++
			last = 0
		}
		require.GreaterOrEqual(t, v, last, row)
		if strings.Contains(series, "_count") { // It follows the last bucket.
			require.InDelta(t, last, v, 0)
			require.Positive(t, v)
		}
		last = v
	}
	require.Equal(t, page.subjects, histograms)
}

func TestChurnReplacesSeries(t *testing.T) {
	for _, target := range allKinds(1000) {
		page := target.Page()
		for _, form := range forms(target) {
			before := parse(t, page.Append(nil, form, 15), form)
			page.Replace()
			page.Replace()
			require.Positive(t, page.Replaceable())
			after := parse(t, page.Append(nil, form, 15), form)
			require.Len(t, after.values, 1000)
			gone := 0
			for of := range before.values {
				if _, ok := after.values[of]; !ok {
					gone++
				}
			}
			require.Equal(t, 2*page.Replaceable(), gone, target.Job)
		}
	}
}

// The benchmark says what its series are like, so they have to be.
func TestSeriesAreAsInClusters(t *testing.T) {
	const series = 20_000
	targets := Targets(series, Sizes{1000, 50})
	total, bytes, names, histograms, found := 0, 0, 0, 0, map[Form]int{}
	for _, target := range targets {
		p := parse(t, target.Page().Append(nil, target.Form, 15), target.Form)
		require.Len(t, p.values, target.Series)
		total += len(p.values)
		histograms += p.histograms
		found[target.Form] += target.Series
		bytes += p.bytes
		names += p.labels
		given := len(target.Labels) + 1 // And the job.
		names += given * target.Series
		length := len("job") + len(target.Job)
		for name, value := range target.Labels {
			length += len(name) + len(value)
		}
		bytes += length * target.Series
	}
	require.Equal(t, series, total)
	require.InDelta(t, 10, float64(names)/series, 1)
	require.InDelta(t, 250, float64(bytes)/series, 15)
	require.InDelta(t, 0.09, float64(found[OpenMetrics])/series, 0.005)
	require.InDelta(t, 0.05, float64(found[Protobuf])/series, 0.005)
	require.InDelta(t, 0.008, float64(histograms)/series, 0.004)
}

func TestTargetsAreToldApart(t *testing.T) {
	for _, series := range []int{1, 10, 1000, 12_345, 1_000_000} {
		seen, total := map[string]bool{}, 0
		for _, target := range Targets(series, Sizes{1000, 50}) {
			of := target.Job + " " + target.Labels["instance"]
			require.False(t, seen[of], of)
			seen[of] = true
			total += target.Series
		}
		require.Equal(t, series, total)
	}
}

func BenchmarkAppend(b *testing.B) {
	for _, target := range allKinds(1000) {
		page := target.Page()
		for _, form := range forms(target) {
			b.Run(target.Job+"/"+string(form), func(b *testing.B) {
				var out []byte
				for b.Loop() {
					out = page.Append(out[:0], form, 15)
				}
				b.ReportMetric(float64(len(out)), "B/page")
			})
		}
	}
}
