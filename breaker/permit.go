package breaker

import "github.com/tullemesh/tulle"

// A Permit is a Ticket for engines that keep the promise to settle each call
// once themselves, and want no more than a word for it. The zero Permit is one
// whose result nobody wants.
type Permit uint64

// Trial says that the call decides whether the Breaker closes, so it should go
// where it is most likely to succeed.
func (p Permit) Trial() bool { return stateOf(uint64(p)) == HalfOpen }

// Admit is Allow for engines.
func (b *Breaker) Admit() (Permit, error) {
	t, err := b.Allow()
	return Permit(t.id), err
}

// Settle says, once, what the call of p came to: success or failure for the
// service, or neither, as when nothing is known of it.
func (b *Breaker) Settle(p Permit, v tulle.Verdict) {
	switch {
	case p == 0:
	case p.Trial():
		b.endTrial(uint64(p)>>2, v)
	case v != tulle.Neither:
		b.count(uint64(p), v)
	}
}

// Answer says that the response to the call of p has begun, and well; see
// Ticket.Answered.
func (b *Breaker) Answer(p Permit) {
	if p.Trial() {
		b.answered(uint64(p) >> 2)
		b.changes.flush()
	}
}
