package admin

import (
	"sync"
	"time"

	"github.com/tullemesh/tulle/transport"
)

// A key names a destination.
type key struct{ service, environment string }

func keyOf(s *transport.ServiceSnapshot) key { return key{s.Name, s.Environment} }

// A mark is what is remembered of a reading to compare later ones with: much less
// than the reading, as there may be a hundred thousand endpoints. It is never
// changed.
type mark struct {
	at       time.Time
	services map[key]*serviceMark
	keys     []key // in the order of the snapshot
	config   ConfigStatus
}

// serviceMark is the part of a mark that is about one destination.
type serviceMark struct {
	breaker   string
	failing   bool // discovery
	ejections uint64
	endpoints []endpointMark

	once  sync.Once
	index map[string]int // of endpoints by address, from find
}

type endpointMark struct {
	addr, state string
	attempts    uint64
}

// markOf remembers a reading.
func markOf(r *reading, config *ConfigStatus) *mark {
	m := &mark{at: r.at, services: make(map[key]*serviceMark, len(r.snap.Services))}
	if config != nil {
		m.config = *config
	}
	for i := range r.snap.Services {
		svc := &r.snap.Services[i]
		s := &serviceMark{
			breaker: svc.Breaker, failing: svc.DiscoveryError != "", ejections: svc.Ejections,
			endpoints: make([]endpointMark, len(svc.Endpoints)),
		}
		for k := range svc.Endpoints {
			e := &svc.Endpoints[k]
			s.endpoints[k] = endpointMark{e.Addr, e.State, e.Attempts}
		}
		k := keyOf(svc)
		m.services[k] = s
		m.keys = append(m.keys, k)
	}
	return m
}

// find looks for an endpoint that is the i-th now, and mostly was then.
func (s *serviceMark) find(i int, addr string) *endpointMark {
	if i < len(s.endpoints) && s.endpoints[i].addr == addr {
		return &s.endpoints[i]
	}
	s.once.Do(func() {
		s.index = make(map[string]int, len(s.endpoints))
		for i := range s.endpoints {
			s.index[s.endpoints[i].addr] = i
		}
	})
	if i, ok := s.index[addr]; ok {
		return &s.endpoints[i]
	}
	return nil
}

// attempts is how many attempts the i-th endpoint got since. One that was not
// there then counts from now on, as it may have come back with its old count.
func (s *serviceMark) attempts(i int, e *transport.EndpointSnapshot) uint64 {
	was := s.find(i, e.Addr)
	if was == nil || was.attempts > e.Attempts {
		return 0
	}
	return e.Attempts - was.attempts
}

// sum is how many attempts all endpoints got since.
func (s *serviceMark) sum(svc *transport.ServiceSnapshot) uint64 {
	n := uint64(0)
	for i := range svc.Endpoints {
		n += s.attempts(i, &svc.Endpoints[i])
	}
	return n
}

// service is the part about a destination, nil where there is none.
func (m *mark) service(k key) *serviceMark {
	if m == nil {
		return nil
	}
	return m.services[k]
}

// since is the time from the mark on, in seconds.
func (m *mark) since(now time.Time) float64 { return now.Sub(m.at).Seconds() }

// rate is how many attempts a destination gets in a second since the mark, -1
// where that is not known.
func (m *mark) rate(svc *transport.ServiceSnapshot, now time.Time) float64 {
	s := m.service(keyOf(svc))
	if s == nil || m.since(now) <= 0 {
		return -1
	}
	return float64(s.sum(svc)) / m.since(now)
}
