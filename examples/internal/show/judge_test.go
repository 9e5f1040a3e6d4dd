package show

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"
)

// attempts is a record of a run in which server "s1" got this many attempts each
// second, and "s2" the rest of 100.
func attempts(perSecond ...uint64) record {
	r := record{{at: 0, attempts: map[string]uint64{}}}
	var mine, others uint64
	for i, n := range perSecond {
		mine, others = mine+n, others+100-n
		r = append(r, sample{time.Duration(i+1) * time.Second, map[string]uint64{"s1": mine, "s2": others}})
	}
	return r
}

func TestLimits(t *testing.T) {
	const ms, s = time.Millisecond, time.Second
	tests := []struct {
		duration, attempt time.Duration
		success           float64
		grace             time.Duration
	}{
		{20 * s, 0, 0.999, s},
		{10 * s, 0, 0.999, s},
		{20 * s, 250 * ms, 0.9999, s},
		{20 * s, 100 * ms, 0.9999, s},
		{20 * s, 251 * ms, 0.999, s},
		{10*s - 1, 0, 0.97, s - 1},
		{2 * s, 250 * ms, 0.97, 200 * ms},
	}
	for _, tt := range tests {
		l := limitsFor(Options{duration: tt.duration, attemptTimeout: tt.attempt})
		if l.success != tt.success || l.grace.Round(ms) != tt.grace.Round(ms) {
			t.Errorf("%v, attempts %v: got success %v, grace %v, want %v, %v", tt.duration, tt.attempt, l.success, l.grace, tt.success, tt.grace)
		}
	}
}

// TestOutcomes cuts a run of 20 s in two phases. The call that was sent 1 ms
// before the event is the one that the event hit.
func TestOutcomes(t *testing.T) {
	const ms, s = time.Millisecond, time.Second
	bad := errors.New("no")
	results := []result{{0, 0, ms, nil}, {9 * s, 0, ms, nil}, {10*s - ms, 0, Deadline, bad}, {12 * s, 0, ms, nil}}
	o := Options{duration: 20 * s}
	l := limits{grace: s}
	rec := attempts(50, 50, 50, 50, 50, 50, 50, 50, 50, 50, 40, 0, 0, 0, 0, 0, 0, 0, 0, 9)

	got := outcomes([]Phase{{Name: "well"}, {Name: "fault", At: 0.5, Becomes: Killed}}, o, l, rec, results, results)
	if w, f := got[0], got[1]; w.tulle.calls != 2 || w.plain.failed != 0 || f.tulle.calls != 2 || f.plain.failed != 1 {
		t.Errorf("got %+v and %+v, want two calls in each, and the failed one in the second", w, f)
	}
	if want := 0.01; got[0].share != 0 || math.Abs(got[1].share-want) > 1e-9 {
		t.Errorf("got shares %v and %v, want 0 and %v after the grace", got[0].share, got[1].share, want)
	}

	for at, judged := range map[float64]bool{0.1: true, 0.35: true, 0.36: false, 0.9: false} {
		join := outcomes([]Phase{{Name: "join", At: at, Joins: true}}, o, l, rec, results, results)[0]
		if want := 0.045; math.Abs(join.share-want) > 1e-9 || (join.note == "") != judged {
			t.Errorf("join at %v: got share %v, note %q, want %v at the end, judged: %v", at, join.share, join.note, want, judged)
		}
	}
}

// TestJudge breaks each limit alone.
func TestJudge(t *testing.T) {
	fault := Phase{Name: "one is killed", Becomes: Killed}
	join := Phase{Name: "one joins", Joins: true}
	good := func() *Report {
		return &Report{
			writes: "writes",
			plain:  summary{calls: 20000, failed: 4000, p99: time.Second},
			tulle:  summary{calls: 20000, p99: 249 * time.Millisecond},
			phases: []outcome{
				{tulle: summary{calls: 100, failed: 1}},
				{Phase: fault, tulle: summary{calls: 100, failed: 1}, share: 0.029},
				{Phase: join, tulle: summary{calls: 100, failed: 1}, share: 0.03},
			},
		}
	}
	full, tight := Options{duration: fullLength}, Options{duration: fullLength, attemptTimeout: tightAttempts}
	short := Options{duration: 2 * time.Second}
	tests := []struct {
		name string
		run  Options
		doom func(*Report)
		want string // "" for handled
	}{
		{"well", full, func(*Report) {}, ""},
		{"success", full, func(r *Report) { r.tulle.failed = 20 }, ""},
		{"success broken", full, func(r *Report) { r.tulle.failed = 21 }, "99.895 % of tulle's calls succeeded, want 99.9 %"},
		{"success tight", tight, func(r *Report) { r.tulle.failed = 2 }, ""},
		{"success tight broken", tight, func(r *Report) { r.tulle.failed = 3 }, "want 99.99 %"},
		{"success short", short, func(r *Report) { r.tulle.failed = 600 }, ""},
		{"success short broken", short, func(r *Report) { r.tulle.failed = 601 }, "want 97 %"},
		{"p99 broken", full, func(r *Report) { r.tulle.p99 = 250 * time.Millisecond }, "tulle's p99 is 250.0ms, want under 250.0ms"},
		{"p99 short", short, func(r *Report) { r.tulle.p99 = 999 * time.Millisecond }, ""},
		{"p99 short broken", short, func(r *Report) { r.tulle.p99 = time.Second }, "want under 1000.0ms"},
		{"twice", full, func(r *Report) { r.twice = 1 }, "1 writes were executed twice"},
		{"duplicates do no harm", full, func(r *Report) { r.duplicates = 1 }, ""},
		{"before any fault", full, func(r *Report) { r.phases[0].tulle.failed = 2 }, "98.00 % of tulle's calls"},
		{"in a phase", full, func(r *Report) { r.phases[1].tulle.failed = 2 }, "one is killed s1: 98.00 % of tulle's calls"},
		{"in a phase short", short, func(r *Report) { r.phases[1].tulle.failed = 11 }, "89.00 % of tulle's calls succeeded, want 90 %"},
		{"share", full, func(r *Report) { r.phases[1].share = 0.03 }, "one is killed s1: it got 3.0 % of the attempts after 1s, want under 3 %"},
		{"share short", short, func(r *Report) { r.phases[1].share = 0.1 }, "10.0 % of the attempts after 200ms, want under 10 %"},
		{"newcomer", full, func(r *Report) { r.phases[2].share = 0.029 }, "one joins s1: it got 2.9 % of the attempts at the end, want 3 %"},
		{"newcomer late", full, func(r *Report) { r.phases[2].share, r.phases[2].note = 0, "not judged" }, ""},
	}
	for _, tt := range tests {
		r := good()
		tt.doom(r)
		bad := r.judge(limitsFor(tt.run))
		if tt.want == "" && len(bad) > 0 || tt.want != "" && (len(bad) != 1 || !strings.Contains(bad[0], tt.want)) {
			t.Errorf("%s: got %q, want %q", tt.name, bad, tt.want)
		}
	}
}
