package admin

import "time"

// Source is what a Handler shows.
type Source = source

// NewFrom is New for any source.
func NewFrom(s Source, cfg Config) (*Handler, error) { return newHandler(s, cfg) }

// Functions of the package that tests look at alone.
func Clean(text string) string       { return clean(text) }
func Dur(d time.Duration) string     { return dur(d) }
func Percent(x float64) string       { return percent(x) }
func Number(x float64) string        { return number(x) }
func Count(n uint64) string          { return count(n) }
func AcceptsGzip(header string) bool { return acceptsGzip(header) }
func Nice(x float64) float64         { return nice(x) }

// Draw is the line and the area of a chart of one value for each second. A
// negative value is not known.
func Draw(span time.Duration, values ...float64) (path, area string) {
	start := time.Unix(0, 0)
	times, points := make([]time.Time, len(values)), make([]point, len(values))
	for i, v := range values {
		times[i], points[i] = start.Add(time.Duration(i)*time.Second), unknown()
		if v >= 0 {
			points[i].rate = float32(v)
		}
	}
	c := newChart("id", "title", times, points, axis{span, 2 * time.Second}, scale{format: rate, least: 1},
		figure{"", "accent", func(p *point) float32 { return p.rate }})
	return c.Lines[0].Path, c.Lines[0].Area
}
