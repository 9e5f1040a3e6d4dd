package destination

import (
	"sync"
	"sync/atomic"
)

// A Gate counts running calls and can refuse new ones. Make it with NewGate.
type Gate struct {
	calls atomic.Int64  // closed is added by Refuse
	idle  chan struct{} // closed when the last call ends after that
	once  sync.Once
}

// closed is the bit of Gate.calls that refuses new calls.
const closed = int64(-1) << 62

// NewGate returns a Gate that lets calls in.
func NewGate() *Gate { return &Gate{idle: make(chan struct{})} }

// Enter counts a call in, and reports false if calls are refused.
func (g *Gate) Enter() bool {
	if g.calls.Add(1) > 0 {
		return true
	}
	g.Exit()
	return false
}

// Exit counts a call out.
func (g *Gate) Exit() {
	if g.calls.Add(-1) == closed {
		g.once.Do(func() { close(g.idle) })
	}
}

// Refuse makes Enter refuse. It can be called more than once.
func (g *Gate) Refuse() {
	for {
		n := g.calls.Load()
		if n < 0 {
			return
		}
		if g.calls.CompareAndSwap(n, n+closed) {
			if n == 0 {
				g.once.Do(func() { close(g.idle) })
			}
			return
		}
	}
}

// Idle is closed when calls are refused and none is running.
func (g *Gate) Idle() <-chan struct{} { return g.idle }
