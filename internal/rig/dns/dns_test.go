package dns_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tullemesh/tulle/discovery"
	"github.com/tullemesh/tulle/internal/dnstest"
)

// web is the host of the tests, by a server.
func web(addr string) discovery.DNS {
	return discovery.DNS{Host: "web.mesh.test.", Port: "80", Resolver: dnstest.At(addr), Interval: time.Second}
}

// a are lines that add addresses to web.
func a(last ...int) (lines []string) {
	for _, n := range last {
		lines = append(lines, fmt.Sprintf("add web.mesh.test. 1 A 192.0.2.%d", n))
	}
	return lines
}

// at is the set of these addresses.
func at(last ...int) (set []string) {
	for _, n := range last {
		set = append(set, fmt.Sprintf("192.0.2.%d:80 0 1", n))
	}
	slices.Sort(set)
	return set
}

// remove is a line that takes an address out of web.
func remove(n int) string { return fmt.Sprintf("delete web.mesh.test. A 192.0.2.%d", n) }

// A service grows and shrinks.
func TestAddresses(t *testing.T) {
	t.Parallel()
	k := startKnot(t)
	k.change(a(1, 2, 3)...)
	w := start(t, web(k.addr))
	w.set(at(1, 2, 3))
	k.change(a(4)...)
	w.set(at(1, 2, 3, 4))
	k.change(remove(2))
	w.set(at(1, 3, 4))

	changed := time.Now()
	k.change(remove(1), remove(3))
	w.set(at(4))
	if d := time.Since(changed); d < 5*time.Second {
		t.Errorf("two of three have gone: believed after %v, want 5s or more", d)
	}
	k.change(remove(4), "add web.mesh.test. 1 A 192.0.2.9")
	w.set(at(9), at(4, 9))
}

// Hints bring a change in long before the interval is over.
func TestHint(t *testing.T) {
	t.Parallel()
	k := startKnot(t)
	k.change(a(1)...)
	d := web(k.addr)
	d.Interval = time.Hour
	w := start(t, d)
	w.set(at(1))
	k.change(a(2)...)
	w.hint()
	w.set(at(1, 2))
}

// The last address goes, and with it the name: nobody is there, said again and
// again, until somebody is.
func TestNobody(t *testing.T) {
	t.Parallel()
	for name, line := range map[string]string{"NXDOMAIN": "", "NODATA": "add web.mesh.test. 1 TXT x"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k := startKnot(t)
			k.change(a(1, 2)...)
			w := start(t, web(k.addr))
			w.set(at(1, 2))
			lines := []string{"delete web.mesh.test. A"}
			if line != "" {
				lines = append(lines, line)
			}
			changed := time.Now()
			k.change(lines...)
			w.fails()
			w.set(nil)
			if d := time.Since(changed); d < 5*time.Second {
				t.Errorf("nobody is there: believed after %v, want 5s or more", d)
			}
			w.set(nil)
			k.change(a(3)...)
			w.set(at(3), nil)
		})
	}
}

// A server that is stopped takes nobody away; one that comes back is believed.
func TestServerStops(t *testing.T) {
	t.Parallel()
	k := startKnot(t)
	k.change(a(1, 2)...)
	w := start(t, web(k.addr))
	w.set(at(1, 2))
	k.stop()
	w.fails()
	w.holds(8 * time.Second)
	k.start("ns.mesh.test.")
	w.set(at(1, 2)) // out of its journal; ends the error
	k.change(a(3)...)
	w.set(at(1, 2, 3))
}

// SERVFAIL, from the start and in between, is never an empty set.
func TestServerFailure(t *testing.T) {
	t.Parallel()
	k := startKnot(t)
	k.change(a(1, 2)...)
	broken := start(t, discovery.DNS{Host: "web.broken.test.", Resolver: dnstest.At(k.addr), Interval: time.Second})
	records := start(t, discovery.SRV{Name: "_http._tcp.web.broken.test.", Resolver: dnstest.At(k.addr), Interval: time.Second})
	broken.fails()
	records.fails()

	w := start(t, web(k.addr))
	w.set(at(1, 2))
	k.purge()
	w.fails()
	w.holds(8 * time.Second)
	broken.holds(time.Millisecond)
	records.holds(time.Millisecond)
	k.stop()
	k.file("mesh.test.zone", zone+"web IN A 192.0.2.1\nweb IN A 192.0.2.7\n")
	k.start("ns.mesh.test.")
	w.set(at(1, 7))
}

// More addresses than a packet holds: the resolver turns to TCP.
func TestManyAddresses(t *testing.T) {
	t.Parallel()
	k := startKnot(t)
	var all []int
	for n := range 250 {
		all = append(all, n)
	}
	k.change(a(all...)...)
	w := start(t, web(k.addr))
	w.set(at(all...))
}

// Two families, an alias, and a name that turns against us.
func TestFamiliesAliasRebinding(t *testing.T) {
	t.Parallel()
	k := startKnot(t)
	k.change(append(a(1, 2), "add web.mesh.test. 1 AAAA 2001:db8::1", "add alias.mesh.test. 1 CNAME web.mesh.test.")...)
	d := web(k.addr)
	d.Host = "alias.mesh.test."
	d.RefuseAddrs = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
	w := start(t, d)
	w.until("both families, one of them second", func(u discovery.Update) bool {
		second := 0
		for _, e := range u.Endpoints {
			second += e.Priority
		}
		return u.Err == nil && len(u.Endpoints) == 3 && (second == 1 || second == 2)
	})
	k.change("add alias.mesh.test. 1 CNAME ns.mesh.test.") // 127.0.0.1; replaces the alias
	w.until("the refusal", func(u discovery.Update) bool {
		if u.Err == nil {
			t.Errorf("got %s, want an error", text(u))
		}
		return u.Err != nil && strings.Contains(u.Err.Error(), "address 127.0.0.1 is refused: RefuseAddrs has 127.0.0.0/8")
	})
	w.holds(7 * time.Second)
}

// service is the SRV name of the tests.
func service(addr string) discovery.SRV {
	return discovery.SRV{Name: "_http._tcp.web.mesh.test.", Resolver: dnstest.At(addr), Interval: time.Second}
}

func TestServices(t *testing.T) {
	t.Parallel()
	k := startKnot(t)
	k.change(
		"add _http._tcp.web.mesh.test. 1 SRV 10 70 8080 a.mesh.test.", "add _http._tcp.web.mesh.test. 1 SRV 10 30 8081 b.mesh.test.",
		"add _http._tcp.web.mesh.test. 1 SRV 20 0 8080 c.mesh.test.",
		"add a.mesh.test. 1 A 192.0.2.1", "add b.mesh.test. 1 A 192.0.2.2", "add b.mesh.test. 1 A 192.0.2.3", "add c.mesh.test. 1 A 192.0.2.4",
	)
	w := start(t, service(k.addr))
	w.set([]string{"192.0.2.1:8080 20 70", "192.0.2.2:8081 20 15", "192.0.2.3:8081 20 15", "192.0.2.4:8080 40 1"})

	// A weight changes, a target loses an address, one more comes.
	k.change("delete _http._tcp.web.mesh.test. SRV 10 70 8080 a.mesh.test.", "add _http._tcp.web.mesh.test. 1 SRV 10 5 8080 a.mesh.test.")
	w.set([]string{"192.0.2.1:8080 20 5", "192.0.2.2:8081 20 15", "192.0.2.3:8081 20 15", "192.0.2.4:8080 40 1"})
	k.change("delete b.mesh.test. A 192.0.2.3")
	w.set([]string{"192.0.2.1:8080 20 5", "192.0.2.2:8081 20 30", "192.0.2.4:8080 40 1"})
	k.change("add _http._tcp.web.mesh.test. 1 SRV 20 9 8080 ns.mesh.test.")
	w.set([]string{"127.0.0.1:8080 40 9", "192.0.2.1:8080 20 5", "192.0.2.2:8081 20 30", "192.0.2.4:8080 40 0.01"})

	// Targets that do not exist; then the service is gone in the words of RFC 2782.
	k.change("delete a.mesh.test. A", "delete b.mesh.test. A", "delete c.mesh.test. A")
	w.set([]string{"127.0.0.1:8080 40 9"})
	k.change("delete _http._tcp.web.mesh.test. SRV", "add _http._tcp.web.mesh.test. 1 SRV 0 0 0 .")
	w.set(nil)
	w.set(nil)
}

// dnsmasq has records of its own.
func TestDnsmasq(t *testing.T) {
	t.Parallel()
	s := startDnsmasq(t, "a.mesh.test.", "--host-record=a.mesh.test,192.0.2.1", "--host-record=b.mesh.test,192.0.2.2,2001:db8::2",
		"--srv-host=_http._tcp.web.mesh.test,a.mesh.test,8080,10,70", "--srv-host=_http._tcp.web.mesh.test,b.mesh.test,8080,10,30")
	w := start(t, service(s.addr))
	w.until("two targets, one of two families", func(u discovery.Update) bool {
		got := text(u)
		return len(u.Endpoints) == 3 && strings.Contains(got, "192.0.2.1:8080 20 70") &&
			(strings.Contains(got, "192.0.2.2:8080 20 30") || strings.Contains(got, "[2001:db8::2]:8080 20 30"))
	})
	s.stop()
	w.fails()
	s.start("a.mesh.test.")
	w.until("the set again", func(u discovery.Update) bool { return len(u.Endpoints) == 3 })
}

// dnsmasq caches in front of Knot: changes come through when the time to live is
// over, an outage behind the cache takes nobody away.
func TestCache(t *testing.T) {
	t.Parallel()
	k := startKnot(t)
	k.change(a(1, 2)...)
	host, port, _ := strings.Cut(k.addr, ":")
	s := startDnsmasq(t, "ns.mesh.test.", "--server=/mesh.test/"+host+"#"+port, "--cache-size=1000")
	w := start(t, web(s.addr))
	w.set(at(1, 2))
	k.change(a(3)...)
	w.set(at(1, 2, 3))
	k.stop()
	w.fails()
	w.holds(8 * time.Second)
	k.start("ns.mesh.test.")
	w.set(at(1, 2, 3))
	k.change("delete web.mesh.test. A")
	w.fails()
	w.set(nil)
}
