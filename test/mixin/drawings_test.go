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

package mixin

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/promqltest"
	"github.com/prometheus/prometheus/storage"
)

var redraw = flag.Bool("draw", false, "write the drawings of the dashboards instead of comparing them")

// drawings are the dashboards that the documentation shows, of what was recorded.
var drawings = []struct{ dashboard, instance, endpoint string }{
	{"agent-fleet", ".+", ".+"},
	{"agent-one", "limit", ".+"},
	{"agent-endpoint", "dead", "one"},
}

// quiet are panels with nothing to show in a recording: of what did not happen, or what is
// not recorded.
var quiet = []string{
	"Requests", // Buckets are not recorded.
	"Dropped",  // No rules drop anything.
}

// TestDrawings evaluates every query of the dashboards on what agents recorded, and demands
// that each panel shows something in one of them. What it draws of that is in the
// documentation, and current.
func TestDrawings(t *testing.T) {
	var load strings.Builder
	load.WriteString("load 1m\n")
	for _, o := range outages {
		series := recorded(t, o.name)
		for _, s := range slices.Sorted(maps.Keys(series)) {
			fmt.Fprintf(&load, "  %s %s\n", s, series[s])
		}
	}
	e := &evaluation{
		data:   promqltest.LoadedStorage(t, load.String()),
		engine: promqltest.NewTestEngine(t, false, 5*time.Minute, 10_000_000),
	}
	all := dashboards(t)
	for _, d := range drawings {
		board := all[d.dashboard+".json"]
		for _, p := range board.Panels {
			shows := false
			for _, target := range p.Targets {
				e.instance, e.endpoint = ".+", ".+"
				shows = shows || len(e.over(t, target.Expr)) > 0
			}
			require.True(t, shows || p.Type == "row" || slices.Contains(quiet, p.Title), "%s: %s shows nothing", d.dashboard, p.Title)
		}
		e.instance, e.endpoint = d.instance, d.endpoint
		drawn := draw(t, e, board)
		path := filepath.Join("..", "..", "docs", "images", d.dashboard+".svg")
		if *redraw {
			require.NoError(t, os.WriteFile(path, []byte(drawn), 0o644))
		}
		old, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, string(old), drawn, "%s: go test ./test/mixin -run TestDrawings -draw", path)
	}
}

// evaluation is what queries are evaluated on, with the values of the variables.
type evaluation struct {
	data               storage.Queryable
	engine             *promql.Engine
	instance, endpoint string
}

// over evaluates a query over the whole recording, minute by minute.
func (e *evaluation) over(t *testing.T, expr string) promql.Matrix {
	t.Helper()
	expr = strings.NewReplacer("$__rate_interval", "4m", "$__range", "30m",
		"$job", ".+", "$instance", e.instance, "$remote_name", e.endpoint).Replace(expr)
	query, err := e.engine.NewRangeQuery(context.Background(), e.data, nil, expr, time.Unix(0, 0), time.Unix(31*60, 0), time.Minute)
	require.NoError(t, err)
	defer query.Close()
	result := query.Exec(context.Background())
	require.NoError(t, result.Err, expr)
	matrix, err := result.Matrix()
	require.NoError(t, err)
	var kept promql.Matrix
	for _, s := range matrix { // The memory is the query's.
		s.Floats = slices.Clone(s.Floats)
		kept = append(kept, s)
	}
	return kept
}

const (
	column = 56 // Pixels of the grid.
	line   = 30
)

var palette = []string{"#3274d9", "#e0752d", "#37872d", "#c4162a", "#8f3bb8", "#b8860b", "#0a7f8c", "#7a5c3e"}

// draw draws a dashboard as it looks at the end of the recording.
func draw(t *testing.T, e *evaluation, d dashboard) string {
	var s strings.Builder
	height := 0
	for _, p := range d.Panels {
		height = max(height, p.GridPos.Y+p.GridPos.H)
	}
	fmt.Fprintf(&s, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12">`+"\n", 24*column, height*line+30)
	fmt.Fprintf(&s, `<rect width="100%%" height="100%%" fill="#f4f5f5"/><text x="8" y="20" font-size="16">%s</text>`+"\n", d.Title)
	for _, p := range d.Panels {
		g := p.GridPos
		fmt.Fprintf(&s, `<g transform="translate(%d %d)">`+"\n", g.X*column, g.Y*line+30)
		w, h := g.W*column, g.H*line
		if p.Type == "row" {
			fmt.Fprintf(&s, `<text x="8" y="20" font-weight="bold">%s</text></g>`+"\n", p.Title)
			continue
		}
		fmt.Fprintf(&s, `<rect x="3" y="3" width="%d" height="%d" fill="#fff" stroke="#ccc"/><text x="12" y="20">%s</text>`+"\n", w-6, h-6, p.Title)
		switch p.Type {
		case "stat":
			drawStat(t, &s, e, p, w, h)
		case "table":
			drawTable(t, &s, e, p, w)
		default:
			drawGraph(t, &s, e, p, w, h)
		}
		s.WriteString("</g>\n")
	}
	s.WriteString("</svg>\n")
	return s.String()
}

// last is the value of a series at the end, if it has one then.
func last(s promql.Series) (float64, bool) {
	if n := len(s.Floats); n > 0 && s.Floats[n-1].T == 31*60_000 {
		return s.Floats[n-1].F, true
	}
	return 0, false
}

func drawStat(t *testing.T, s *strings.Builder, e *evaluation, p panel, w, h int) {
	text, colour := p.FieldConfig.Defaults.NoValue, "#37872d"
	for _, series := range e.over(t, p.Targets[0].Expr) {
		if v, is := last(series); is {
			text = inUnit(v, p.FieldConfig.Defaults.Unit)
			for _, step := range p.FieldConfig.Defaults.Thresholds.Steps {
				if step.Value == nil || v >= *step.Value {
					colour = map[string]string{"green": "#37872d", "orange": "#e0752d", "red": "#c4162a", "blue": "#3274d9"}[step.Color]
				}
			}
		}
	}
	fmt.Fprintf(s, `<text x="%d" y="%d" text-anchor="middle" font-size="20" fill="%s">%s</text>`+"\n", w/2, h/2+20, colour, text)
}

func drawTable(t *testing.T, s *strings.Builder, e *evaluation, p panel, w int) {
	type cell struct{ text, unit string }
	titles := []string{"instance", "remote_name"}
	rows := map[string]map[string]cell{}
	for i, target := range p.Targets {
		title, unit := target.RefID, ""
		for _, property := range p.FieldConfig.Overrides[i].Properties {
			switch property.ID {
			case "displayName":
				title = property.Value.(string)
			case "unit":
				unit = property.Value.(string)
			}
		}
		titles = append(titles, title)
		for _, series := range e.over(t, target.Expr) {
			v, is := last(series)
			if !is {
				continue
			}
			instance, endpoint := series.Metric.Get("instance"), series.Metric.Get("remote_name")
			key := instance + " " + endpoint
			if rows[key] == nil {
				rows[key] = map[string]cell{"instance": {text: instance}, "remote_name": {text: endpoint}}
			}
			rows[key][title] = cell{inUnit(v, unit), unit}
		}
	}
	y, step := 40, (w-24)/len(titles)
	for i, title := range titles {
		fmt.Fprintf(s, `<text x="%d" y="%d" font-weight="bold" fill="#3274d9">%s</text>`+"\n", 12+i*step, y, title)
	}
	// As much as there is room for, endpoints in trouble first.
	keys := slices.SortedFunc(maps.Keys(rows), func(a, b string) int {
		if n := len(rows[b]) - len(rows[a]); n != 0 {
			return n
		}
		return strings.Compare(a, b)
	})
	for _, key := range keys[:min(len(keys), 13)] {
		y += 19
		for i, title := range titles {
			text := "–"
			if c, is := rows[key][title]; is {
				text = c.text
			}
			fmt.Fprintf(s, `<text x="%d" y="%d">%s</text>`+"\n", 12+i*step, y, text)
		}
	}
}

func drawGraph(t *testing.T, s *strings.Builder, e *evaluation, p panel, w, h int) {
	type curve struct {
		name   string
		series promql.Series
	}
	var curves []curve
	top := 0.
	for _, target := range p.Targets {
		for _, series := range e.over(t, target.Expr) {
			name := target.LegendFormat
			for _, label := range []string{"instance", "remote_name", "reason", "type", "code"} {
				name = strings.ReplaceAll(name, "{{"+label+"}}", series.Metric.Get(label))
			}
			highest := 0.
			for _, f := range series.Floats {
				if !math.IsInf(f.F, 0) && !math.IsNaN(f.F) {
					highest = max(highest, f.F)
				}
			}
			top = max(top, highest)
			curves = append(curves, curve{name, series})
		}
	}
	left, right, floor, ceiling := 70., float64(w)-16, float64(h)-52, 36.
	x := func(ms int64) float64 { return left + (right-left)*float64(ms)/(31*60_000) }
	y := func(v float64) float64 { return floor - (floor-ceiling)*max(0, min(v/max(top, 1e-9), 1)) }
	for i := range 3 {
		v := top * float64(i) / 2
		fmt.Fprintf(s, `<path d="M%.0f %.1fH%.0f" stroke="#e4e4e4"/><text x="%.0f" y="%.1f" text-anchor="end" fill="#666" font-size="11">%s</text>`+"\n",
			left, y(v), right, left-4, y(v)+4, inUnit(v, p.FieldConfig.Defaults.Unit))
		if top == 0 {
			break
		}
	}
	for m := int64(0); m <= 30; m += 10 {
		fmt.Fprintf(s, `<text x="%.0f" y="%.0f" text-anchor="middle" fill="#666" font-size="11">%dm</text>`+"\n", x(m*60_000), floor+14, m)
	}
	at := 12
	for i, c := range curves {
		colour := palette[i%len(palette)]
		var path strings.Builder
		before := int64(math.MinInt64)
		for _, f := range c.series.Floats {
			if math.IsNaN(f.F) || math.IsInf(f.F, 0) {
				continue
			}
			command := "L"
			if f.T > before+60_000 || before < 0 {
				command = "M"
			}
			before = f.T
			fmt.Fprintf(&path, "%s%.1f %.1f", command, x(f.T), y(f.F))
		}
		fmt.Fprintf(s, `<path d="%s" fill="none" stroke="%s" stroke-width="1.5"/>`+"\n", path.String(), colour)
		if width := 24 + 6*len(c.name); at+width < w {
			fmt.Fprintf(s, `<path d="M%d %d h10" stroke="%s" stroke-width="3"/><text x="%d" y="%d" font-size="11">%s</text>`+"\n", at, h-22, colour, at+14, h-18, c.name)
			at += width
		}
	}
}

// inUnit writes a value as Grafana does in one of its units, about.
func inUnit(v float64, unit string) string {
	scaled := func(v, base float64, names ...string) string {
		i := 0
		for ; i+1 < len(names) && math.Abs(v) >= base; i++ {
			v /= base
		}
		return strings.TrimSuffix(strings.TrimSuffix(fmt.Sprintf("%.1f", v), "0"), ".") + names[i]
	}
	switch unit {
	case "bytes":
		return scaled(v, 1024, " B", " KiB", " MiB", " GiB", " TiB")
	case "Bps":
		return scaled(v, 1000, " B/s", " kB/s", " MB/s", " GB/s")
	case "cps":
		return scaled(v, 1000, " c/s", "K c/s", "M c/s")
	case "percentunit":
		return scaled(v*100, 1e9, "%")
	case "s":
		switch {
		case v >= 5400:
			return scaled(v/3600, 1e9, " h")
		case v >= 90:
			return scaled(v/60, 1e9, " min")
		default:
			return scaled(v, 1e9, " s")
		}
	default:
		return scaled(v, 1000, "", "K", "M", "G")
	}
}
