package show

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Servers is how many servers each client has at the start. One more can join,
// whose index is thus Servers.
const Servers = 10

// A Phase begins with an event that happens to one server of each client. What
// has happened stays so until the end.
type Phase struct {
	Name    string  // what happens, in a few words
	At      float64 // when it begins, as a share of the duration
	Server  int     // index of the server that it happens to
	Becomes Mode    // how the server behaves from then on; Healthy: nothing happens
	Joins   bool    // it is no fault: the server is a new one
}

// happens says that the phase begins with an event.
func (p *Phase) happens() bool { return p.Joins || p.Becomes != Healthy }

// begins is when the phase begins in a run of length d.
func (p *Phase) begins(d time.Duration) time.Duration { return time.Duration(p.At * float64(d)) }

// who is the name of the server that it happens to.
func (p *Phase) who() string {
	if !p.happens() {
		return ""
	}
	return serverName(p.Server)
}

// title is the phase in words: what happens, and to whom.
func (p *Phase) title() string { return strings.TrimSpace(p.Name + " " + p.who()) }

// check wants the events in the order of time, each at another server, and time
// enough for a newcomer in a run of the default length.
func (s *Show) check() error {
	var errs []error
	hit := map[int]bool{}
	last := -1.0
	for _, p := range s.Script {
		bad := func(format string, args ...any) {
			errs = append(errs, fmt.Errorf("script: %q: %s", p.Name, fmt.Sprintf(format, args...)))
		}
		if p.At <= last || p.At > 0.8 {
			bad("At %v: want more than %v, and at most 0.8", p.At, last)
		}
		last = p.At
		if !p.happens() {
			continue
		}
		if hit[p.Server] || p.Server < 0 || p.Server > Servers || p.Joins != (p.Server == Servers) {
			bad("Server %d: want one of 0 to %d to which nothing else happens, and %d to join", p.Server, Servers-1, Servers)
		}
		hit[p.Server] = true
		if left := defaultDuration - p.begins(defaultDuration); p.Joins && left < fileTime+newcomerTime+measureTime {
			bad("At %v: leaves %v of %v for a newcomer, want %v", p.At, left, defaultDuration, fileTime+newcomerTime+measureTime)
		}
	}
	return errors.Join(errs...)
}

// width is the length of the longest name in a script.
func width(phases []Phase) int {
	longest := 0
	for i := range phases {
		longest = max(longest, len(phases[i].Name))
	}
	return longest
}
