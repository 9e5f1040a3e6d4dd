package peers

import (
	"time"

	"github.com/tullemesh/tulle/balancer"
)

// GRPCLeastRequest is least_request of grpc-go (gRFC A48): the one with the fewest
// waiting attempts of so many draws, in which one may be drawn twice.
type GRPCLeastRequest struct {
	// Choices is the number of draws. Default (0): 2.
	Choices int

	// Rand returns uniform random bits. Default (nil): math/rand/v2.
	Rand func() uint64
}

// Build implements balancer.Policy.
func (g GRPCLeastRequest) Build(m balancer.Members) balancer.Picker {
	draws := max(g.Choices, 2)
	return build(&rule{
		random: g.Rand,
		pick: func(p *picker, allowed []int, _ time.Duration) int {
			best := allowed[p.below(len(allowed))]
			for range draws - 1 {
				if i := allowed[p.below(len(allowed))]; p.nodes[i].waiting < p.nodes[best].waiting {
					best = i
				}
			}
			return best
		},
	}, m)
}

// LeastLoaded takes the one with the fewest waiting attempts of all, a random one
// of equals, as httplb (github.com/bufbuild/httplb) and others offer it.
type LeastLoaded struct {
	// Rand returns uniform random bits. Default (nil): math/rand/v2.
	Rand func() uint64
}

// Build implements balancer.Policy.
func (l LeastLoaded) Build(m balancer.Members) balancer.Picker {
	return build(&rule{
		random: l.Rand,
		pick: func(p *picker, allowed []int, _ time.Duration) int {
			start := p.below(len(allowed))
			best := allowed[start]
			for k := range allowed {
				if i := allowed[(start+k)%len(allowed)]; p.nodes[i].waiting < p.nodes[best].waiting {
					best = i
				}
			}
			return best
		},
	}, m)
}
