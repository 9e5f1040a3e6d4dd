package discovery_test

import (
	"context"
	"encoding/json"
	"net/netip"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/discovery"
	"github.com/tullemesh/tulle/discovery/discoverytest"
	"github.com/tullemesh/tulle/internal/dnstest"
)

// harnesses are all resolvers of the package.
var harnesses = []struct {
	name string
	make func() discoverytest.Harness
}{
	{"Static", static},
	{"File", file},
	{"DNS", dns},
	{"DNS server", dnsServer},
	{"SRV server", srvServer},
	{"DNS literal", dnsLiteral},
	{"Keep", keep},
	{"Merge", merge},
	{"Prefer", prefer},
	{"Subset", subset},
	{"nested", nested},
	{"Func", polling},
}

// TestConformance runs in virtual time, so that intervals cost nothing.
func TestConformance(t *testing.T) {
	for _, h := range harnesses {
		t.Run(h.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				if err := discoverytest.Check(t, h.make()); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// TestConformanceRealTime shows that nothing depends on virtual time. DNS, SRV
// and the polling example are left out: their pauses would take minutes of it.
func TestConformanceRealTime(t *testing.T) {
	for _, h := range harnesses {
		switch h.name {
		case "DNS", "DNS server", "SRV server", "Func":
			continue
		}
		t.Run(h.name, func(t *testing.T) {
			t.Parallel()
			discoverytest.Run(t, h.make())
		})
	}
}

func static() discoverytest.Harness {
	return discoverytest.Harness{New: func(*testing.T) discovery.Resolver { return discovery.Static(eps("a:80", "b:80")) }}
}

func dnsLiteral() discoverytest.Harness {
	return discoverytest.Harness{New: func(*testing.T) discovery.Resolver { return discovery.DNS{Host: "192.0.2.1", Port: "80"} }}
}

func file() discoverytest.Harness {
	var f folder
	var good string
	return discoverytest.Harness{
		New: func(t *testing.T) discovery.Resolver {
			f = newFolder(t)
			return discovery.File{Path: filepath.Join(f.dir, "eps.json"), Interval: 10 * time.Millisecond}
		},
		Set: func(t *testing.T, set []tulle.Endpoint) {
			data, err := json.Marshal(set)
			if err != nil {
				t.Fatal(err)
			}
			good = string(data)
			f.swap("eps.json", good)
		},
		Fail:    func(*testing.T) { f.swap("eps.json", good[:len(good)/2]) },
		Recover: func(*testing.T) { f.swap("eps.json", good) },
	}
}

func dns() discoverytest.Harness {
	var n *names
	var good []string
	return discoverytest.Harness{
		New: func(*testing.T) discovery.Resolver {
			n = &names{}
			return discovery.DNS{Host: "users.test", Port: "80", Resolver: n, Interval: time.Second}
		},
		Set: func(t *testing.T, set []tulle.Endpoint) {
			good = nil
			for _, e := range set {
				ap, err := netip.ParseAddrPort(e.Addr)
				if err != nil {
					t.Fatal(err)
				}
				good = append(good, ap.Addr().String())
			}
			n.answer(good...)
		},
		Fail:    func(*testing.T) { n.fail(errDown) },
		Recover: func(*testing.T) { n.answer(good...) },
	}
}

// dnsServer is DNS over the resolver of package net.
func dnsServer() discoverytest.Harness {
	return served("web.test.", func(s *dnstest.Server) discovery.Resolver {
		return discovery.DNS{Host: "web.test.", Port: "80", Resolver: s.Pipe(), Interval: time.Second}
	}, func(s *dnstest.Server, ips []netip.Addr) {
		var records []dnstest.Record
		for _, ip := range ips {
			records = append(records, dnstest.Addr(ip.String()))
		}
		s.Set("web.test.", records...)
	})
}

// srvServer has a target for each endpoint.
func srvServer() discoverytest.Harness {
	return served("_http._tcp.web.test.", func(s *dnstest.Server) discovery.Resolver {
		return discovery.SRV{Name: "_http._tcp.web.test.", Resolver: s.Pipe(), Interval: time.Second}
	}, func(s *dnstest.Server, ips []netip.Addr) {
		var records []dnstest.Record
		for i, ip := range ips {
			target := string(rune('a'+i)) + ".test."
			s.Set(target, dnstest.Addr(ip.String()))
			records = append(records, dnstest.SRV(0, 1, 80, target))
		}
		s.Set("_http._tcp.web.test.", records...)
	})
}

// served is a harness over a name server, which can fail for one name.
func served(name string, make func(*dnstest.Server) discovery.Resolver, put func(*dnstest.Server, []netip.Addr)) discoverytest.Harness {
	var s *dnstest.Server
	return discoverytest.Harness{
		New: func(t *testing.T) discovery.Resolver {
			s = nameServer(t)
			return make(s)
		},
		Set: func(t *testing.T, set []tulle.Endpoint) {
			var ips []netip.Addr
			for _, e := range set {
				ap, err := netip.ParseAddrPort(e.Addr)
				if err != nil {
					t.Fatal(err)
				}
				ips = append(ips, ap.Addr())
			}
			put(s, ips)
		},
		Fail:    func(*testing.T) { s.Break(name, 0, dnstest.ServFail) },
		Recover: func(*testing.T) { s.Break(name, 0, dnstest.None) },
		Within:  time.Minute,
	}
}

// over is a harness of a decorator over n memories. Put says what each of them
// holds.
func over(n int, decorate func([]discovery.Resolver) discovery.Resolver, put func([]*memory, []tulle.Endpoint)) discoverytest.Harness {
	var ms []*memory
	var good []tulle.Endpoint
	return discoverytest.Harness{
		New: func(*testing.T) discovery.Resolver {
			ms = make([]*memory, n)
			rs := make([]discovery.Resolver, n)
			for i := range ms {
				ms[i] = newMemory()
				rs[i] = ms[i]
			}
			return decorate(rs)
		},
		Set: func(_ *testing.T, set []tulle.Endpoint) {
			good = set
			put(ms, good)
		},
		Fail: func(*testing.T) {
			for _, m := range ms {
				m.fail(errDown)
			}
		},
		Recover: func(*testing.T) { put(ms, good) },
	}
}

// deal gives each memory its share of the set.
func deal(ms []*memory, set []tulle.Endpoint) {
	shares := make([][]tulle.Endpoint, len(ms))
	for i, e := range set {
		shares[i%len(ms)] = append(shares[i%len(ms)], e)
	}
	for i, m := range ms {
		m.say(discovery.Update{Endpoints: shares[i]})
	}
}

// polling is the example of how to write a resolver.
func polling() discoverytest.Harness {
	h := over(1, func(rs []discovery.Resolver) discovery.Resolver {
		return polled(func(context.Context) ([]tulle.Endpoint, error) {
			u := rs[0].(*memory).now()
			return u.Endpoints, u.Err
		})
	}, deal)
	h.Within = time.Minute
	return h
}

func keep() discoverytest.Harness {
	return over(1, func(rs []discovery.Resolver) discovery.Resolver { return discovery.Keep(rs[0]) }, deal)
}

func merge() discoverytest.Harness {
	return over(2, func(rs []discovery.Resolver) discovery.Resolver { return discovery.Merge(rs...) }, deal)
}

// prefer has the set in its spare: the first holds nothing.
func prefer() discoverytest.Harness {
	return over(2, func(rs []discovery.Resolver) discovery.Resolver { return discovery.Prefer(rs...) },
		func(ms []*memory, set []tulle.Endpoint) {
			ms[0].set()
			ms[1].say(discovery.Update{Endpoints: set})
		})
}

// subset keeps all that the suite has.
func subset() discoverytest.Harness {
	return over(1, func(rs []discovery.Resolver) discovery.Resolver {
		return discovery.Subset{Resolver: rs[0], Size: 100, ByZone: true}
	}, deal)
}

func nested() discoverytest.Harness {
	return over(3, func(rs []discovery.Resolver) discovery.Resolver {
		return discovery.Keep(discovery.Prefer(discovery.Static{}, discovery.Merge(rs[0], discovery.Merge(rs[1:]...))))
	}, deal)
}
