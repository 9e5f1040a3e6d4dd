package tullegrpc

import "sync"

// A teller tells hooks and spans what comes of one RPC, in the order in which it came.
// What happens under a lock, of ours or of gRPC's, is said there and told after it, as
// a hook may do what needs the lock. One goroutine tells at a time; what others say
// meanwhile, and what the hook itself leads to, it tells next. A nil teller is that of
// an RPC that nobody follows.
type teller struct {
	mu   sync.Mutex
	due  []func() // guarded by mu
	busy bool     // guarded by mu: somebody tells
}

// say has f told.
func (t *teller) say(f func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.due = append(t.due, f)
}

// tell tells what has been said. It is called without a lock.
func (t *teller) tell() {
	if t != nil {
		t.tellAll()
	}
}

// tellAll is tell where somebody follows.
func (t *teller) tellAll() {
	f := t.first()
	if f == nil {
		return
	}
	told := false
	defer func() {
		if !told { // a hook has panicked
			t.mu.Lock()
			defer t.mu.Unlock()
			t.busy = false
		}
	}()
	for f != nil {
		f()
		f = t.next()
	}
	told = true
}

// first is what is to be told first, nil if that is nothing or somebody tells already.
func (t *teller) first() func() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.busy {
		return nil
	}
	return t.nextLocked()
}

// next is what is to be told next, nil if that is nothing.
func (t *teller) next() func() {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.nextLocked()
}

// nextLocked takes out what is due.
func (t *teller) nextLocked() func() {
	t.busy = len(t.due) > 0
	if !t.busy {
		t.due = nil
		return nil
	}
	f := t.due[0]
	t.due = t.due[1:]
	return f
}
