package admin

import (
	"math"
	"strconv"
	"strings"
	"time"
)

// The box that a chart is drawn in; the page stretches it.
const (
	chartWidth  = 300
	chartHeight = 64
	sparkWidth  = 90
	sparkHeight = 22
	sparkPoints = 100
	gaps        = 5 // intervals without a point, from which on nobody looked
)

// A chart is a picture of one figure or two over the last minutes.
type chart struct {
	ID, Title string
	Now       string // the latest, as text
	Most      string // what the top of the box stands for
	Least     string // what its bottom stands for
	Lines     []line
	Alt       string // what who does not see it is told
	From      string // how far back it goes
}

// line is one figure of a chart.
type line struct {
	Name, Path, Area string
	Class            string
}

// figure is what a chart shows of a point.
type figure struct {
	name, class string
	of          func(*point) float32
}

// A scale says how a chart is to be read.
type scale struct {
	format func(float64) string
	least  float64 // the smallest top of the box
	top    float64 // the top, if it is fixed
	bottom bool    // the box begins near the least value, not at 0
}

// An axis of time ends with the latest point.
type axis struct {
	span time.Duration // from the left edge to the right
	gap  time.Duration // between two points that are not to be joined
}

// newChart draws figures.
func newChart(id, title string, times []time.Time, points []point, a axis, s scale, figures ...figure) chart {
	c := chart{ID: id, Title: title, From: inWords(a.span)}
	low, top := s.bounds(points, figures)
	c.Most, c.Least = round(s.format(top)), round(s.format(low))
	var now []string
	for _, f := range figures {
		p := plot{width: chartWidth, height: chartHeight, low: low, top: top, axis: a, last: math.NaN()}
		for i := range points {
			p.add(times[i], times[len(times)-1], float64(f.of(&points[i])))
		}
		p.lift()
		l := line{Name: f.name, Class: f.class, Path: p.path.String()}
		if len(figures) == 1 {
			l.Area = p.area.String()
		}
		c.Lines = append(c.Lines, l)
		latest := none
		if p.last == p.last {
			latest = s.format(p.last)
		}
		now = append(now, strings.TrimSpace(f.name+" "+latest))
	}
	c.Now = strings.Join(now, " · ")
	c.Alt = title + " over the last " + c.From + ": now " + strings.Join(now, ", ") + "; up to " + s.format(peak(points, figures))
	return c
}

// round takes noughts after the point out of the text of a round number.
func round(text string) string {
	return strings.NewReplacer(".00 ", " ", ".0 ", " ", ".00/", "/", ".0/", "/").Replace(text)
}

// inWords is a span in words.
func inWords(d time.Duration) string {
	if d < 2*time.Minute {
		return strconv.Itoa(int(d.Seconds())) + " s"
	}
	return strconv.Itoa(int(math.Round(d.Minutes()))) + " min"
}

// peak is the largest value that is known.
func peak(points []point, figures []figure) float64 {
	top := 0.0
	for i := range points {
		for _, f := range figures {
			if v := float64(f.of(&points[i])); v > top {
				top = v
			}
		}
	}
	return top
}

// bounds are what bottom and top of the box stand for.
func (s *scale) bounds(points []point, figures []figure) (low, top float64) {
	if top = s.top; top == 0 {
		top = nice(max(s.least, peak(points, figures)))
	}
	if !s.bottom {
		return 0, top
	}
	low = top
	for i := range points {
		for _, f := range figures {
			if v := float64(f.of(&points[i])); v < low {
				low = v
			}
		}
	}
	switch { // so that 99.9 % and 99 % look different, and 50 % is not hidden
	case low >= 0.99*top:
		return 0.95 * top, top
	case low >= 0.9*top:
		return 0.8 * top, top
	case low >= 0.5*top:
		return 0.5 * top, top
	}
	return 0, top
}

// nice is x or a little more, such that it can be read: 1, 2 or 5 and noughts, or
// halves between.
func nice(x float64) float64 {
	if x <= 0 {
		return 1
	}
	unit := math.Pow(10, math.Floor(math.Log10(x)))
	for _, m := range []float64{1, 1.5, 2, 3, 4, 5, 6, 8, 10} {
		if x <= m*unit*(1+1e-9) {
			return m * unit
		}
	}
	return x
}

// A plot makes the path of a line, and of the area below it. Both are broken
// where nothing is known, and where nobody looked.
type plot struct {
	width, height float64
	low, top      float64
	axis

	path, area strings.Builder
	drawing    bool
	x          float64   // of the point before, while drawing
	before     time.Time // of that point
	last       float64   // the latest value
}

// add draws to a point.
func (p *plot) add(at, now time.Time, v float64) {
	p.last = v
	age := now.Sub(at)
	if v != v || age > p.span || p.drawing && at.Sub(p.before) > p.gap {
		p.lift()
	}
	if v != v || age > p.span {
		return
	}
	p.x, p.before = p.width*(1-float64(age)/float64(p.span)), at
	y := p.height
	if p.top > p.low {
		y *= 1 - (min(max(v, p.low), p.top)-p.low)/(p.top-p.low)
	}
	to := short(p.x) + " " + short(y)
	if p.drawing {
		p.path.WriteString("L" + to)
	} else {
		p.path.WriteString("M" + to)
		p.area.WriteString("M" + short(p.x) + " " + short(p.height))
	}
	p.area.WriteString("L" + to)
	p.drawing = true
}

// lift takes the pen off, and closes the area.
func (p *plot) lift() {
	if p.drawing {
		p.area.WriteString("L" + short(p.x) + " " + short(p.height) + "Z")
	}
	p.drawing = false
}

// short is a coordinate.
func short(x float64) string { return strconv.FormatFloat(math.Round(x*10)/10, 'f', -1, 64) }

// spark draws a small line without axes: the latest rates of a destination.
func spark(times []time.Time, points []point, interval time.Duration) string {
	if len(points) == 0 {
		return ""
	}
	from := max(0, len(points)-sparkPoints)
	times, points = times[from:], points[from:]
	figures := []figure{{of: func(p *point) float32 { return p.rate }}}
	p := plot{width: sparkWidth, height: sparkHeight, top: nice(max(1, peak(points, figures))), axis: axis{sparkPoints * interval, gaps * interval}}
	for i := range points {
		p.add(times[i], times[len(times)-1], float64(points[i].rate))
	}
	return p.path.String()
}
