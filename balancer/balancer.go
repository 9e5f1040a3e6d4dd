package balancer

import (
	"math/bits"
	"time"

	"github.com/tullemesh/tulle"
)

// A Policy makes the Picker for each new set of endpoints. A Policy is a value
// that the user passes; there is no registry. It must be safe for concurrent
// use, as one value may serve many destinations.
//
// All times that a policy sees are durations since one base that the engine
// chose, so that an algorithm can be driven in virtual time. They never go
// back by more than the scheduling of concurrent callers makes them.
type Policy interface {
	// Build returns the Picker for m. It is called by one goroutine at a time
	// for one destination, never on the path of a call, and takes time linear
	// in the size of the set.
	Build(m Members) Picker
}

// PolicyFunc is a func as a Policy.
type PolicyFunc func(Members) Picker

// Build calls f.
func (f PolicyFunc) Build(m Members) Picker { return f(m) }

// Members is a set of endpoints and what is already known of them.
type Members struct {
	// Endpoints is the set: valid, not empty, each Addr once. The Picker names
	// an endpoint by its index here. It is never changed afterwards.
	Endpoints []tulle.Endpoint

	// Nodes holds, for each endpoint that the destination has seen before,
	// the Node that an earlier Picker returned for it, else nil. A policy
	// that finds a Node of its own type carries it on, so that statistics and
	// running attempts survive the change; any other Node (the policy was
	// changed) counts as nil. Build must not keep the slice.
	Nodes []Node

	// Prev is the Picker that is being replaced, or nil for the first.
	Prev Picker

	// Now is the time of the change.
	Now time.Duration
}

// A Picker chooses among the endpoints of one set. Its membership is fixed, its
// statistics are live. All methods are safe for concurrent use. Pick and Begin
// must not block, lock or allocate.
type Picker interface {
	// Pick returns the index of the endpoint for the next attempt, or -1 when
	// q.Among leaves none. It changes no in-flight count: a pick may be given
	// up. Endpoints in q.Avoid are chosen only when there is no other.
	Pick(q Query) int

	// Node returns the Node of endpoint i, the same for the life of the
	// Picker.
	Node(i int) Node
}

// A Node holds what a policy knows of one endpoint. It survives the Picker that
// made it. All methods are safe for concurrent use and must not block or
// allocate. The engine calls them for each attempt in this order: Begin once,
// Answer once, Judge once.
type Node interface {
	// Begin counts an attempt as waiting from now on.
	Begin(now time.Duration)

	// Answer ends the wait of an attempt that began at start: headers or the
	// first message came, or the attempt failed. Now minus start is a latency
	// sample of the kind that sampling says. From here on the attempt may be
	// a stream of any length and is no load that the policy should count.
	Answer(start, now time.Duration, sampling tulle.Sampling)

	// Judge says what the attempt came to, when that is final: for a stream
	// that is its end.
	Judge(now time.Duration, v Judgement)
}

// A Judgement is what an ended attempt says about its endpoint.
type Judgement struct {
	// Verdict counts for the endpoint's share of successes.
	Verdict tulle.Verdict

	// Throttled says that the endpoint asked for less traffic until Until.
	Throttled bool
	Until     time.Duration

	// Back says that the endpoint had been left out and has just proved that it
	// works: the failures that were counted no longer hold.
	Back bool
}

// A Query is what a pick depends on. It is passed by value, as a pointer
// through an interface would put it on the heap.
type Query struct {
	// Now is the time of the pick.
	Now time.Duration

	// Among limits the choice to its members. Nil: all. It is never
	// overruled.
	Among Set

	// Avoid holds endpoints that should not get this attempt, such as those
	// that the call has tried. Nil: none. When all that Among allows are to be
	// avoided, Avoid is ignored.
	Avoid Set
}

// Allows says that i may be picked without overruling Avoid.
func (q *Query) Allows(i int) bool {
	return (q.Among == nil || q.Among.Has(i)) && (q.Avoid == nil || !q.Avoid.Has(i))
}

// A Stat is what a policy tells of one endpoint to people and dashboards.
type Stat struct {
	// Cost is what the policy compares; lower is better. Its unit is the
	// policy's own.
	Cost float64

	// Latency is the policy's present estimate of the time to headers, 0 if
	// it has none.
	Latency time.Duration

	// Success is the policy's estimate of the chance of success, 0 to 1, or
	// -1 if it has none.
	Success float64
}

// A Describer is a Picker that can tell what it thinks of endpoint i.
type Describer interface {
	Describe(i int, now time.Duration) Stat
}

// A Set is a set of small integers, one bit each. A nil Set is empty.
type Set []uint64

// NewSet returns an empty set with room for 0 to n-1.
func NewSet(n int) Set { return make(Set, (n+63)/64) }

// Add puts i into the set, which must have room for it.
func (s Set) Add(i int) { s[i>>6] |= 1 << (i & 63) }

// Remove takes i out of the set.
func (s Set) Remove(i int) { s[i>>6] &^= 1 << (i & 63) }

// Has says whether i is in the set.
func (s Set) Has(i int) bool {
	return i>>6 < len(s) && s[i>>6]&(1<<(i&63)) != 0
}

// Len counts the members.
func (s Set) Len() int {
	n := 0
	for _, w := range s {
		n += bits.OnesCount64(w)
	}
	return n
}

// Next returns the smallest member that is i or more, or -1.
func (s Set) Next(i int) int {
	for w := i >> 6; w < len(s); w++ {
		word := s[w]
		if w == i>>6 {
			word &= ^uint64(0) << (i & 63)
		}
		if word != 0 {
			return w<<6 + bits.TrailingZeros64(word)
		}
	}
	return -1
}
