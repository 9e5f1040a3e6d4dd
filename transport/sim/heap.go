package sim

// An event is something that happens at a time.
type event struct {
	at   int64
	seq  uint32 // orders events of the same time by when they were planned
	kind kind
	id   int32 // whom it happens to: a call, an attempt or a server, by kind
	gen  uint32
}

// kind says what happens.
type kind uint8

const (
	arriveEvent  kind = iota // a call comes
	reachEvent               // an attempt reaches its server
	doneEvent                // a server has finished an attempt
	fixedEvent               // the fixed time of an answer is over
	answerEvent              // an answer reaches its client
	timeoutEvent             // the time of an attempt is over
	retryEvent               // the pause before an attempt is over
	changeEvent              // something in the world changes
	updateEvent              // a client learns of a change of the set
	wakeEvent                // a client that stood still goes on
	probeEvent               // a probe reaches its server
	probedEvent              // and its answer the client
	pollEvent                // a client polls its servers
)

// seen says that code of a client runs at the event, which reads the clock.
func (k kind) seen() bool {
	return k != reachEvent && k != doneEvent && k != fixedEvent && k != probeEvent
}

// agenda is a heap of events, the earliest first. Four children to a node make
// it flatter than two, and its cache lines count more than its comparisons.
type agenda struct {
	heap []event
	seq  uint32
}

// before says that a happens first.
func before(a, b *event) bool {
	return a.at < b.at || a.at == b.at && int32(a.seq-b.seq) < 0
}

// plan adds an event.
func (g *agenda) plan(at int64, k kind, id int32, gen uint32) {
	g.seq++
	e := event{at: at, seq: g.seq, kind: k, id: id, gen: gen}
	g.heap = append(g.heap, e)
	i := len(g.heap) - 1
	for i > 0 {
		up := (i - 1) / 4
		if !before(&e, &g.heap[up]) {
			break
		}
		g.heap[i] = g.heap[up]
		i = up
	}
	g.heap[i] = e
}

// next takes the earliest event; false: there is none.
func (g *agenda) next() (event, bool) {
	n := len(g.heap)
	if n == 0 {
		return event{}, false
	}
	first, last := g.heap[0], g.heap[n-1]
	g.heap = g.heap[:n-1]
	if n > 1 {
		g.sink(last)
	}
	return first, true
}

// sink puts e in the place of the first event, and further down as needed.
func (g *agenda) sink(e event) {
	i, n := 0, len(g.heap)
	for {
		low := 4*i + 1
		if low >= n {
			break
		}
		least := low
		for c := low + 1; c < min(low+4, n); c++ {
			if before(&g.heap[c], &g.heap[least]) {
				least = c
			}
		}
		if !before(&g.heap[least], &e) {
			break
		}
		g.heap[i] = g.heap[least]
		i = least
	}
	g.heap[i] = e
}
