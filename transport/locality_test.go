package transport_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/discovery"
	"github.com/tullemesh/tulle/transport"
)

// zones is a fleet of workers in zones, one worker for each endpoint, that can be
// slow or down by zone.
type zones struct {
	mu      sync.Mutex
	set     discovery.Static
	zone    map[string]string
	slots   map[string]chan struct{}
	work    map[string]time.Duration // by zone
	down    map[string]bool          // by address
	calls   map[string]int           // answered, by zone
	elapsed map[string]time.Duration
}

// newZones makes so many endpoints in each of the zones.
func newZones(n int, names ...string) *zones {
	z := &zones{
		zone: map[string]string{}, slots: map[string]chan struct{}{}, work: map[string]time.Duration{}, down: map[string]bool{},
	}
	for _, name := range names {
		z.work[name] = 5 * time.Millisecond
		for i := range n {
			addr := fmt.Sprintf("%s%d:80", name, i)
			z.set = append(z.set, tulle.Endpoint{Addr: addr, Zone: name})
			z.zone[addr], z.slots[addr] = name, make(chan struct{}, 1)
		}
	}
	return z
}

// serve is the Base.
func (z *zones) serve(req *http.Request, addr string) (*http.Response, error) {
	z.mu.Lock()
	zone := z.zone[addr]
	work, down, slot := z.work[zone], z.down[addr], z.slots[addr]
	z.mu.Unlock()
	if down {
		return nil, &net.OpError{Op: "dial", Err: errors.New("connection refused")}
	}
	begun := time.Now()
	select {
	case slot <- struct{}{}:
	case <-req.Context().Done():
		return nil, req.Context().Err()
	}
	err := sleep(req, work)
	<-slot
	if err != nil {
		return nil, err
	}
	z.mu.Lock()
	defer z.mu.Unlock()
	z.calls[zone]++
	z.elapsed[zone] += time.Since(begun)
	return answer(req, 200, zone), nil
}

// run makes rate calls a second for d, none of which may fail, and returns what
// part of them was served in a, and how long a call took.
func (z *zones) run(t *testing.T, rt http.RoundTripper, rate int, d time.Duration) (inA float64, mean time.Duration) {
	t.Helper()
	z.mu.Lock()
	z.calls, z.elapsed = map[string]int{}, map[string]time.Duration{}
	z.mu.Unlock()
	var wg sync.WaitGroup
	rnd := rand.New(rand.NewPCG(uint64(rate), uint64(d)))
	for range int(d.Seconds() * float64(rate)) {
		wg.Go(func() {
			if status, _, err := get(context.Background(), rt, "http://svc/"); err != nil || status != 200 {
				t.Errorf("got %d, %v", status, err)
			}
		})
		gap := time.NewTimer(time.Duration(rnd.ExpFloat64() * float64(time.Second) / float64(rate)))
		select {
		case <-gap.C:
		case <-t.Context().Done():
		}
	}
	wg.Wait()
	all := 0
	for zone, n := range z.calls {
		all += n
		mean += z.elapsed[zone]
	}
	return float64(z.calls["a"]) / float64(all), mean / time.Duration(max(all, 1))
}

// transport is a Transport in zone a.
func (z *zones) transport(tb testing.TB, l *transport.Locality) *transport.Transport {
	return newTransport(tb, transport.Config{
		Zone: "a", Base: fleet(z.serve), Defaults: transport.Policy{Locality: l},
		Services: map[string]transport.Service{"svc": {Resolver: z.set}},
	})
}

// Calls stay in the zone while it serves them well. When it becomes slow, most go
// elsewhere before its queue grows without bound; when it is well again they come
// back.
func TestZoneSpillsAndReturns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		z := newZones(4, "a", "b", "c")
		rt := z.transport(t, nil)
		const rate = 300
		z.run(t, rt, rate, 5*time.Second)
		if got, mean := z.run(t, rt, rate, 20*time.Second); math.Abs(got-0.99) > 0.006 || mean > 8*time.Millisecond {
			t.Errorf("all well: got %.4f in the zone and %v, want 0.99, the rest to explore, and 5 to 8 ms", got, mean)
		}
		z.mu.Lock()
		z.work["a"] = 40 * time.Millisecond // the zone can serve 100 calls a second
		z.mu.Unlock()
		_, change := z.run(t, rt, rate, 15*time.Second)
		if got, mean := z.run(t, rt, rate, 15*time.Second); got > 0.25 || got < 0.01 || mean > 25*time.Millisecond {
			t.Errorf("a slow zone: got %.4f in it and %v, want little in it and some 10 to 20 ms", got, mean)
		}
		t.Logf("mean time of a call in the first 15 s with a slow zone: %v", change)
		z.mu.Lock()
		z.work["a"] = 5 * time.Millisecond
		z.mu.Unlock()
		z.run(t, rt, rate, 40*time.Second)
		if got, mean := z.run(t, rt, rate, 15*time.Second); got < 0.96 || mean > 8*time.Millisecond {
			t.Errorf("well again: got %.4f in the zone and %v, want 0.99 and 5 to 8 ms", got, mean)
		}
	})
}

// Where most callers are in one zone, it cannot serve them all; nobody knows, but
// the answers tell, and each of the callers sends a part elsewhere. Without that
// the queues of the zone grow as long as they may.
func TestCrowdedZone(t *testing.T) {
	for _, test := range []struct {
		tolerance float64
		least     time.Duration
		most      time.Duration
		low, high float64
	}{{0, 0, 40 * time.Millisecond, 0.2, 0.62}, {-1, time.Second, time.Hour, 0.7, 0.8}} {
		synctest.Test(t, func(t *testing.T) {
			z := newZones(4, "a", "b", "c")
			for zone := range z.work {
				z.work[zone] = 20 * time.Millisecond // 200 calls a second for each zone
			}
			crowd := make(spread, 8)
			for i := range crowd {
				cfg := transport.Config{
					Zone: "a", Base: fleet(z.serve), Defaults: transport.Policy{Locality: &transport.Locality{Tolerance: test.tolerance}},
					Services: map[string]transport.Service{"svc": {Resolver: z.set}},
				}
				switch i {
				case 0:
					cfg.Zone = "b"
				case 1:
					cfg.Zone = "c"
				}
				crowd[i] = newTransport(t, cfg)
			}
			const rate = 300 // 225 of them from zone a
			z.run(t, crowd, rate, 20*time.Second)
			got, mean := z.run(t, crowd, rate, 30*time.Second)
			t.Logf("tolerance %v: got %.3f of the calls in the crowded zone, and %v for a call", test.tolerance, got, mean)
			if got < test.low || got > test.high || mean < test.least || mean > test.most {
				t.Errorf("tolerance %v: got %.3f of the calls in the crowded zone and %v", test.tolerance, got, mean)
			}
		})
	}
}

// spread sends calls over several clients by chance.
type spread []http.RoundTripper

func (s spread) RoundTrip(req *http.Request) (*http.Response, error) {
	return s[rand.IntN(len(s))].RoundTrip(req)
}

// Endpoints of the zone that are down take their part of the calls with them only
// from a share of 28 % on.
func TestZoneLosesEndpoints(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		z := newZones(4, "a", "b")
		rt := z.transport(t, &transport.Locality{Explore: -1, Tolerance: -1})
		for _, step := range []struct {
			down int
			want float64
		}{{0, 1}, {1, 1}, {2, 0.7}, {4, 0}, {3, 0.35}, {0, 1}} {
			z.mu.Lock()
			for i := range 4 {
				z.down[fmt.Sprintf("a%d:80", i)] = i < step.down
			}
			z.mu.Unlock()
			z.run(t, rt, 100, 15*time.Second) // until those that are back are led in
			got, _ := z.run(t, rt, 100, 10*time.Second)
			if math.Abs(got-step.want) > 0.08 {
				t.Errorf("%d of 4 are down: got %.2f in the zone, want %.2f", step.down, got, step.want)
			}
			shares := rt.Snapshot().Services[0].Shares
			if len(shares) != 2 || shares[0].Zone != "a" || shares[0].Endpoints != 4 || math.Abs(shares[0].Share-step.want) > 0.36 {
				t.Errorf("%d of 4 are down: got %+v in the Snapshot", step.down, shares)
			}
		}
	})
}

// Update moves the process to another zone, or lets zones be.
func TestUpdateZone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		z := newZones(2, "a", "b")
		cfg := transport.Config{
			Zone: "a", Base: fleet(z.serve),
			Services: map[string]transport.Service{"svc": {Resolver: z.set, Policy: transport.Policy{Locality: &transport.Locality{Explore: -1}}}},
		}
		rt := newTransport(t, cfg)
		for _, step := range []struct {
			zone string
			off  bool
			low  float64
			high float64
		}{{"a", false, 1, 1}, {"b", false, 0, 0}, {"", false, 0.2, 0.8}, {"a", true, 0.2, 0.8}, {"elsewhere", false, 0.2, 0.8}, {"a", false, 1, 1}} {
			cfg.Zone = step.zone
			cfg.Services = map[string]transport.Service{"svc": {
				Resolver: z.set, Policy: transport.Policy{Locality: &transport.Locality{Explore: -1, Off: step.off}},
			}}
			if err := rt.Update(cfg); err != nil {
				t.Fatal(err)
			}
			if got, _ := z.run(t, rt, 400, time.Second); got < step.low || got > step.high {
				t.Errorf("%+v: got %.2f in a", step, got)
			}
		}
		if n := len(rt.Snapshot().Services[0].Endpoints); n != 4 || attempts(rt)["a0:80"] < 100 {
			t.Errorf("got %d endpoints and %v, want what was known to stay", n, attempts(rt))
		}
	})
}

// A priority that loses endpoints shares with the next one; priorities of DNS
// stand for what is used only when the ones before cannot be reached.
func TestPrioritiesSpill(t *testing.T) {
	for _, strict := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			z := newZones(4, "")
			for i := range z.set {
				z.set[i].Addr = fmt.Sprintf("192.0.2.%d:80", i)
				z.zone[z.set[i].Addr], z.slots[z.set[i].Addr] = "a", make(chan struct{}, 1)
			}
			z.zone["192.0.2.2:80"], z.zone["192.0.2.3:80"], z.set[2].Priority, z.set[3].Priority = "b", "b", 1, 1
			z.work["a"], z.work["b"] = 5*time.Millisecond, 5*time.Millisecond
			svc := transport.Service{Resolver: z.set}
			if strict {
				svc.Resolver = discovery.Subset{Size: 5, Resolver: discovery.SRV{Name: "svc.test", Resolver: records(z.set)}}
			}
			rt := newTransport(t, transport.Config{Base: fleet(z.serve), Services: map[string]transport.Service{"svc": svc}})
			for _, step := range []struct {
				down   int
				spill  float64
				strict float64
			}{{0, 1, 1}, {1, 0.7, 1}, {2, 0, 0}} {
				for i := range step.down {
					z.down[fmt.Sprintf("192.0.2.%d:80", i)] = true
				}
				want := step.spill
				if strict {
					want = step.strict
				}
				z.run(t, rt, 100, 2*time.Second)
				if got, _ := z.run(t, rt, 100, 10*time.Second); math.Abs(got-want) > 0.08 {
					t.Errorf("strict %v: %d of 2 are down: got %.2f at priority 0, want %.2f", strict, step.down, got, want)
				}
			}
		})
	}
}

// records answers look-ups of SRV records with a set.
type records discovery.Static

func (r records) LookupSRV(context.Context, string, string, string) (string, []*net.SRV, error) {
	var list []*net.SRV
	for i := range r {
		list = append(list, &net.SRV{Target: fmt.Sprintf("%d.test.", i), Port: 80, Priority: uint16(r[i].Priority)})
	}
	return "svc.test.", list, nil
}

func (r records) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	i := int(host[0] - '0')
	addr, _, _ := strings.Cut(r[i].Addr, ":")
	return []netip.Addr{netip.MustParseAddr(addr)}, nil
}

func TestLocalityValidate(t *testing.T) {
	for _, good := range []transport.Locality{
		{}, {Off: true, Overprovision: 1, Explore: 0.5, Least: 1, Tolerance: 1.1},
		{Overprovision: 1000, Explore: -1, Least: 10000, Tolerance: 100}, {Tolerance: -1},
	} {
		if err := good.Validate(); err != nil {
			t.Errorf("%+v: got %v, want nil", good, err)
		}
	}
	bad := transport.Locality{Overprovision: 0.5, Explore: 0.6, Least: -1, Tolerance: 1}
	cfg := transport.Config{Services: map[string]transport.Service{
		"svc": {Resolver: endpoints("a:80"), Policy: transport.Policy{Locality: &bad}},
		"nan": {Resolver: endpoints("a:80"), Policy: transport.Policy{Locality: &transport.Locality{
			Overprovision: math.NaN(), Explore: math.NaN(), Tolerance: math.NaN(), Least: 10001,
		}}},
	}}
	err := cfg.Validate()
	for _, want := range []string{
		`Services["svc"].`, "Locality", "Overprovision 0.5: want 1 to 1000", "Explore 0.6: want up to 0.5", "Least -1: want 1 to 10000",
		"Tolerance 1: want 1.1 to 100", "Overprovision NaN", "Explore NaN", "Tolerance NaN", "Least 10001",
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want it to say %q", err, want)
		}
	}
}

// A subset of names keeps to RefuseAddrs like the names themselves.
func TestSubsetTargetKeepsRefuseAddrs(t *testing.T) {
	rt, err := transport.New(transport.Config{
		RefuseAddrs: discovery.NonPublic(),
		Services:    map[string]transport.Service{"svc": {Target: "dns://127.0.0.1:80?subset=20"}},
	})
	if err == nil || !strings.Contains(err.Error(), "address 127.0.0.1 is refused") {
		t.Errorf("got %v, want the address refused", err)
	}
	if err == nil {
		_ = rt.Close()
	}
}
