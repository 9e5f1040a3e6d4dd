package balancer

import (
	"math"
	"math/rand/v2"
	"time"
)

// The constants of the rule. They were tuned together, by simulation of thirty
// kinds of trouble; docs/adr/0006-default-balancer.md tells what each buys.
const (
	sedTau          = 10 * time.Second // mean lifetime of everything that is remembered
	sedWindow       = 20               // latency samples remembered of one endpoint
	sedTimeout      = 20               // means of the pool that a timeout at a full window counts as, at most
	sedPrior        = 2                // weight, in samples, of the pool's mean in an estimate
	sedPoolWindow   = 200              // latency samples remembered of the pool
	sedVerdicts     = 10               // successes and failures remembered of one endpoint
	sedVerdictPrior = 1                // successes that every endpoint starts with
	sedWorst        = 0.001            // floor of the success share
	sedOffset       = 1.5              // the attempt to send, and a little for those of other clients
	sedShare        = 0.125            // share of recent picks above which an endpoint is overused
	sedSharePicks   = 100              // picks per half of the window in which shares are counted
	sedIntroduction = 10 * time.Second // a new endpoint waits up to this long
	sedChoices      = 32               // candidates of a pick
	sedTie          = 1 - 1e-3         // costs that differ by less are equal
	sedRefresh      = 50 * time.Millisecond
	sedInstant      = time.Millisecond // times that are closer are the same: memory fades by 1/10,000 of it
	sedFloor        = time.Microsecond // of an estimate, so that queues order endpoints without samples
	sedThrottle     = time.Second      // how long a plea for less without a time is honoured

	overusedFactor    = 1e3
	introducingFactor = 1e4
	throttledFactor   = 8
)

// ShortestExpectedDelay is the default policy: an attempt goes to the endpoint
// with the lowest
//
//	expected time × (waiting ÷ weight + 1.5) ÷ chance of success³
//
// among all endpoints, or among 32 random ones where there are more.
//
// The expected time is a mean of the last 20 latency samples, those of the last
// 10 s counting most, drawn towards the mean of the pool where samples are few:
// an endpoint that nobody uses drifts back to the mean, and a new one starts
// there. A timeout below the estimate says nothing. One above is a sample, of at
// most 20 times the pool's mean where 20 samples are remembered, and of more the
// fewer they are: an endpoint that always answered and once did not has paused.
// An endpoint whose waiting attempts are older than its estimate is judged by
// their mean age, so a stuck one shows before it answers. The chance of success comes from the last 10 verdicts, so
// an endpoint that fails fast does not look fast. The idea is that of shortest
// expected delay routing with Finagle's latency estimate and the in-flight age
// of kratos; the shrinking, the exponent and the guards are ours.
//
// Weights are relative to the mean of the set. Where they differ, each candidate's
// cost is also multiplied by (e ÷ weight)^⅛, e a random number of the exponential
// distribution: among equals that picks each endpoint with a chance proportional
// to its weight, while one that is twice as dear keeps 1/256 of it. To divide the
// cost by the weight would leave nothing to light endpoints while queues are
// short.
//
// Two guards bound the damage of a wrong judgement. An endpoint that got more
// than an eighth of the last 100 to 200 picks (or twice its fair share, where that
// is more) is used only when nothing else is left: endpoints that answer quickly
// and wrongly cannot draw all traffic. An endpoint that appears after the start
// is left alone for a random time of up to Introduction, drawn per client, so
// that the clients of a large fleet do not all try it at once. An endpoint that
// asked for less traffic costs 8 times more until the time it named.
//
// The zero value is ready to use.
type ShortestExpectedDelay struct {
	// Choices is the number of candidates of a pick. Default (0): 32. Range:
	// 2 to 1024; smaller and larger values count as the nearest of these. 2
	// and 4 make picks cheaper and the latency tail longer.
	Choices int

	// Introduction is the longest time that an endpoint which joined later is
	// left alone. Default (0): 10 s. Negative: it is used at once.
	Introduction time.Duration

	// Rand returns uniform random bits. Default (nil): math/rand/v2. It must
	// be safe for concurrent use.
	Rand func() uint64
}

// Build implements Policy. Endpoints new to the destination get their nodes
// from one slab.
func (s ShortestExpectedDelay) Build(m Members) Picker {
	p := &sedPicker{choices: s.Choices, rand: s.Rand}
	if p.choices == 0 {
		p.choices = sedChoices
	}
	p.choices = min(max(p.choices, 2), 1024)
	if p.rand == nil {
		p.rand = rand.Uint64
	}
	if prev, ok := m.Prev.(*sedPicker); ok {
		p.pool = prev.pool
	} else {
		p.pool = new(sedPool)
	}
	p.pool.size.Store(int64(len(m.Endpoints)))
	s.adopt(p, m)
	return p
}

// adopt fills in the nodes: the known ones as they are, the others fresh.
func (s ShortestExpectedDelay) adopt(p *sedPicker, m Members) {
	nodes, fresh := carry(m, func(n *sedNode) bool { return n.pool == p.pool })
	for i := range fresh {
		fresh[i].pool = p.pool
		if m.Prev != nil {
			fresh[i].introduce(m.Now + s.introduction(p.rand))
		}
	}
	sum := 0.0
	for i := range m.Endpoints {
		sum += m.Endpoints[i].Share()
		p.weighted = p.weighted || m.Endpoints[i].Share() != m.Endpoints[0].Share()
	}
	for i, n := range nodes {
		fair := m.Endpoints[i].Share() / sum
		n.share.Store(pack(fair*float64(len(nodes)), max(sedShare, 2*fair)))
		n.refresh(m.Now)
	}
	p.nodes = nodes
}

// introduction draws how long a new endpoint is left alone.
func (s ShortestExpectedDelay) introduction(rand func() uint64) time.Duration {
	most := s.Introduction
	if most == 0 {
		most = sedIntroduction
	}
	if most < 0 {
		return 0
	}
	return time.Duration(float64(most) * unit(rand()))
}

// unit maps random bits to [0, 1).
func unit(bits uint64) float64 { return float64(bits>>11) / (1 << 53) }

// known is the Node that the destination already has for endpoint i.
func known(m Members, i int) Node {
	if i < len(m.Nodes) {
		return m.Nodes[i]
	}
	return nil
}

// sedPicker is the Picker of one set.
type sedPicker struct {
	pool     *sedPool
	nodes    []*sedNode
	choices  int
	weighted bool // weights differ
	rand     func() uint64
}

// Node implements Picker.
func (p *sedPicker) Node(i int) Node { return p.nodes[i] }

// Pick implements Picker.
func (p *sedPicker) Pick(q Query) int {
	s := sedScan{now: q.Now, best: -1, weighted: p.weighted}
	s.epoch, s.window = p.pool.shares()
	n := len(p.nodes)
	if q.Among == nil && q.Avoid == nil {
		p.scan(&s, p.rand())
		return s.best
	}
	seed := p.rand()
	s.race = splitmix(seed)
	c := newCandidates(q, n, p.choices, s.race.next())
	for i := c.next(); i >= 0; i = c.next() {
		s.look(p.nodes[i], i)
	}
	return s.best
}

// scan looks at all nodes, from a random one on, so that ties spread, or at
// random ones. The same one may be drawn twice there: to make sure costs more
// than a candidate less.
func (p *sedPicker) scan(s *sedScan, seed uint64) {
	n, r := len(p.nodes), splitmix(seed)
	s.race = splitmix(^seed)
	if n > p.choices {
		for range p.choices {
			i := r.below(n)
			s.look(p.nodes[i], i)
		}
		return
	}
	start := r.below(n)
	for i := start; i < n; i++ {
		s.look(p.nodes[i], i)
	}
	for i := range start {
		s.look(p.nodes[i], i)
	}
}

// Describe implements Describer.
func (p *sedPicker) Describe(i int, now time.Duration) Stat {
	n := p.nodes[i]
	epoch, window := p.pool.shares()
	expected, success := n.estimate(now)
	return Stat{
		Cost:    n.price(now, epoch, window),
		Latency: time.Duration(expected * float64(time.Second)),
		Success: success,
	}
}

// sedScan is the search for the cheapest node. What it needs of the pool is
// read once.
type sedScan struct {
	now      time.Duration
	epoch    uint32
	window   uint32
	weighted bool
	race     splitmix
	best     int
	cost     float64
}

// look compares one more candidate.
func (s *sedScan) look(n *sedNode, i int) {
	c := n.price(s.now, s.epoch, s.window)
	if s.weighted {
		weight, _ := unpack(n.share.Load())
		e := -math.Log(1 - unit(s.race.next()))
		c *= math.Sqrt(math.Sqrt(math.Sqrt(e / weight)))
	}
	// Rounding must not order equals: then the first one stays, and the
	// first one is random.
	if s.best < 0 || c < s.cost*sedTie {
		s.best, s.cost = i, c
	}
}
