package dnstest_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tullemesh/tulle/internal/dnstest"
	"github.com/tullemesh/tulle/internal/leak"
)

func TestMain(m *testing.M) {
	dnstest.Prepare()
	leak.Main(m)
}

// zone is a server with one name of each kind.
func zone(t *testing.T) *dnstest.Server {
	s := dnstest.New()
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	s.Set("web.test", dnstest.Addr("192.0.2.1"), dnstest.Addr("192.0.2.2"), dnstest.Addr("2001:db8::1"))
	s.Set("alias.test.", dnstest.CNAME("Second.test"))
	s.Set("second.test.", dnstest.CNAME("web.test."))
	s.Set("loop.test.", dnstest.CNAME("loop.test."))
	s.Set("dangling.test.", dnstest.CNAME("nowhere.test."))
	s.Set("bare.test.")
	s.Set("_http._tcp.web.test.", dnstest.SRV(10, 70, 8080, "a.test."), dnstest.SRV(20, 0, 8081, "."))
	return s
}

// resolvers are both ways to reach a server.
func resolvers(t *testing.T, s *dnstest.Server) map[string]*net.Resolver {
	addr, err := s.Listen()
	if err != nil {
		t.Fatal(err)
	}
	return map[string]*net.Resolver{"pipe": s.Pipe(), "sockets": dnstest.At(addr)}
}

func TestAddresses(t *testing.T) {
	for way, r := range resolvers(t, zone(t)) {
		for _, c := range []struct{ network, name, want string }{
			{"ip4", "web.test.", "[192.0.2.1 192.0.2.2]"},
			{"ip6", "WEB.test.", "[2001:db8::1]"},
			{"ip", "alias.test.", "[192.0.2.1 192.0.2.2 2001:db8::1]"},
		} {
			got, err := r.LookupNetIP(t.Context(), c.network, c.name)
			for i := range got {
				got[i] = got[i].Unmap()
			}
			slices.SortFunc(got, netip.Addr.Compare) // the resolver orders them by its own rules
			if err != nil || fmt.Sprint(got) != c.want {
				t.Errorf("%s: %s %s: got %v, %v, want %s", way, c.network, c.name, got, err, c.want)
			}
		}
	}
}

func TestServices(t *testing.T) {
	for way, r := range resolvers(t, zone(t)) {
		name, got, err := r.LookupSRV(t.Context(), "http", "tcp", "web.test.")
		if err != nil || len(got) != 2 || name != "_http._tcp.web.test." {
			t.Fatalf("%s: got %q, %v, %v, want two records", way, name, got, err)
		}
		want := []net.SRV{{Target: "a.test.", Port: 8080, Priority: 10, Weight: 70}, {Target: ".", Port: 8081, Priority: 20}}
		for i := range want {
			if *got[i] != want[i] {
				t.Errorf("%s: record %d: got %v, want %v", way, i+1, *got[i], want[i])
			}
		}
	}
}

// What does not exist, and what is no address.
func TestNegativeAnswers(t *testing.T) {
	for way, r := range resolvers(t, zone(t)) {
		for _, name := range []string{"nowhere.test.", "bare.test.", "loop.test.", "dangling.test.", "_http._tcp.web.test."} {
			got, err := r.LookupNetIP(t.Context(), "ip", name)
			if dns := (&net.DNSError{}); !errors.As(err, &dns) || !dns.IsNotFound {
				t.Errorf("%s: %s: got %v, %v, want that it is not found", way, name, got, err)
			}
		}
	}
}

func TestFaults(t *testing.T) {
	s := zone(t)
	for way, r := range resolvers(t, s) {
		for _, c := range []struct {
			fault dnstest.Fault
			want  string
		}{
			{dnstest.ServFail, "server misbehaving"},
			{dnstest.Refused, "server misbehaving"},
			{dnstest.Absent, "no such host"},
			{dnstest.None, ""},
		} {
			s.Break("web.test.", 0, c.fault)
			got, err := r.LookupNetIP(t.Context(), "ip", "web.test.")
			if c.want == "" && (err != nil || len(got) != 3) || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("%s: fault %v: got %v, %v, want %q", way, c.fault, got, err, c.want)
			}
		}
		// One type alone.
		s.Break("web.test.", dnstest.TypeA, dnstest.Absent)
		if got, err := r.LookupNetIP(t.Context(), "ip", "web.test."); err != nil || len(got) != 1 {
			t.Errorf("%s: no A: got %v, %v, want the AAAA", way, got, err)
		}
		s.Break("web.test.", dnstest.TypeA, dnstest.None)
	}
}

// A lost query takes the time of the resolver, which is none in a bubble.
func TestSilentInBubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := zone(t)
		s.Break("web.test.", 0, dnstest.Silent)
		ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
		defer cancel()
		start := time.Now()
		_, err := s.Pipe().LookupNetIP(ctx, "ip", "web.test.")
		if d := time.Since(start); err == nil || d < time.Second {
			t.Errorf("got %v after %v, want a timeout after a second or more", err, d)
		}
		s.Break("web.test.", 0, dnstest.Garbage)
		if _, err := s.Pipe().LookupNetIP(ctx, "ip", "web.test."); err == nil {
			t.Error("garbage: got nil, want an error")
		}
	})
}

// An answer that is too long for a packet comes by TCP, and so does one that is
// said to be.
func TestTruncated(t *testing.T) {
	s := zone(t)
	addr, err := s.Listen()
	if err != nil {
		t.Fatal(err)
	}
	var many []dnstest.Record
	for i := range 200 {
		many = append(many, dnstest.Addr(fmt.Sprintf("192.0.2.%d", i)))
	}
	s.Set("many.test.", many...)
	s.Break("web.test.", 0, dnstest.Large)
	for name, want := range map[string]int{"many.test.": 200, "web.test.": 2} {
		s.Queries()
		got, err := dnstest.At(addr).LookupNetIP(t.Context(), "ip4", name)
		if err != nil || len(got) != want {
			t.Errorf("%s: got %d addresses, %v, want %d", name, len(got), err, want)
		}
		asked := s.Queries()
		for _, q := range []dnstest.Query{{Name: name, Type: dnstest.TypeA, Network: "udp"}, {Name: name, Type: dnstest.TypeA, Network: "tcp"}} {
			if !slices.Contains(asked, q) {
				t.Errorf("%s: got the queries %v, want %v among them", name, asked, q)
			}
		}
	}
}

func TestSetAndRemove(t *testing.T) {
	s := zone(t)
	r := s.Pipe()
	s.Set("web.test.", dnstest.Addr("192.0.2.9"))
	if got, err := r.LookupNetIP(t.Context(), "ip", "web.test."); err != nil || len(got) != 1 || got[0].Unmap() != netip.MustParseAddr("192.0.2.9") {
		t.Errorf("Set: got %v, %v, want 192.0.2.9", got, err)
	}
	s.Remove("WEB.test")
	if got, err := r.LookupNetIP(t.Context(), "ip", "web.test."); err == nil {
		t.Errorf("Remove: got %v, want an error", got)
	}
}

// After Close nobody answers, and a second Close does nothing.
func TestClose(t *testing.T) {
	s := zone(t)
	for way, r := range resolvers(t, s) {
		if _, err := r.LookupNetIP(t.Context(), "ip", "web.test."); err != nil {
			t.Fatalf("%s: %v", way, err)
		}
	}
	all := resolvers(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for way, r := range all {
		if got, err := r.LookupNetIP(t.Context(), "ip", "web.test."); err == nil {
			t.Errorf("%s: got %v from a closed server, want an error", way, got)
		}
	}
	if _, err := s.Listen(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Listen: got %v, want net.ErrClosed", err)
	}
}
