package peers

import (
	"time"

	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/balancer"
)

// A Prober is a Picker whose endpoints answer probes. After each attempt that was
// sent it is asked whom to probe, and it is told what those say, later.
type Prober interface {
	balancer.Picker

	// Probe lists the endpoints to ask, by index.
	Probe(now time.Duration) []int

	// Probed is an answer: how many requests the endpoint has, and its latency at
	// that number.
	Probed(i, inFlight int, latency, now time.Duration)
}

// A Poller is a Picker that asks all of its endpoints how they are, every so often.
type Poller interface {
	balancer.Picker

	// Period is how often. Less than 1 ms is 1 ms.
	Period() time.Duration

	// Polled is an answer: how many requests the endpoint has, and its load of late.
	Polled(i, inFlight int, load tulle.Load, now time.Duration)
}

// A Listener is a Picker whose endpoints say with each answer how they are. It is
// told before the Node learns of the answer, and not of attempts without one.
type Listener interface {
	balancer.Picker

	// Answered says how many requests the endpoint has left, and how long it worked
	// on the one that it answers, without its wait.
	Answered(i, inFlight int, service, now time.Duration)
}
