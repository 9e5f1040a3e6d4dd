package badserver

import "sync"

// A Ledger counts how often each request reached an application, over all
// servers of a test. Requests are told apart by IDHeader.
//
// A request counts as soon as a server that does not refuse it has its headers:
// from then on the client cannot know whether the application has acted, and a
// second count for a call that is not safe is a call executed twice.
type Ledger struct {
	mu      sync.Mutex
	touched map[string]int
	refused map[string]int
}

// IDHeader names a request to the ledger.
const IDHeader = "X-Request-Id"

// Touch counts a request that an application may have acted on.
func (l *Ledger) Touch(id string) { l.add(&l.touched, id) }

// refuse counts a request that provably reached no application.
func (l *Ledger) refuse(id string) { l.add(&l.refused, id) }

func (l *Ledger) add(to *map[string]int, id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if *to == nil {
		*to = map[string]int{}
	}
	(*to)[id]++
}

// Touched is how often the request reached an application.
func (l *Ledger) Touched(id string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.touched[id]
}

// Refused is how often the request was provably not processed.
func (l *Ledger) Refused(id string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.refused[id]
}

// Totals are the sums over all requests.
func (l *Ledger) Totals() (touched, refused int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, n := range l.touched {
		touched += n
	}
	for _, n := range l.refused {
		refused += n
	}
	return touched, refused
}
