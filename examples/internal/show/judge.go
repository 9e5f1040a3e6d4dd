package show

import (
	"fmt"
	"time"
)

// A newcomer may be left alone for newcomerTime, the default of
// ShortestExpectedDelay.Introduction, so that the clients of a large fleet do
// not all try it at once. Before that, discovery.File sees it within fileTime;
// after it, its share is measured over measureTime.
const (
	fileTime     = time.Second
	newcomerTime = 10 * time.Second
	measureTime  = 2 * time.Second
)

// onTheWay is how long before an event a call may have been sent that the event
// still hits. Such a call belongs to the phase that begins with the event.
const onTheWay = 4 * serviceTime

// limits are what a run must keep.
type limits struct {
	success      float64       // least of tulle's success
	phaseSuccess float64       // and in each phase
	p99          float64       // tulle's p99 must be under this part of the plain client's
	share        float64       // what a faulty server may get of the attempts must be under this,
	grace        time.Duration // so long after the event
	newShare     float64       // least that the newcomer must get at the end
}

// The lengths that decide on the limits.
const (
	fullLength    = 10 * time.Second
	tightAttempts = 250 * time.Millisecond
)

// limitsFor are the limits of a run. From 10 s on they are those that tulle
// promises. A shorter run has too few calls for them, as each fault costs a
// call or two whatever the length: it keeps wider limits, which a client that
// does not notice faults still breaks.
func limitsFor(o Options) limits {
	if o.duration < fullLength {
		return limits{success: 0.97, phaseSuccess: 0.9, p99: 1, share: 0.1, grace: o.duration / 10, newShare: 0.03}
	}
	l := limits{success: 0.999, phaseSuccess: 0.99, p99: 0.25, share: 0.03, grace: time.Second, newShare: 0.03}
	if o.attemptTimeout > 0 && o.attemptTimeout <= tightAttempts {
		l.success = 0.9999
	}
	return l
}

// An outcome is how both clients came through a phase.
type outcome struct {
	Phase
	plain, tulle summary
	share        float64 // of tulle's attempts that the server got, once tulle could know
	note         string
}

// outcomes cuts the run into its phases.
func outcomes(phases []Phase, o Options, l limits, rec record, plain, tulle []result) []outcome {
	var all []outcome
	for i, p := range phases {
		from, to := time.Duration(0), o.duration
		if i > 0 {
			from = p.begins(o.duration) - onTheWay
		}
		if i+1 < len(phases) {
			to = phases[i+1].begins(o.duration) - onTheWay
		}
		out := outcome{Phase: p, plain: summarize(plain, from, to), tulle: summarize(tulle, from, to)}
		begins := p.begins(o.duration)
		if p.Joins {
			out.share = rec.share(p.who(), o.duration-measureTime, o.duration)
			if begins+fileTime+newcomerTime+measureTime > o.duration {
				out.note = fmt.Sprintf("not judged: a newcomer may be left alone for %v", newcomerTime)
			}
		} else if p.happens() {
			out.share = rec.share(p.who(), begins+l.grace, o.duration)
		}
		all = append(all, out)
	}
	return all
}

// judge returns a sentence for each thing in the phase that was not handled.
func (o *outcome) judge(l limits) (bad []string) {
	complain := func(format string, args ...any) {
		bad = append(bad, o.title()+": "+fmt.Sprintf(format, args...))
	}
	if got := o.tulle.success(); got < l.phaseSuccess {
		complain("%.2f %% of tulle's calls succeeded, want %g %%", 100*got, 100*l.phaseSuccess)
	}
	switch {
	case !o.happens() || o.note != "":
	case o.Joins && o.share < l.newShare:
		complain("it got %.1f %% of the attempts at the end, want %g %%", 100*o.share, 100*l.newShare)
	case !o.Joins && o.share >= l.share:
		complain("it got %.1f %% of the attempts after %v, want under %g %%", 100*o.share, l.grace, 100*l.share)
	}
	return bad
}

// judge returns a sentence for each thing that was not handled.
func (r *Report) judge(l limits) (bad []string) {
	for i := range r.phases {
		bad = append(bad, r.phases[i].judge(l)...)
	}
	complain := func(format string, args ...any) { bad = append(bad, fmt.Sprintf(format, args...)) }
	if got := r.tulle.success(); got < l.success {
		complain("the whole run: %.3f %% of tulle's calls succeeded, want %g %%", 100*got, 100*l.success)
	}
	if limit := time.Duration(l.p99 * float64(r.plain.p99)); r.tulle.p99 >= limit {
		complain("the whole run: tulle's p99 is %s, want under %s", milliseconds(r.tulle.p99), milliseconds(limit))
	}
	if r.twice > 0 {
		complain("the whole run: %d %s were executed twice, want none", r.twice, r.writes)
	}
	return bad
}
