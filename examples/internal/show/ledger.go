package show

import "sync"

// A ledger is the database that the servers of a group share. As services with
// idempotency keys do, they look a key up when a call arrives and store it
// with the effect. A repeat that comes after the effect is thus a duplicate
// delivery and does no harm. Nothing here locks a key during the work: two
// calls with one key that overlap would both have their effect, and that is
// what executedTwice counts. So a client that repeats a write while the first
// attempt still runs is found out.
type ledger struct {
	mu         sync.Mutex
	effects    map[string]int // guarded by mu: by key
	duplicates int            // guarded by mu
}

// delivered says whether the key's effect is there already, and counts that as
// a duplicate delivery.
func (l *ledger) delivered(key string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.effects[key] == 0 {
		return false
	}
	l.duplicates++
	return true
}

// execute is the effect of a write.
func (l *ledger) execute(key string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.effects == nil {
		l.effects = make(map[string]int)
	}
	l.effects[key]++
}

// count returns how many writes had their effect, how many of these more than
// once, and how many calls came after the effect.
func (l *ledger) count() (executed, twice, duplicates int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, n := range l.effects {
		if n > 1 {
			twice++
		}
	}
	return len(l.effects), twice, l.duplicates
}
