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

// The tests of this file use the real resolver of package net, against a name
// server in memory unless they are about sockets. Names end in a dot, as the
// search domains of the machine must not matter.

// nameServer is a server that ends with the test.
func nameServer(t *testing.T) *dnstest.Server {
	s := dnstest.New()
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("name server: %v", err)
		}
	})
	return s
}

// web is the name of the tests, on s.
func web(s *dnstest.Server) discovery.DNS {
	return discovery.DNS{Host: "web.test.", Port: "80", Resolver: s.Pipe()}
}

// v4 and v6 are records of documentation addresses.
func v4(last ...int) (records []dnstest.Record) {
	for _, n := range last {
		records = append(records, dnstest.Addr(fmt.Sprintf("192.0.2.%d", n)))
	}
	return records
}

func v6(last ...int) (records []dnstest.Record) {
	for _, n := range last {
		records = append(records, dnstest.Addr(fmt.Sprintf("2001:db8::%d", n)))
	}
	return records
}

// members are the addresses of the next update in their order, as package net
// has its own: it prefers what the machine has a route to.
func (w *running) members() []string {
	w.t.Helper()
	u := w.next()
	if u.Err != nil {
		w.t.Fatalf("update: got %v, want a set", u.Err)
	}
	return addrs(u)
}

func addrs(u discovery.Update) []string {
	var list []string
	for _, e := range u.Endpoints {
		list = append(list, e.Addr)
	}
	slices.Sort(list)
	return list
}

func (w *running) wantMembers(addrs ...string) {
	w.t.Helper()
	if got := w.members(); !slices.Equal(got, addrs) {
		w.t.Fatalf("update: got %v, want %v", got, addrs)
	}
}

func TestDNSServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := nameServer(t)
		s.Set("web.test.", v4(1, 2)...)
		w := watch(t, web(s))
		w.wantMembers("192.0.2.1:80", "192.0.2.2:80")
		s.Set("web.test.", v4(1, 2, 3)...)
		w.wantMembers("192.0.2.1:80", "192.0.2.2:80", "192.0.2.3:80")

		s.Break("web.test.", 0, dnstest.ServFail)
		w.wantErr("discovery: dns web.test.", "server misbehaving")
		s.Break("web.test.", 0, dnstest.None)
		w.wantMembers("192.0.2.1:80", "192.0.2.2:80", "192.0.2.3:80")
		s.Break("web.test.", 0, dnstest.Silent)
		w.wantErr("discovery: dns web.test.")
		s.Break("web.test.", 0, dnstest.None)
		w.wantMembers("192.0.2.1:80", "192.0.2.2:80", "192.0.2.3:80")

		s.Set("web.test.", v4(1)...)
		w.wantMembers("192.0.2.1:80")
	})
}

// NXDOMAIN and a name without addresses drain; SERVFAIL, REFUSED and silence do
// not, however long they last.
func TestDNSServerSaysNobody(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*dnstest.Server)
		empty  bool
	}{
		{"NXDOMAIN", func(s *dnstest.Server) { s.Remove("web.test.") }, true},
		{"NODATA", func(s *dnstest.Server) { s.Set("web.test.") }, true},
		{"alias to nowhere", func(s *dnstest.Server) { s.Set("web.test.", dnstest.CNAME("gone.test.")) }, true},
		{"SERVFAIL", func(s *dnstest.Server) { s.Break("web.test.", 0, dnstest.ServFail) }, false},
		{"REFUSED", func(s *dnstest.Server) { s.Break("web.test.", 0, dnstest.Refused) }, false},
		{"silence", func(s *dnstest.Server) { s.Break("web.test.", 0, dnstest.Silent) }, false},
		{"garbage", func(s *dnstest.Server) { s.Break("web.test.", 0, dnstest.Garbage) }, false},
		{"SERVFAIL for A alone", func(s *dnstest.Server) { s.Break("web.test.", dnstest.TypeA, dnstest.ServFail) }, false},
		{"REFUSED for A alone", func(s *dnstest.Server) { s.Break("web.test.", dnstest.TypeA, dnstest.Refused) }, false},
		{"silence for A alone", func(s *dnstest.Server) { s.Break("web.test.", dnstest.TypeA, dnstest.Silent) }, false},
		{"NXDOMAIN for A, SERVFAIL for AAAA", func(s *dnstest.Server) {
			s.Break("web.test.", dnstest.TypeA, dnstest.Absent)
			s.Break("web.test.", dnstest.TypeAAAA, dnstest.ServFail)
		}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := nameServer(t)
				s.Set("web.test.", v4(1, 2)...)
				w := watch(t, web(s))
				w.wantMembers("192.0.2.1:80", "192.0.2.2:80")
				c.change(s)
				empties := 0
				for end := time.Now().Add(time.Hour); time.Now().Before(end); {
					select {
					case u := <-w.updates:
						if u.Err == nil && len(u.Endpoints) > 0 {
							t.Fatalf("got %v, want no set", brief(u.Endpoints))
						}
						if u.Err == nil {
							empties++
						}
					case <-after(t, end):
					}
				}
				if c.empty && empties < 60 || !c.empty && empties > 0 {
					t.Errorf("got %d empty updates in an hour, want some: %v", empties, c.empty)
				}
			})
		})
	}
}

// after is closed at end, in a bubble.
func after(t *testing.T, end time.Time) <-chan time.Time {
	timer := time.NewTimer(time.Until(end))
	t.Cleanup(func() { timer.Stop() })
	return timer.C
}

// A family whose question fails is not gone: its addresses stay, in their place.
func TestDNSServerFailsForFamily(t *testing.T) {
	all := []string{"192.0.2.1:80", "192.0.2.2:80", "[2001:db8::1]:80"}
	for _, typ := range []uint16{dnstest.TypeA, dnstest.TypeAAAA} {
		for _, fault := range []dnstest.Fault{dnstest.ServFail, dnstest.Refused, dnstest.Silent} {
			t.Run(fmt.Sprint(typ, fault), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s := nameServer(t)
					s.Set("web.test.", append(v4(1, 2), v6(1)...)...)
					w := watch(t, web(s))
					first := w.next()
					if got := addrs(first); !slices.Equal(got, all) {
						t.Fatalf("got %v, want %v", got, all)
					}
					s.Break("web.test.", typ, fault)
					w.wantErr("discovery: dns web.test.")
					s.Set("web.test.", append(v4(1, 2, 3), v6(1, 3)...)...)
					got := brief(w.next().Endpoints) // the family that works changes on
					if len(got) != 4 || !slices.ContainsFunc(got, func(a string) bool { return strings.Contains(a, priorityOf(first, "192.0.2.2:80")) }) {
						t.Errorf("got %v, want the two known families with their priorities and one address more", got)
					}
					w.wantErr("discovery: dns web.test.")
					s.Break("web.test.", typ, dnstest.None)
					if got := w.members(); len(got) != 5 {
						t.Errorf("got %v, want 5 addresses", got)
					}
				})
			})
		}
	}
}

// priorityOf is an address as brief shows it.
func priorityOf(u discovery.Update, addr string) string {
	for _, text := range brief(u.Endpoints) {
		if strings.HasPrefix(text, addr) {
			return text
		}
	}
	return "not there"
}

// A family that is gone, by the answer to a question for it alone, goes.
func TestDNSServerDropsFamily(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := nameServer(t)
		s.Set("web.test.", append(v4(1, 2), v6(1)...)...)
		w := watch(t, web(s))
		w.wantMembers("192.0.2.1:80", "192.0.2.2:80", "[2001:db8::1]:80")
		s.Set("web.test.", v4(1, 2)...)
		w.wantMembers("192.0.2.1:80", "192.0.2.2:80")
		w.quiet(time.Hour)
	})
}

// A server, or a firewall, that loses all questions for AAAA. Package net gives
// what it has or an error, depending on the machine's settings; the service works.
func TestDNSServerSilentForFamilyAtStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := nameServer(t)
		s.Set("web.test.", v4(1, 2)...)
		s.Break("web.test.", dnstest.TypeAAAA, dnstest.Silent)
		w := watch(t, web(s))
		start := time.Now()
		w.wantMembers("192.0.2.1:80", "192.0.2.2:80")
		if d := time.Since(start); d > 13*time.Second {
			t.Errorf("got the set after %v, want at most 13s", d)
		}
		s.Set("web.test.", v4(1, 2, 3)...)
		for u := w.next(); u.Err != nil || len(u.Endpoints) != 3; u = w.next() {
			if u.Err == nil && len(u.Endpoints) != 2 {
				t.Fatalf("got %v, want the addresses that there are", brief(u.Endpoints))
			}
		}
	})
}

func TestDNSServerAliases(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := nameServer(t)
		s.Set("web.test.", dnstest.CNAME("blue.test."))
		s.Set("blue.test.", dnstest.CNAME("blue.cluster.test."))
		s.Set("blue.cluster.test.", v4(1, 2)...)
		s.Set("green.test.", v4(3, 4)...)
		w := watch(t, web(s))
		w.wantMembers("192.0.2.1:80", "192.0.2.2:80")
		s.Set("web.test.", dnstest.CNAME("green.test.")) // the switch
		w.wantMembers("192.0.2.1:80", "192.0.2.2:80", "192.0.2.3:80", "192.0.2.4:80")
		w.wantMembers("192.0.2.3:80", "192.0.2.4:80")
		s.Set("web.test.", dnstest.CNAME("web.test.")) // a loop is nobody
		w.wantErr("no such host")
		w.wantMembers()
	})
}

// Rebinding over the wire.
func TestDNSServerRebinds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := nameServer(t)
		s.Set("web.test.", dnstest.Addr("8.8.8.8"))
		d := web(s)
		d.RefuseAddrs = discovery.NonPublic()
		w := watch(t, d)
		w.wantMembers("8.8.8.8:80")
		s.Set("web.test.", dnstest.Addr("127.0.0.1"), dnstest.Addr("169.254.169.254"), dnstest.Addr("::1"), dnstest.Addr("::ffff:127.0.0.1"))
		w.wantErr("address 127.0.0.1 is refused", "address 169.254.169.254", "address ::1")
		w.quiet(time.Hour)
	})
}

// Over sockets: an answer that needs TCP, and a server that is not there.
func TestDNSServerSockets(t *testing.T) {
	s := nameServer(t)
	var many []dnstest.Record
	for i := range 250 {
		many = append(many, dnstest.Addr(fmt.Sprintf("192.0.2.%d", i)))
	}
	s.Set("web.test.", many...)
	addr, err := s.Listen()
	if err != nil {
		t.Fatal(err)
	}
	w := watch(t, discovery.DNS{Host: "web.test.", Port: "80", Resolver: dnstest.At(addr), Interval: time.Second})
	if got := len(w.members()); got != 250 {
		t.Errorf("got %d addresses, want 250", got)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	w.hint()
	w.wantErr("discovery: dns web.test.")
}

// A nil *net.Resolver is the default one, as package net says.
func TestDNSNilResolver(t *testing.T) {
	var none *net.Resolver
	w := watch(t, discovery.DNS{Host: "localhost", Port: "80", Resolver: none})
	if u := w.next(); u.Err != nil || len(u.Endpoints) == 0 {
		t.Errorf("localhost: got %v, %v, want a loopback address", u.Endpoints, u.Err)
	}
}

// The resolver that has the last word asks where the user's own asks, and does
// not pass over errors.
func TestDNSStrictResolver(t *testing.T) {
	own := &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) { return nil, errDown }}
	strict, ok := discovery.Strictly(own).(*net.Resolver)
	if !ok || strict == own || !strict.StrictErrors || !strict.PreferGo || own.StrictErrors {
		t.Fatalf("got %+v of %+v, want a copy with StrictErrors", strict, own)
	}
	if _, err := strict.Dial(t.Context(), "udp", "x"); !errors.Is(err, errDown) {
		t.Errorf("Dial: got %v, want that of the user", err)
	}
	if n := (&names{}); discovery.Strictly(n) != discovery.Lookup(n) {
		t.Error("another Lookup: got a new one, want that of the user")
	}
}

// familyLookup fails for both families at once, when it is told to.
type familyLookup struct {
	mu     sync.Mutex
	broken bool
	six    string
}

func (f *familyLookup) LookupNetIP(_ context.Context, network, _ string) ([]netip.Addr, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	four, six := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr(f.six)
	switch {
	case network == "ip4":
		return []netip.Addr{four}, nil
	case network == "ip6":
		return []netip.Addr{six}, nil
	case f.broken:
		return nil, errDown
	}
	return []netip.Addr{six, four}, nil
}

// When both families were asked for alone, the order is the known one.
func TestDNSFamiliesAloneKeepOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &familyLookup{six: "2001:db8::1"}
		w := watch(t, discovery.DNS{Host: "web.test.", Port: "80", Resolver: f})
		w.want("[2001:db8::1]:80", "192.0.2.1:80/1")
		f.mu.Lock()
		f.broken, f.six = true, "2001:db8::2"
		f.mu.Unlock()
		w.want("[2001:db8::2]:80", "192.0.2.1:80/1") // and no error: all is answered
		w.quiet(time.Hour)
	})
}
