package sim

import (
	"fmt"
	"html"
	"io"
	"math"
	"strings"
	"time"
)

// The sizes of a plot in pixels, and its colours: those of Okabe and Ito, which
// people with any colour vision tell apart.
const (
	plotWidth   = 900
	plotLeft    = 80
	plotRight   = 20
	panelHeight = 150
	panelGap    = 45
	legendLine  = 20
)

func plotColours() []string {
	return []string{"#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#999999"}
}

// panel is one diagram of a plot.
type panel struct {
	title     string
	low, high float64
	log       bool
	value     func(*Slice) (float64, bool)
	label     func(float64) string
	top       int
}

// WriteSVG writes a plot of success and latency over time, one line for each
// variant, as an SVG image that needs nothing else.
func (res *Result) WriteSVG(w io.Writer) error {
	panels := res.panels()
	legend := legendLine * ((len(res.Rows) + 3) / 4)
	height := 60 + legend + len(panels)*(panelHeight+panelGap)
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %[1]d %[2]d" font-family="sans-serif" font-size="12">`+"\n",
		plotWidth, height)
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="#fff"/>`+"\n", plotWidth, height)
	fmt.Fprintf(&b, `<text x="%d" y="24" font-size="16">%s, seed %d</text>`+"\n", plotLeft, html.EscapeString(res.Scenario), res.Seed)
	for i := range res.Rows {
		x, y := plotLeft+200*(i%4), 46+legendLine*(i/4)
		fmt.Fprintf(&b, `<path d="M%d %dh20" stroke="%s" stroke-width="3"/><text x="%d" y="%d">%s</text>`+"\n",
			x, y-4, colour(i), x+26, y, html.EscapeString(res.Rows[i].Variant))
	}
	for k := range panels {
		p := &panels[k]
		p.top = 60 + legend + k*(panelHeight+panelGap)
		res.drawPanel(&b, p)
	}
	b.WriteString("</svg>\n")
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fmt.Errorf("sim: writing the plot: %w", err)
	}
	return nil
}

// colour is that of a variant.
func colour(i int) string { return plotColours()[i%len(plotColours())] }

// panels are the diagrams: success, then three percentiles on one scale.
func (res *Result) panels() []panel {
	least, most, worst := math.Inf(1), 0.0, 1.0
	for i := range res.Rows {
		for k := range res.Rows[i].Series {
			s := &res.Rows[i].Series[k]
			for _, d := range []time.Duration{s.P50, s.P99, s.P999} {
				if d > 0 {
					least, most = min(least, d.Seconds()), max(most, d.Seconds())
				}
			}
			if y, ok := success(s); ok {
				worst = min(worst, y/100)
			}
		}
	}
	if most == 0 {
		least, most = 1e-3, 1
	}
	low, high := math.Pow(10, math.Floor(math.Log10(least))), math.Pow(10, math.Ceil(math.Log10(most)))
	floor := math.Floor(worst*10) * 10
	if floor > 99 {
		floor = 90
	}
	ps := []panel{{
		title: fmt.Sprintf("good calls (within %v), %%", res.Goal), low: floor, high: 100,
		value: success, label: func(y float64) string { return fmt.Sprintf("%.4g %%", y) },
	}}
	for _, q := range []struct {
		name string
		of   func(*Slice) time.Duration
	}{
		{"median", func(s *Slice) time.Duration { return s.P50 }},
		{"99th percentile", func(s *Slice) time.Duration { return s.P99 }},
		{"99.9th percentile", func(s *Slice) time.Duration { return s.P999 }},
	} {
		ps = append(ps, panel{
			title: q.name + " of the latency; a gap where it lies among failures", low: low, high: max(high, low*10), log: true,
			value: func(s *Slice) (float64, bool) { d := q.of(s); return d.Seconds(), s.Calls > 0 && d > 0 },
			label: func(y float64) string { return time.Duration(y * 1e9).String() },
		})
	}
	return ps
}

// success is the share of good calls in percent.
func success(s *Slice) (float64, bool) {
	return 100 * float64(s.Good) / float64(max(s.Calls, 1)), s.Calls > 0
}

// y is the height of a value.
func (p *panel) y(v float64) float64 {
	share := (v - p.low) / (p.high - p.low)
	if p.log {
		share = math.Log(v/p.low) / math.Log(p.high/p.low)
	}
	return float64(p.top+panelHeight) - share*panelHeight
}

// marks are the values that get a line of their own.
func (p *panel) marks() []float64 {
	var marks []float64
	if p.log {
		for v := p.low; v <= p.high*1.001; v *= 10 {
			marks = append(marks, v)
		}
		return marks
	}
	for k := range 5 {
		marks = append(marks, p.low+(p.high-p.low)*float64(k)/4)
	}
	return marks
}

// drawPanel draws a diagram.
func (res *Result) drawPanel(b *strings.Builder, p *panel) {
	inner := plotWidth - plotLeft - plotRight
	fmt.Fprintf(b, `<text x="%d" y="%d" fill="#444">%s</text>`+"\n", plotLeft, p.top-6, html.EscapeString(p.title))
	for _, v := range p.marks() {
		fmt.Fprintf(b, `<path d="M%d %.1fh%d" stroke="#ddd"/><text x="%d" y="%.1f" text-anchor="end" fill="#444">%s</text>`+"\n",
			plotLeft, p.y(v), inner, plotLeft-6, p.y(v)+4, html.EscapeString(p.label(v)))
	}
	if len(res.Rows) == 0 {
		return
	}
	seconds := max(len(res.Rows[0].Series), 1)
	for k := 0; k <= seconds; k += max(1, seconds/6) {
		fmt.Fprintf(b, `<text x="%.1f" y="%d" text-anchor="middle" fill="#444">%d s</text>`+"\n",
			plotLeft+float64(inner*k)/float64(seconds), p.top+panelHeight+16, k)
	}
	for i := range res.Rows {
		p.draw(b, res.Rows[i].Series, colour(i), float64(inner)/float64(seconds))
	}
}

// draw draws one line, with gaps where there is no value.
func (p *panel) draw(b *strings.Builder, series []Slice, colour string, step float64) {
	var path strings.Builder
	pen := "M"
	for k := range series {
		v, ok := p.value(&series[k])
		if !ok {
			pen = "M"
			continue
		}
		fmt.Fprintf(&path, "%s%.1f %.1f", pen, plotLeft+step*(float64(k)+0.5), p.y(min(max(v, p.low), p.high)))
		pen = "L"
	}
	if path.Len() > 0 {
		fmt.Fprintf(b, `<path d="%s" fill="none" stroke="%s" stroke-width="1.5"/>`+"\n", path.String(), colour)
	}
}
