package breaker

import (
	"github.com/sony/gobreaker/v2"

	"github.com/tullemesh/tulle"
)

// Hold runs f while a result is being told to gobreaker that does not count. A
// goroutine that is held up at the wrong moment has the same effect.
func (b *Breaker) Hold(f func()) {
	_, _ = b.cb.Execute(func() (bool, error) { f(); return false, errStale })
}

// Inner is the state that gobreaker is in.
func (b *Breaker) Inner() gobreaker.State { return b.cb.State() }

// Tell gives a result to gobreaker as Done does, but goes on where a goroutine
// may be held up: after it has seen that the generation is right.
func (t *Ticket) Tell(v tulle.Verdict) bool { return t.b.tell(t.id, v) }
