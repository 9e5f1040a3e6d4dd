package sim

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/tullemesh/tulle/transport"
)

// The limits of a scenario. They keep a slip of the pen from filling the memory,
// and from running for hours without a word.
const (
	maxDuration = 24 * time.Hour
	maxClients  = 10_000
	maxServers  = 10_000
	maxWorkers  = 100_000
	maxRate     = 10_000_000
	maxPairs    = 1_000_000   // of client and server: each client knows each server
	maxCalls    = 100_000_000 // in one run; some minutes of a core
	maxVariants = 100
	maxSpeeds   = 5_000_000   // changes of all antagonists and neighbours, which are drawn before the run
	maxSets     = 1_000_000   // servers of all the sets that churn makes
	maxUpdates  = 100_000_000 // endpoints that clients are told of by churn
)

// complete is the scenario with what was left out filled in, or an error that
// names every field that cannot be used.
func (s Scenario) complete() (Scenario, error) {
	s.Seed = cmp.Or(s.Seed, 1)
	s.Clients = cmp.Or(s.Clients, 1)
	s.Calls.Goal = cmp.Or(s.Calls.Goal, time.Second)
	s.Servers, s.Faults = slices.Clone(s.Servers), slices.Clone(s.Faults)
	for i := range s.Servers {
		s.Servers[i].complete()
	}
	for i := range s.Faults {
		f := &s.Faults[i]
		f.Factor, f.Share, f.Status = cmp.Or(f.Factor, 1), cmp.Or(f.Share, 1), cmp.Or(f.Status, 500)
	}
	if len(s.Variants) == 0 {
		s.Variants = []Variant{{}}
	}
	s.Variants = slices.Clone(s.Variants)
	for i := range s.Variants {
		s.Variants[i].complete(&s)
	}
	if err := s.check(); err != nil {
		return s, err
	}
	if s.Load.Capacity {
		s.Load = s.Load.times(s.capacity())
	}
	return s, nil
}

// complete fills in what was left out.
func (g *Servers) complete() {
	g.Name = cmp.Or(g.Name, "servers")
	g.Count = cmp.Or(g.Count, 1)
	g.Workers = cmp.Or(g.Workers, 1)
	g.Burst = cmp.Or(g.Burst, g.Workers)
	g.Speed = cmp.Or(g.Speed, 1)
	g.Full = cmp.Or(g.Full, 503)
}

// complete fills in the name.
func (v *Variant) complete(s *Scenario) {
	if v.Name != "" {
		return
	}
	p := s.whole(v)
	v.Name = fmt.Sprintf("%T", p.Balancer)
	for _, b := range namedBalancers() {
		if fmt.Sprintf("%T", b.policy) == v.Name {
			v.Name = b.name
			break
		}
	}
}

// times is the load with all rates multiplied.
func (l Load) times(f float64) Load {
	l.Capacity = false
	l.Rate *= f
	l.To *= f
	l.Points = slices.Clone(l.Points)
	for i := range l.Points {
		l.Points[i].Rate *= f
	}
	return l
}

// checker collects what cannot be used.
type checker struct {
	path string
	errs []error
}

// want notes an error about a field unless ok.
func (c *checker) want(ok bool, field string, value any, want string) {
	if ok || len(c.errs) >= maxErrors {
		return
	}
	if s, is := value.(string); is {
		value = fmt.Sprintf("%q", s)
	}
	c.errs = append(c.errs, &FieldError{Path: join(c.path, field), Text: fmt.Sprintf("%v: want %s", value, want)})
}

// below is a checker for what is below a field.
func (c *checker) below(path string, check func(*checker)) {
	inner := checker{path: join(c.path, path)}
	check(&inner)
	c.errs = append(c.errs, inner.errs[:min(len(inner.errs), maxErrors-len(c.errs))]...)
}

// span checks a time that may be left out.
func (c *checker) span(field string, d time.Duration) {
	c.want(d >= 0 && d <= maxDuration, field, d, "0 to 24h")
}

// share says that x is from 0 to 1.
func share(x float64) bool { return x >= 0 && x <= 1 }

// check is the check of a scenario that is complete.
func (s *Scenario) check() error {
	c := &checker{}
	c.want(s.Name != "", "name", s.Name, "a name")
	c.want(s.Duration >= sliceLength && s.Duration <= maxDuration, "duration", s.Duration, "1s to 24h")
	c.want(s.Warmup >= 0 && s.Warmup < max(s.Duration, 1), "warmup", s.Warmup, "less than duration")
	c.want(s.Clients >= 1 && s.Clients <= maxClients, "clients", s.Clients, fmt.Sprintf("1 to %d", maxClients))
	c.span("discovery", s.Discovery)
	c.want(s.Calls.Goal > 0, "calls.goal", s.Calls.Goal, "above 0")
	c.span("calls.deadline", s.Calls.Deadline)
	c.want(share(s.Calls.Unsafe), "calls.unsafe", s.Calls.Unsafe, "0 to 1")
	if s.Network.Kind != "" || s.Network.Mean != 0 {
		c.below("network", s.Network.check)
	}
	s.checkServers(c)
	c.below("load", func(c *checker) { s.Load.check(c, s.capacity(), s.Duration) })
	for i := range s.Faults {
		c.below(fmt.Sprintf("faults[%d]", i), func(c *checker) { s.Faults[i].check(c, s) })
	}
	s.checkSum(c)
	names := map[string]bool{}
	c.want(len(s.Variants) <= maxVariants, "variants", len(s.Variants), fmt.Sprintf("at most %d", maxVariants))
	for i := range s.Variants {
		v := &s.Variants[i]
		at := fmt.Sprintf("variants[%d]", i)
		c.want(!names[v.Name], at+".name", v.Name, "a name that no other has")
		names[v.Name] = true
		c.below(at+".policy", func(c *checker) { c.policy(v.Policy) })
		p := s.whole(v)
		c.want(p.Timeout == 0 || p.AttemptTimeout <= p.Timeout, at+".policy.attemptTimeout", p.AttemptTimeout, "at most timeout")
	}
	c.below("policy", func(c *checker) { c.policy(s.Policy) })
	return errors.Join(c.errs...)
}

// checkServers checks the groups.
func (s *Scenario) checkServers(c *checker) {
	start, all := 0, 0
	for i := range s.Servers {
		g := &s.Servers[i]
		c.below(fmt.Sprintf("servers[%d]", i), g.check)
		all += max(g.Count, 0)
		if g.Join == 0 {
			start += g.Count
		}
	}
	c.want(start > 0, "servers", len(s.Servers), "one server at least that is there at the start")
	c.want(all <= maxServers, "servers", all, fmt.Sprintf("at most %d of them", maxServers))
	c.want(all*s.Clients <= maxPairs, "clients", s.Clients, fmt.Sprintf("with %d servers at most %d", all, maxPairs/max(all, 1)))
}

// check checks a group.
func (g *Servers) check(c *checker) {
	c.want(g.Count >= 1, "count", g.Count, "1 or more")
	c.want(g.Workers >= 1 && g.Workers <= maxWorkers, "workers", g.Workers, fmt.Sprintf("1 to %d", maxWorkers))
	c.want(g.Burst >= g.Workers && g.Burst <= maxWorkers, "burst", g.Burst, fmt.Sprintf("at least workers, up to %d", maxWorkers))
	c.want(g.Speed > 0 && g.Speed <= 1e6, "speed", g.Speed, "above 0, up to 1e6")
	c.want(g.Full >= 200 && g.Full <= 599, "full", g.Full, "200 to 599")
	c.want(g.RetryAfter >= 0 && g.RetryAfter <= 86_400, "retryAfter", g.RetryAfter, "0 to 86400")
	c.want(g.Weight >= 0 && g.Weight <= 1e6, "weight", g.Weight, "above 0, up to 1e6")
	c.span("join", g.Join)
	c.want(g.Leave == 0 || g.Leave > g.Join && g.Leave <= maxDuration, "leave", g.Leave, "later than join, up to 24h")
	c.want(g.Cold == 0 || g.Cold >= 1 && g.Cold <= 1e6, "cold", g.Cold, "1 to 1e6")
	c.span("warming", g.Warming)
	c.below("work", g.Work.check)
}

// check checks a random time.
func (w *Work) check(c *checker) {
	kinds := []string{"constant", "exponential", "normal", "lognormal", "pareto", "bimodal", "table"}
	c.want(w.Kind == "" || slices.Contains(kinds, w.Kind), "kind", w.Kind, "one of "+strings.Join(kinds, ", "))
	c.span("max", w.Max)
	within := func(d time.Duration) bool { return d > 0 && d <= maxDuration }
	switch w.Kind {
	case "table":
		q := w.Quantiles
		c.want(len(q) >= 2 && slices.IsSorted(q) && q[0] >= 0 && q[len(q)-1] <= maxDuration,
			"quantiles", q, "two or more times in order, up to 24h")
		return
	case "lognormal":
		c.want(within(w.Median), "median", w.Median, "above 0, up to 24h")
	default:
		c.want(within(w.Mean), "mean", w.Mean, "above 0, up to 24h")
	}
	c.span("deviation", w.Deviation)
	c.want(w.Kind != "pareto" || w.Shape > 1 && w.Shape <= 100, "shape", w.Shape, "above 1, up to 100")
	c.want(w.Kind != "bimodal" || within(w.Slow), "slow", w.Slow, "above 0, up to 24h")
	c.want(share(w.Share), "share", w.Share, "0 to 1")
}

// check checks a load.
func (l *Load) check(c *checker, capacity float64, whole time.Duration) {
	kinds := []string{"constant", "ramp", "sine", "bursts", "steps", "trace"}
	c.want(l.Kind == "" || slices.Contains(kinds, l.Kind), "kind", l.Kind, "one of "+strings.Join(kinds, ", "))
	unit := 1.0
	if l.Capacity {
		unit = capacity
	}
	c.want(!math.IsNaN(unit) && l.peak()*unit > 0 && l.peak()*unit <= maxRate, "rate", l.peak(),
		fmt.Sprintf("above 0, and up to %d calls a second", maxRate))
	most := l.peak() * unit * min(whole, maxDuration).Seconds()
	c.want(!(most > maxCalls), "rate", l.peak(),
		fmt.Sprintf("at most %d calls, which are the highest rate times the duration; these were %.3g", maxCalls, most))
	c.want(l.Rate >= 0, "rate", l.Rate, "0 or more")
	c.want(l.To >= 0, "to", l.To, "0 or more")
	if l.Kind == "sine" || l.Kind == "bursts" {
		c.want(l.Period >= time.Millisecond && l.Period <= maxDuration, "period", l.Period, "1ms to 24h")
	}
	c.want(l.Kind != "bursts" || l.Length > 0 && l.Length <= l.Period, "length", l.Length, "above 0, up to period")
	ordered := slices.IsSortedFunc(l.Points, func(a, b Point) int { return cmp.Compare(a.At, b.At) })
	for i, p := range l.Points {
		c.want(p.Rate >= 0, fmt.Sprintf("points[%d].rate", i), p.Rate, "0 or more")
	}
	c.want(ordered, "points", len(l.Points), "points in the order of time")
	c.want(l.Kind != "steps" && l.Kind != "trace" || len(l.Points) > 0, "points", len(l.Points), "one or more")
}

// check checks a fault.
func (f *Fault) check(c *checker, s *Scenario) {
	kinds := []string{
		"slow", "fixed", "stuck", "erring", "wrong", "refusing", "blackhole", "pausing", "capacity",
		"antagonist", "crowding", "churn", "stall",
	}
	c.want(slices.Contains(kinds, f.Kind), "kind", f.Kind, "one of "+strings.Join(kinds, ", "))
	known := f.Servers == ""
	for i := range s.Servers {
		known = known || s.Servers[i].Name == f.Servers
	}
	c.want(known, "servers", f.Servers, "the name of a group")
	c.want(f.First >= 0, "first", f.First, "0 or more")
	c.want(f.Count >= 0, "count", f.Count, "0 or more")
	c.span("start", f.Start)
	c.want(f.End == 0 || f.End > f.Start && f.End <= maxDuration, "end", f.End, "later than start, up to 24h")
	c.want(f.Factor >= 1 && f.Factor <= 1e6 || f.Kind == "slow" && f.Factor > 0, "factor", f.Factor, "1 to 1e6")
	c.want(share(f.Share), "share", f.Share, "0 to 1")
	c.want(f.Status >= 400 && f.Status <= 599, "status", f.Status, "400 to 599")
	c.span("latency", f.Latency)
	switch f.Kind {
	case "pausing", "stall", "churn", "antagonist", "crowding":
		c.want(f.Period >= time.Millisecond && f.Period <= maxDuration, "period", f.Period, "1ms to 24h")
	}
	if f.Kind == "pausing" || f.Kind == "stall" {
		c.want(f.Length > 0 && f.Length < f.Period, "length", f.Length, "above 0, less than period")
	}
	c.span("length", f.Length)
}

// checkSum checks what the faults come to together.
func (s *Scenario) checkSum(c *checker) {
	all := 0
	for i := range s.Servers {
		all += min(max(s.Servers[i].Count, 0), maxServers)
	}
	speeds, sets := 0.0, 0.0
	for i := range s.Faults {
		f := &s.Faults[i]
		if f.Period < time.Millisecond {
			continue // an error of its own
		}
		periods := float64(f.during(s.Duration)) / float64(f.Period)
		path := fmt.Sprintf("faults[%d].period", i)
		switch f.Kind {
		case "antagonist", "crowding":
			speeds += periods * float64(all)
			c.want(speeds <= maxSpeeds, path, f.Period, fmt.Sprintf("a longer one: all antagonists and neighbours may change %d times", maxSpeeds))
		case "churn":
			sets += periods * 2 * float64(all)
			c.want(sets <= maxSets, path, f.Period, fmt.Sprintf("a longer one: all sets may come to %d servers", maxSets))
			c.want(sets*float64(s.Clients) <= maxUpdates, path, f.Period,
				fmt.Sprintf("a longer one: clients may be told of %d endpoints", maxUpdates))
		}
	}
}

// during is how long the fault lasts, at most, in a run.
func (f *Fault) during(whole time.Duration) time.Duration {
	end := whole + afterwards
	if f.End > 0 {
		end = min(end, f.End)
	}
	return max(end-f.Start, 0)
}

// policy checks the parts of a policy that are there.
func (c *checker) policy(p transport.Policy) {
	within := func(d time.Duration) bool { return d <= 0 || d >= time.Millisecond && d <= maxDuration }
	c.want(within(p.Timeout), "timeout", p.Timeout, "1ms to 24h, or none")
	c.want(within(p.AttemptTimeout), "attemptTimeout", p.AttemptTimeout, "1ms to 24h, or none")
	if p.Retry != nil {
		c.section("retry", p.Retry.Validate())
	}
	if p.Ejection != nil {
		c.section("ejection", p.Ejection.Validate())
	}
	if p.Breaker != nil {
		c.section("breaker", p.Breaker.Validate())
	}
	if p.Locality != nil {
		c.section("locality", p.Locality.Validate())
	}
	if p.Limit != nil {
		c.section("limit", p.Limit.Validate())
		c.want(p.Limit.Source == nil, "limit.source", "set", "none: a simulation cannot ask it")
	}
}

// section notes the errors of a section of a policy.
func (c *checker) section(name string, err error) {
	list := []error{err}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		list = joined.Unwrap()
	}
	for _, e := range list {
		if e != nil && len(c.errs) < maxErrors {
			c.errs = append(c.errs, &FieldError{Path: join(c.path, name), Text: e.Error()})
		}
	}
}

// unknownBalancer is the error for a name that no balancer has.
func unknownBalancer(name string) error {
	return fmt.Errorf("sim: balancer %q: want one of %s", name, strings.Join(Balancers(), ", "))
}
