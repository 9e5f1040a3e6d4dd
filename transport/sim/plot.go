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
	letterWidth = 7
)

func plotColours() []string {
	return []string{"#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#999999"}
}

// panel is one diagram of a plot.
type panel struct {
	title     string
	low, high float64
	log       bool
	marks     []float64 // the values that get a line of their own
	value     func(*Slice) (float64, bool)
	label     func(float64) string
	top       int
}

// WriteSVG writes a plot of success and latency over time, one line for each
// variant, as an SVG image that needs nothing else.
func (res *Result) WriteSVG(w io.Writer) error {
	panels := res.panels()
	columns := res.columns()
	legend := legendLine * ((len(res.Rows) + columns - 1) / columns)
	height := 60 + legend + len(panels)*(panelHeight+panelGap)
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %[1]d %[2]d" font-family="sans-serif" font-size="12">`+"\n",
		plotWidth, height)
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="#fff"/>`+"\n", plotWidth, height)
	fmt.Fprintf(&b, `<text x="%d" y="24" font-size="16">%s, seed %d</text>`+"\n", plotLeft, html.EscapeString(res.Scenario), res.Seed)
	for i := range res.Rows {
		x, y := plotLeft+(plotWidth-plotLeft-plotRight)/columns*(i%columns), 46+legendLine*(i/columns)
		fmt.Fprintf(&b, `<path d="M%d %dh20" %s stroke-width="3"/><text x="%d" y="%d">%s</text>`+"\n",
			x, y-4, stroke(i), x+26, y, html.EscapeString(res.Rows[i].Variant))
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

// columns is how many names fit side by side in the legend.
func (res *Result) columns() int {
	longest := 1
	for i := range res.Rows {
		longest = max(longest, len(res.Rows[i].Variant))
	}
	return min(max((plotWidth-plotLeft-plotRight)/(30+letterWidth*longest), 1), 4)
}

// stroke is the look of a variant's lines. Where colours end they begin anew, with
// dashes.
func stroke(i int) string {
	colours := plotColours()
	look := fmt.Sprintf(`stroke="%s"`, colours[i%len(colours)])
	if lap := i / len(colours); lap > 0 {
		look += fmt.Sprintf(` stroke-dasharray="%d 3"`, 3+4*lap)
	}
	return look
}

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
	low, high, marks := ladder(least, most)
	floor := min(math.Floor(worst*10)*10, 90)
	ps := []panel{{
		title: fmt.Sprintf("good calls (within %v)", res.Goal), low: floor, high: 100,
		marks: []float64{floor, 75*floor/100 + 25, 50*floor/100 + 50, 25*floor/100 + 75, 100},
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
			title: q.name + " of the latency; a gap where it lies among failures", low: low, high: high, log: true, marks: marks,
			value: func(s *Slice) (float64, bool) { d := q.of(s); return d.Seconds(), s.Calls > 0 && d > 0 },
			label: func(y float64) string { return time.Duration(math.Round(y * 1e9)).String() },
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

// ladder is a logarithmic scale: the nearest of 1, 2 and 5 times a power of ten
// around the values, a decade at least, and which of them to mark.
func ladder(least, most float64) (low, high float64, marks []float64) {
	var all, tens []float64
	for power := math.Floor(math.Log10(least)); high < most || high < 9.99*low; power++ {
		for _, digit := range []float64{1, 2, 5} {
			v := digit * math.Pow(10, power)
			if v <= least || low == 0 {
				low, all, tens = v, nil, nil
			}
			if high = v; digit == 1 {
				tens = append(tens, v)
			}
			if all = append(all, v); high >= most && high >= 9.99*low {
				break
			}
		}
	}
	if len(all) > 8 {
		return low, high, tens
	}
	return low, high, all
}

// drawPanel draws a diagram.
func (res *Result) drawPanel(b *strings.Builder, p *panel) {
	inner := plotWidth - plotLeft - plotRight
	fmt.Fprintf(b, `<text x="%d" y="%d" fill="#444">%s</text>`+"\n", plotLeft, p.top-6, html.EscapeString(p.title))
	for _, v := range p.marks {
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
		// Each line is thinner than those below, so that all show where they meet.
		thin := float64(i+1) / float64(len(res.Rows))
		p.draw(b, res.Rows[i].Series, fmt.Sprintf(`%s stroke-width="%.1f"`, stroke(i), 4-2.5*thin), float64(inner)/float64(seconds))
	}
}

// draw draws one line, with gaps where there is no value. A second between gaps is
// a dot.
func (p *panel) draw(b *strings.Builder, series []Slice, look string, step float64) {
	var path strings.Builder
	pen := "M%.1f %.1fh0"
	for k := range series {
		v, ok := p.value(&series[k])
		if !ok {
			pen = "M%.1f %.1fh0"
			continue
		}
		fmt.Fprintf(&path, pen, plotLeft+step*(float64(k)+0.5), p.y(min(max(v, p.low), p.high)))
		pen = "L%.1f %.1f"
	}
	if path.Len() > 0 {
		fmt.Fprintf(b, `<path class="line" d="%s" fill="none" %s stroke-linecap="round" stroke-linejoin="round"/>`+"\n", path.String(), look)
	}
}
