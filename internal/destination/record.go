package destination

import (
	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/retry"
	"github.com/tullemesh/tulle/transport/telemetry"
)

// maxCandidates is the most endpoints that a record of a pick names.
const maxCandidates = 32

// Picked is the pick of the call's present attempt, of an address, with what it was
// chosen from. The one that was picked is always among them.
func (d *Destination) Picked(call *tulle.Call, addr string) telemetry.Pick {
	p := telemetry.Pick{Attempt: int(call.Attempt), Endpoint: addr}
	for _, e := range d.Engine.Status().Endpoints {
		if len(p.Candidates) == maxCandidates && e.Endpoint.Addr != addr {
			continue
		}
		c := telemetry.Candidate{Addr: e.Endpoint.Addr, Cost: e.Policy.Cost}
		switch {
		case e.State != "healthy":
			c.Avoided = e.State
		case call.HasTried(e.Endpoint.Addr):
			c.Avoided = "tried"
		}
		if len(p.Candidates) == maxCandidates {
			p.Candidates[maxCandidates-1] = c
			break
		}
		p.Candidates = append(p.Candidates, c)
	}
	return p
}

// Label is the name of the destination in telemetry.
func (d *Destination) Label() string {
	if d.Environment == "" {
		return d.Name
	}
	return d.Name + "@" + d.Environment
}

// Routed is where a call goes that a rule or its environment sent here, and false
// for one that came by its name alone. Override is what its caller asked for, or "".
func (d *Destination) Routed(options *Options, override string) (telemetry.Route, bool) {
	if d.Environment == "" && (options == nil || options.Ruled == nil) {
		return telemetry.Route{}, false
	}
	r := telemetry.Route{Destination: d.Label(), Override: override}
	if options != nil && options.Ruled != nil {
		r.Rule = options.Ruled.Rule
	}
	return r, true
}

// Notable says whether it is worth telling that an attempt is not repeated: not of one
// that nobody would repeat, such as one that went well.
func Notable(last *tulle.Outcome, why retry.Denial) bool {
	if why == retry.DeniedOutcome || why == retry.DeniedEnded {
		return last.Class.Repetition() != tulle.NoRepeat
	}
	return true
}
