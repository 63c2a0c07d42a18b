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
	"fmt"
	"image/color"
	"os"
	"path/filepath"
	"slices"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"

	"github.com/ackwal/ackwal/conformance"
)

// Colours of the senders in the order of contenders, those of Okabe and Ito, which
// can be told apart by most.
var colours = []color.RGBA{
	{0, 114, 178, 255},
	{213, 94, 0, 255},
	{0, 158, 115, 255},
	{204, 121, 167, 255},
	{230, 159, 0, 255},
	{86, 180, 233, 255},
	{90, 90, 90, 255},
}

// drawing is one file of lines.
type drawing struct {
	file, title string
	of          string   // Case.
	senders     []string // Their titles; all if empty.
	width       vg.Length
}

var drawings = []drawing{
	{"outage.svg", "An outage of the receiver, and a restart of the sender in it", "restart-in-outage", []string{"ackwal, durable", "Prometheus agent", "vmagent"}, 16 * vg.Centimeter},
	{"crashes.svg", "Three kills of the sender while it catches up after an outage", "crash-in-catch-up", []string{"ackwal, durable", "Prometheus agent", "vmagent"}, 16 * vg.Centimeter},
	{"outage-all.svg", "An outage of the receiver, and a restart of the sender in it", "restart-in-outage", nil, 20 * vg.Centimeter},
	{"crashes-all.svg", "Three kills of the sender while it catches up after an outage", "crash-in-catch-up", nil, 20 * vg.Centimeter},
}

// draw writes a drawing, unless there are no results of its case.
func (d drawing) draw(r *Results, dir string) error {
	plot.DefaultFont.Variant = "Sans"
	p := plot.New()
	p.Title.Text = d.title
	p.Title.Padding = vg.Points(6)
	p.X.Label.Text = "seconds"
	p.Y.Label.Text = "samples the receiver lacks"
	p.X.Min, p.Y.Min = 0, 0
	p.Legend.Top = true
	p.BackgroundColor = color.White
	grid := plotter.NewGrid()
	grid.Vertical.Color = color.Transparent
	grid.Horizontal.Color = color.Gray{225}
	found := false
	lines := []func(){}
	for i, c := range contenders {
		curve, ok := r.curve(c.title, d.of)
		if !ok || !d.shows(c.title) {
			continue
		}
		if !found {
			if err := shade(p, curve, r.tallest(d)); err != nil {
				return err
			}
			p.Add(grid)
			p.Y.Max = 1.3 * r.tallest(d) // Room for the legend.
			found = true
		}
		points := make(plotter.XYs, len(curve.Seconds))
		for j := range points {
			points[j] = plotter.XY{X: curve.Seconds[j], Y: float64(curve.Outstanding[j])}
		}
		line, err := plotter.NewLine(points)
		if err != nil {
			return fmt.Errorf("%s of %s: %w", d.of, c.title, err)
		}
		line.Color, line.Width = colours[i], vg.Points(1.8)
		if c.program == "otelcol" {
			line.Dashes = []vg.Length{vg.Points(5), vg.Points(2)}
		}
		back, err := plotter.NewScatter(curve.back())
		if err != nil {
			return fmt.Errorf("%s of %s: %w", d.of, c.title, err)
		}
		back.GlyphStyle = draw.GlyphStyle{Color: colours[i], Radius: vg.Points(4), Shape: draw.RingGlyph{}}
		lines = append(lines, func() { p.Add(line, back); p.Legend.Add(c.short, line, back) })
	}
	if !found {
		return nil
	}
	// Ours is drawn last, on top of those that do the same.
	for i := range lines {
		lines[(i+1)%len(lines)]()
	}
	canvas := vgsvg.New(d.width, 9*vg.Centimeter)
	p.Draw(draw.New(canvas))
	out := bytes.Buffer{}
	if _, err := canvas.WriteTo(&out); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, d.file), out.Bytes(), 0o666)
}

func (d drawing) shows(sender string) bool {
	for _, s := range d.senders {
		if s == sender {
			return true
		}
	}
	return len(d.senders) == 0
}

func (r *Results) curve(sender, of string) (Curve, bool) {
	for _, s := range r.Senders {
		if s.Name == sender {
			c, ok := s.Curves[of]
			return c, ok && len(c.Seconds) > 0
		}
	}
	return Curve{}, false
}

// tallest is the highest point of a drawing.
func (r *Results) tallest(d drawing) (highest float64) {
	for _, s := range r.Senders {
		if d.shows(s.Name) {
			for _, n := range s.Curves[d.of].Outstanding {
				highest = max(highest, float64(n))
			}
		}
	}
	return highest
}

// back is where the curve is when the receiver comes back.
func (c Curve) back() (at plotter.XYs) {
	for _, e := range c.Events {
		i, _ := slices.BinarySearch(c.Seconds, e.Seconds)
		if e.What == conformance.ReceiverBack && i < len(c.Seconds) {
			at = append(at, plotter.XY{X: c.Seconds[i], Y: float64(c.Outstanding[i])})
		}
	}
	return at
}

// shade marks the outage, as it was for the first sender. The others' can last longer:
// a case counts scrapes, and waits for senders that take long to stop.
func shade(p *plot.Plot, c Curve, height float64) error {
	var from float64
	away := false
	for _, e := range c.Events {
		switch {
		case e.What == conformance.ReceiverAway && !away:
			away, from = true, e.Seconds
		case e.What == conformance.ReceiverBack && away:
			away = false
			area, err := plotter.NewPolygon(plotter.XYs{{X: from, Y: 0}, {X: from, Y: height}, {X: e.Seconds, Y: height}, {X: e.Seconds, Y: 0}})
			if err != nil {
				return err
			}
			area.Color, area.LineStyle.Width = color.Gray{242}, 0
			p.Add(area)
			p.Legend.Add("receiver away", area)
		case e.What == conformance.SenderStopped, e.What == conformance.SenderKilled:
			line, err := plotter.NewLine(plotter.XYs{{X: e.Seconds, Y: 0}, {X: e.Seconds, Y: height}})
			if err != nil {
				return err
			}
			line.Color, line.Dashes = color.Gray{150}, []vg.Length{vg.Points(2), vg.Points(2)}
			p.Add(line)
		}
	}
	return nil
}
