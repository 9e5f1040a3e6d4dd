package discovery_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tullemesh/tulle/discovery"
	"github.com/tullemesh/tulle/internal/dnstest"
)

var _ discovery.SRVLookup = (*net.Resolver)(nil)

// service is the name of the tests, on s.
func service(s *dnstest.Server) discovery.SRV {
	return discovery.SRV{Name: "_http._tcp.web.test.", Resolver: s.Pipe()}
}

// shape is a set in the form "addr name priority weight", sorted.
func shape(u discovery.Update) []string {
	var list []string
	for _, e := range u.Endpoints {
		list = append(list, fmt.Sprint(e.Addr, " ", e.Name, " ", e.Priority, " ", e.Share()))
	}
	slices.Sort(list)
	return list
}

func (w *running) wantShape(list ...string) {
	w.t.Helper()
	if u := w.next(); u.Err != nil || !slices.Equal(shape(u), list) {
		w.t.Fatalf("update: got %q, %v, want %q", shape(u), u.Err, list)
	}
}

func TestSRVServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := nameServer(t)
		a, b, c := dnstest.SRV(10, 70, 8080, "a.test."), dnstest.SRV(10, 30, 8081, "b.test."), dnstest.SRV(20, 0, 8080, "C.test.")
		s.Set("_http._tcp.web.test.", a, b, c)
		s.Set("a.test.", v4(1)...)
		s.Set("b.test.", v4(1, 2)...)
		s.Set("c.test.", v4(3)...)
		w := watch(t, service(s))
		w.wantShape("192.0.2.1:8080 a.test 20 70", "192.0.2.1:8081 b.test 20 15", "192.0.2.2:8081 b.test 20 15", "192.0.2.3:8080 c.test 40 1")
		w.quiet(time.Hour) // whatever the order of the answers

		s.Set("_http._tcp.web.test.", a, b)
		w.wantShape("192.0.2.1:8080 a.test 20 70", "192.0.2.1:8081 b.test 20 15", "192.0.2.2:8081 b.test 20 15")
		s.Set("b.test.", v4(2)...)
		w.wantShape("192.0.2.1:8080 a.test 20 70", "192.0.2.2:8081 b.test 20 30")
		s.Set("_http._tcp.web.test.", dnstest.SRV(10, 1, 8080, "a.test."), b)
		w.wantShape("192.0.2.1:8080 a.test 20 1", "192.0.2.2:8081 b.test 20 30")

		s.Break("_http._tcp.web.test.", 0, dnstest.ServFail)
		w.wantErr("discovery: srv _http._tcp.web.test.:", "server misbehaving")
		w.quiet(2 * time.Hour)
		s.Break("_http._tcp.web.test.", 0, dnstest.None)
		w.wantShape("192.0.2.1:8080 a.test 20 1", "192.0.2.2:8081 b.test 20 30")
	})
}

// Targets of two families: the first is used first, in each priority.
func TestSRVFamilies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry()
		r.records = []*net.SRV{{Target: "a.", Port: 80, Priority: 0, Weight: 12}, {Target: "b.", Port: 80, Priority: 1}}
		r.hosts = map[string][]string{"a.": {"2001:db8::1", "192.0.2.1", "192.0.2.2", "192.0.2.3"}, "b.": {"192.0.2.9", "2001:db8::9"}}
		w := watch(t, discovery.SRV{Name: "web.test", Resolver: r})
		w.wantShape(
			"192.0.2.1:80 a 1 4", "192.0.2.2:80 a 1 4", "192.0.2.3:80 a 1 4", "192.0.2.9:80 b 2 1",
			"[2001:db8::1]:80 a 0 12", "[2001:db8::9]:80 b 3 1",
		)
	})
}

// Aliases: of the service, and of a target, which RFC 2782 forbids and people
// have.
func TestSRVAliases(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := nameServer(t)
		s.Set("_http._tcp.web.test.", dnstest.CNAME("_http._tcp.blue.test."))
		s.Set("_http._tcp.blue.test.", dnstest.SRV(0, 0, 80, "a.test."))
		s.Set("a.test.", dnstest.CNAME("host.test."))
		s.Set("host.test.", v4(1)...)
		w := watch(t, service(s))
		w.wantShape("192.0.2.1:80 a.test 0 1")
	})
}

// What a target that cannot be looked up had before stays; what it never had is
// missed; both are told.
func TestSRVTargetFails(t *testing.T) {
	for _, fault := range []dnstest.Fault{dnstest.ServFail, dnstest.Refused, dnstest.Silent} {
		synctest.Test(t, func(t *testing.T) {
			s := nameServer(t)
			a, b, c := dnstest.SRV(0, 1, 80, "a.test."), dnstest.SRV(0, 1, 80, "b.test."), dnstest.SRV(0, 1, 80, "c.test.")
			s.Set("_http._tcp.web.test.", a, b)
			s.Set("a.test.", v4(1)...)
			s.Set("b.test.", v4(2)...)
			w := watch(t, service(s))
			w.wantMembers("192.0.2.1:80", "192.0.2.2:80")

			s.Break("b.test.", 0, fault)
			w.wantErr("discovery: srv _http._tcp.web.test.: target b.test.:")
			s.Set("a.test.", v4(1, 3)...) // the other goes on
			w.wantMembers("192.0.2.1:80", "192.0.2.2:80", "192.0.2.3:80")
			w.wantErr("target b.test.")
			s.Set("_http._tcp.web.test.", a, b, c)
			s.Break("c.test.", 0, fault)
			w.wantErr("target b.test.", "target c.test.")

			s.Set("c.test.", v4(4)...)
			s.Break("c.test.", 0, dnstest.None)
			w.wantMembers("192.0.2.1:80", "192.0.2.2:80", "192.0.2.3:80", "192.0.2.4:80")
			w.wantErr("target b.test.")
			s.Break("b.test.", 0, dnstest.None)
			w.wantMembers("192.0.2.1:80", "192.0.2.2:80", "192.0.2.3:80", "192.0.2.4:80") // ends the error
			w.quiet(time.Hour)
		})
	}
}

// A target that fails keeps both families, in their order.
func TestSRVTargetKeepsOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry()
		r.records = []*net.SRV{{Target: "a.", Port: 80}, {Target: "b.", Port: 80}}
		r.hosts = map[string][]string{"a.": {"2001:db8::1", "192.0.2.1"}, "b.": {"192.0.2.2"}}
		w := watch(t, discovery.SRV{Name: "web.test", Resolver: r})
		w.wantShape("192.0.2.1:80 a 1 1", "192.0.2.2:80 b 0 1", "[2001:db8::1]:80 a 0 1")
		r.change(func() {
			r.broken = map[string]error{"a.": errDown}
			r.hosts["b."] = []string{"192.0.2.2", "192.0.2.3"}
		})
		w.wantShape("192.0.2.1:80 a 1 1", "192.0.2.2:80 b 0 0.5", "192.0.2.3:80 b 0 0.5", "[2001:db8::1]:80 a 0 1")
		w.wantErr("target a.: the source is down")
	})
}

// An answer without records is one that there are none.
func TestSRVNoRecords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry()
		w := watch(t, discovery.SRV{Name: "web.test", Resolver: r})
		w.wantErr("discovery: srv web.test: lookup web.test: the answer holds no record")
		r.change(func() {
			r.records = []*net.SRV{{Target: "a.", Port: 80}}
			r.hosts["a."] = []string{"192.0.2.1"}
		})
		w.wantMembers("192.0.2.1:80")
		r.change(func() { r.records = nil })
		w.wantErr("the answer holds no record")
		w.wantMembers()
	})
}

// Targets that do not exist: one is left out, all are an error.
func TestSRVTargetIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := nameServer(t)
		s.Set("_http._tcp.web.test.", dnstest.SRV(0, 1, 80, "a.test."), dnstest.SRV(0, 1, 80, "b.test."))
		s.Set("a.test.", v4(1)...)
		s.Set("b.test.", v4(2)...)
		w := watch(t, service(s))
		w.wantMembers("192.0.2.1:80", "192.0.2.2:80")
		s.Remove("b.test.")
		w.wantMembers("192.0.2.1:80")
		w.wantErr("target b.test.", "no such host")
		s.Remove("a.test.")
		w.wantErr("target a.test.", "target b.test.")
		w.quiet(2 * time.Hour)
	})
}

// Many failures are counted and not listed.
func TestSRVManyTargetsFail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry()
		for i := range 100 {
			r.records = append(r.records, &net.SRV{Target: fmt.Sprintf("t%02d.", i), Port: 80})
		}
		w := watch(t, discovery.SRV{Name: "web.test", Resolver: r})
		w.wantErr("target t00.:", "target t01.:", "target t02.:", "and 97 more")
	})
}

// That there is no service: no records, no such name, or records that say so.
func TestSRVNobody(t *testing.T) {
	for name, change := range map[string]func(*dnstest.Server){
		"NXDOMAIN": func(s *dnstest.Server) { s.Remove("_http._tcp.web.test.") },
		"NODATA":   func(s *dnstest.Server) { s.Set("_http._tcp.web.test.") },
		"dot":      func(s *dnstest.Server) { s.Set("_http._tcp.web.test.", dnstest.SRV(0, 0, 0, ".")) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := nameServer(t)
				s.Set("a.test.", v4(1)...)
				change(s)
				w := watch(t, service(s))
				w.wantErr("discovery: srv _http._tcp.web.test.") // never anybody: an error
				w.quiet(time.Hour)
				s.Set("_http._tcp.web.test.", dnstest.SRV(0, 0, 80, "a.test."), dnstest.SRV(0, 0, 80, "."))
				w.wantMembers("192.0.2.1:80")
				w.quiet(10 * time.Second)
				change(s)
				w.hint()
				w.wantErr("discovery: srv _http._tcp.web.test.")
				w.within(5*time.Second, 5*time.Second)
				for range 3 {
					w.within(time.Second, 33*time.Second)
				}
				s.Break("_http._tcp.web.test.", 0, dnstest.ServFail)
				w.wantErr("server misbehaving")
				w.quiet(time.Hour)
			})
		})
	}
}

// Records that go take a second look, as addresses do.
func TestSRVShrinkIsConfirmed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := nameServer(t)
		all := []dnstest.Record{dnstest.SRV(0, 1, 81, "a.test."), dnstest.SRV(0, 1, 82, "a.test."), dnstest.SRV(0, 1, 83, "a.test.")}
		s.Set("_http._tcp.web.test.", all...)
		s.Set("a.test.", v4(1)...)
		w := watch(t, service(s))
		w.wantMembers("192.0.2.1:81", "192.0.2.1:82", "192.0.2.1:83")
		w.quiet(10 * time.Second)
		s.Set("_http._tcp.web.test.", all[0])
		w.hint()
		w.within(5*time.Second, 5*time.Second, "192.0.2.1:81")
	})
}

func TestSRVRefuseAddrs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := nameServer(t)
		s.Set("_http._tcp.web.test.", dnstest.SRV(0, 8, 80, "a.test."), dnstest.SRV(0, 1, 80, "b.test."))
		s.Set("a.test.", v4(1, 2)...)
		s.Set("b.test.", dnstest.Addr("127.0.0.1"))
		r := service(s)
		r.RefuseAddrs = prefixes("127.0.0.0/8", "192.0.2.2/32")
		w := watch(t, r)
		w.wantShape("192.0.2.1:80 a.test 0 8") // the share of the target is not lost
		w.wantErr(
			"discovery: srv _http._tcp.web.test.: target a.test.: address 192.0.2.2 is refused: RefuseAddrs has 192.0.2.2/32",
			"target b.test.: address 127.0.0.1 is refused",
		)
		s.Set("a.test.", v4(2)...)
		w.quiet(2 * time.Hour) // never an empty set; the error is told already
		s.Set("a.test.", v4(3)...)
		w.wantMembers("192.0.2.1:80", "192.0.2.3:80") // a set of one that is replaced
	})
}

// At most 1,000 targets, the preferred ones, and not all at once.
func TestSRVManyTargets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry()
		r.delay = 100 * time.Millisecond
		for i := range 1500 {
			target := fmt.Sprintf("t%04d.", i)
			r.records = append(r.records, &net.SRV{Target: target, Port: 80, Priority: uint16(1500 - i)})
			r.hosts[target] = []string{fmt.Sprintf("10.0.%d.%d", i/256, i%256)}
		}
		start := time.Now()
		w := watch(t, discovery.SRV{Name: "web.test", Resolver: r})
		u := w.next()
		if len(u.Endpoints) != 1000 || u.Endpoints[0].Name != "t1499" || u.Endpoints[999].Name != "t0500" {
			t.Errorf("got %d endpoints, want 1,000, from t1499 to t0500", len(u.Endpoints))
		}
		w.wantErr("discovery: srv web.test: 1500 targets: want at most 1000")
		if d := time.Since(start); d > 5*time.Second || r.most > 32 {
			t.Errorf("got the set after %v with %d look-ups at a time, want at most 5s and 32", d, r.most)
		}
	})
}

// All questions of one look have 13 s in all: what is slow keeps what it had.
func TestSRVSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry()
		r.records = []*net.SRV{{Target: "a.", Port: 80}, {Target: "b.", Port: 80}}
		r.hosts = map[string][]string{"a.": {"192.0.2.1"}, "b.": {"192.0.2.2"}}
		w := watch(t, discovery.SRV{Name: "web.test", Resolver: r})
		w.wantMembers("192.0.2.1:80", "192.0.2.2:80")
		w.quiet(10 * time.Second)
		r.change(func() { r.delay = time.Hour })
		start := time.Now()
		w.hint()
		if err := w.wantErr("target a.", "target b."); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want context.DeadlineExceeded", err)
		}
		if d := time.Since(start); d != 13*time.Second {
			t.Errorf("got the error after %v, want 13s", d)
		}
		w.quiet(time.Hour)
	})
}

// Records that come with an error count, and the error is told.
func TestSRVMalformedRecords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry()
		r.err = errors.New("some records were malformed")
		r.records = []*net.SRV{{Target: "a.", Port: 80}, nil, {Target: "a.", Port: 0}, {Target: "a b", Port: 80}}
		r.hosts["a."] = []string{"192.0.2.1"}
		w := watch(t, discovery.SRV{Name: "web.test", Resolver: r})
		w.wantMembers("192.0.2.1:80")
		w.wantErr("some records were malformed", "a record is nil", `record "a." with port 0 cannot be used`, `record "a b" with port 80`)
	})
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry()
		r.records = []*net.SRV{{Target: "a.", Port: 0}, {Target: ".", Port: 0}}
		w := watch(t, discovery.SRV{Name: "web.test", Resolver: r})
		w.wantErr(`record "a." with port 0`)
		w.quiet(2 * time.Hour)
	})
}

func TestSRVDefaultResolver(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := (discovery.SRV{Name: "web.invalid."}).Watch(ctx, func(discovery.Update) {}, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
}

func TestSRVInvalid(t *testing.T) {
	for _, c := range []struct {
		srv  discovery.SRV
		want string
	}{
		{discovery.SRV{}, `discovery: srv: Name ""`},
		{discovery.SRV{Name: "a:80"}, `Name "a:80": want the name of SRV records`},
		{discovery.SRV{Name: "10.0.0.1"}, `Name "10.0.0.1"`},
		{discovery.SRV{Name: "::1"}, `Name "::1"`},
		{discovery.SRV{Name: "a b"}, `Name "a b"`},
		{discovery.SRV{Name: "a", Interval: time.Millisecond}, "discovery: srv a: Interval 1ms: want 1s to 24h"},
		{discovery.SRV{Name: "a", RefuseAddrs: []netip.Prefix{{}}}, "discovery: srv a: RefuseAddrs[0]"},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := watch(t, c.srv)
			w.wantErr(c.want)
			if <-w.end; w.err == nil || !strings.Contains(w.err.Error(), c.want) {
				t.Errorf("%+v: Watch got %v, want its error", c.srv, w.err)
			}
		})
	}
}

// registry is a SRVLookup in memory.
type registry struct {
	mu      sync.Mutex
	records []*net.SRV
	err     error // beside records, or instead of them
	hosts   map[string][]string
	broken  map[string]error // by host
	delay   time.Duration    // of addresses
	running int
	most    int // the most look-ups of addresses at one time
}

func newRegistry() *registry { return &registry{hosts: map[string][]string{}} }

func (r *registry) change(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f()
}

func (r *registry) LookupSRV(_ context.Context, service, proto, name string) (string, []*net.SRV, error) {
	if service != "" || proto != "" || name != "web.test" {
		return "", nil, fmt.Errorf("got another question than for web.test: %q %q %q", service, proto, name)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return name, slices.Clone(r.records), r.err
}

func (r *registry) LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error) {
	r.mu.Lock()
	texts, delay, err := slices.Clone(r.hosts[host]), r.delay, r.broken[host]
	r.running++
	r.most = max(r.most, r.running)
	r.mu.Unlock()
	defer r.change(func() { r.running-- })
	if delay > 0 {
		late := time.NewTimer(delay)
		defer late.Stop()
		select {
		case <-late.C:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	if err != nil {
		return nil, err
	}
	var ips []netip.Addr
	for _, text := range texts {
		ips = append(ips, netip.MustParseAddr(text))
	}
	return ips, nil // also those of the other family: a Lookup may be simple
}
