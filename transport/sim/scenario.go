package sim

import (
	"time"

	"github.com/tullemesh/tulle/transport"
)

// A Scenario is a service, the load on it, what goes wrong, and the policies that
// are to cope with it. It is plain data. In JSON each key is the name of a field
// with a small letter first, and a time is a string such as "250ms" or "none". A
// policy has the keys that it has in the files of package config: balancer is a
// name, or an object with name and options.
type Scenario struct {
	// Name, About and Source say what it is and where it comes from. Name is
	// required.
	Name, About, Source string

	// Seed makes all that is random. Default (0): 1.
	Seed uint64

	// Duration is how long calls come; then those under way end. Required.
	// Range: up to 24 h. Calls that come during the Warmup at its beginning
	// are not counted.
	Duration, Warmup time.Duration

	// Clients is how many programs send the calls, each with a Transport of its
	// own. Default (0): 1. Range: up to 10000. A call is any client's with the
	// same chance.
	Clients int

	// Zones are those that the clients are in, in turn. Default: clients know no
	// zone, and those of Servers mean nothing.
	Zones []string

	// Servers are the groups of endpoints. At least one server is there at the
	// start.
	Servers []Servers

	// Network is the time that a request, and an answer, takes on its way.
	// Default: none.
	Network Work

	// Discovery is the most that a client learns late of a server that came or
	// went, each at a random time up to it. Default (0): at once.
	Discovery time.Duration

	// Load says when calls come, Calls what they are.
	Load  Load
	Calls Calls

	// Faults are what goes wrong.
	Faults []Fault

	// Policy is that of all Variants, which override it field by field.
	Policy transport.Policy

	// Variants are compared with one another: each gets the same calls, which
	// ask for the same work. Default: Policy alone.
	Variants []Variant
}

// Calls says what all calls have in common.
type Calls struct {
	// Goal is the time within which an answer is a success. Default (0): 1 s.
	Goal time.Duration

	// Deadline is the caller's patience, in its context. Default (0): endless.
	Deadline time.Duration

	// Unsafe is the share of calls that must not be sent twice. Default: 0.
	Unsafe float64

	// Once says that no call can be sent again, as if its body were gone: then
	// a balancer is seen without the help of retries.
	Once bool
}

// Servers is a group of servers that are alike. A server works on as many requests
// at a time as it has workers, and keeps the others in a queue.
type Servers struct {
	// Name is what faults call the group. Default: "servers".
	Name string

	// Count is how many servers it has. Default (0): 1. Range: up to 10000.
	Count int

	// Workers of each. Default (0): 1. Range: up to 100000.
	Workers int

	// Burst is how many workers each has while its neighbours on the machine
	// leave it more than the Workers that it is promised; see the fault
	// "crowding". Default (0): Workers. What a server says of its utilization,
	// and what Load.Capacity counts, is of what is promised.
	Burst int

	// Work is the time that a worker takes for a request. Required.
	Work Work

	// Speed divides that time. Default (0): 1.
	Speed float64

	// Queue is how many requests may wait. Default (0): any number. Negative:
	// none. A request too many is answered at once with status Full: default
	// (0) 503, with a Retry-After of that many seconds unless RetryAfter is 0.
	Queue      int
	Full       int
	RetryAfter int

	// DropCancelled takes requests out of the queue whose client has left.
	DropCancelled bool

	// Weight, Zone and Priority are those of the endpoints.
	Weight   float64
	Zone     string
	Priority int

	// Join and Leave are when the servers come and go. Default: they are there
	// from the start, and stay. One that goes finishes its work and refuses
	// new connections.
	Join, Leave time.Duration

	// Cold is how much slower a server is that has just come, down to 1 after
	// Warming. Default: it is not. A server that is there at the start is warm.
	Cold    float64
	Warming time.Duration
}

// A Variant is one of the policies that are compared.
type Variant struct {
	// Name in the results. Default: that of its balancer.
	Name string

	// Policy overrides Scenario.Policy.
	Policy transport.Policy

	// RetryAll repeats safe calls whatever failed, timeouts included, as a loop
	// around a client does. Attempts and budget hold all the same.
	RetryAll bool
}

// A Fault is something that goes wrong with some servers, or all, from Start to
// End. What Kind may be:
//
//	slow        work takes Factor times as long
//	fixed       each request is answered after exactly Latency, in no queue
//	stuck       requests are taken and never answered
//	erring      a Share of requests is answered with Status after Latency
//	wrong       a Share of requests is answered wrongly, with 200, after Latency
//	refusing    connections are refused
//	blackhole   connections are neither accepted nor refused
//	pausing     everything stands still for Length in each Period
//	capacity    only 1/Factor of the workers are there
//	antagonist  speed changes at random, on average once a Period, to a value
//	            between 1/Factor and Factor
//	crowding    of the workers beyond those that are promised, neighbours leave
//	            none for a Share of the time, and else any number; it changes on
//	            average once a Period
//	churn       one server goes each Period, and comes back as another after Length
//	stall       clients, not servers, stand still for Length in each Period
type Fault struct {
	// Kind is one of those above.
	Kind string

	// Servers is the group; default: all. First and Count pick some of them;
	// default: all from the first one on. For a stall they pick clients.
	Servers      string
	First, Count int

	// Start and End bound it. Default: the whole run.
	Start, End time.Duration

	// Factor, Share, Status, Latency, Period and Length are what Kind says.
	// Default: Factor 1, Share 1, Status 500, Latency 0; a Period has no
	// default where it is needed.
	Factor         float64
	Share          float64
	Status         int
	Latency        time.Duration
	Period, Length time.Duration
}

// Load says when calls come. What Kind may be:
//
//	constant  Rate (the default)
//	ramp      from Rate at the start to To at the end
//	sine      between Rate and To and back in each Period
//	bursts    Rate, and To for Length in each Period
//	steps     the Rate of the last of Points
//	trace     the same, with straight lines between the Points
type Load struct {
	// Kind is one of those above.
	Kind string

	// Rate and To are calls a second, of all clients together; where Capacity
	// is set, they are shares of what the servers can do at most.
	Rate, To float64
	Capacity bool

	// Period and Length are what Kind says.
	Period, Length time.Duration

	// Points are rates by time, in order.
	Points []Point

	// Even makes calls come at even distances. Default: at random (Poisson).
	Even bool
}

// A Point is a rate from a time on.
type Point struct {
	// At is the time since the start of the run, Rate the calls a second.
	At   time.Duration
	Rate float64
}

// Work is a random time. What Kind may be:
//
//	constant     Mean
//	exponential  with Mean
//	normal       with Mean and Deviation, at least 0
//	lognormal    with Median and Deviation
//	pareto       with Mean and Shape, which is above 1
//	bimodal      Mean, and Slow for a Share
//	table        Quantiles, from 0 to 1 at even distances, with straight lines
//	             between
type Work struct {
	// Kind is one of those above. Default: constant.
	Kind string

	// Mean, Median, Deviation, Shape, Slow, Share and Quantiles are what Kind
	// says.
	Mean, Median, Deviation, Slow time.Duration
	Shape, Share                  float64
	Quantiles                     []time.Duration

	// Max cuts off what is longer. Default (0): nothing.
	Max time.Duration
}
