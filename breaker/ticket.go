package breaker

import (
	"sync/atomic"

	"github.com/tullemesh/tulle"
)

// A Ticket is the permit of one call. It is a field of the caller's own object,
// or a local variable, and must not be copied once it is used. The first of Done
// and Cancel counts, whoever calls them and however often. The zero Ticket is one
// whose result nobody wants.
//
// Losing the Ticket of a trial keeps all others out for Config.ProbeTimeout; any
// other may be lost without harm.
type Ticket struct {
	b     *Breaker
	id    uint64 // closed: the word it was admitted at; else trial<<2 | HalfOpen
	spent atomic.Bool
}

// Done says what the call came to, when it is over. Outcomes that are neither
// success nor failure for the service are as Cancel.
func (t *Ticket) Done(o tulle.Outcome) { t.end(o.Class.Service()) }

// Cancel says that nothing will be known of the call. The permit of a trial goes
// back, and the next caller gets it at once.
func (t *Ticket) Cancel() { t.end(tulle.Neither) }

// end gives the verdict to the Breaker, once.
func (t *Ticket) end(v tulle.Verdict) {
	if t.b != nil && !t.spent.Swap(true) {
		t.b.Settle(Permit(t.id), v)
	}
}

// Trial says that the call decides whether the Breaker closes. It should go where
// it is most likely to succeed.
func (t *Ticket) Trial() bool { return Permit(t.id).Trial() }

// Answered says that the call's response has begun, and well. A trial that then
// outlives its lease counts as a success: a stream may last for hours. Done is
// still to be called at the end.
func (t *Ticket) Answered() {
	if t.b != nil {
		t.b.Answer(Permit(t.id))
	}
}
