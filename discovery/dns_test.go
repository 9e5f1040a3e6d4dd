package discovery_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/discovery"
)

var _ discovery.Lookup = (*net.Resolver)(nil)

// names is a name server in memory, with one host.
type names struct {
	mu    sync.Mutex
	ips   []string
	err   error
	delay time.Duration // of an answer; it honours ctx
	asked []time.Time   // for both families
	alone []string      // questions for one family: their network
}

func (n *names) answer(ips ...string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.ips, n.err = ips, nil
}

func (n *names) fail(err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.err = err
}

// times are those of the look-ups since the last call.
func (n *names) times() []time.Time {
	n.mu.Lock()
	defer n.mu.Unlock()
	t := n.asked
	n.asked = nil
	return t
}

func (n *names) LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error) {
	texts, delay, err := n.ask(network, host)
	if delay > 0 {
		late := time.NewTimer(delay)
		defer late.Stop()
		select {
		case <-late.C:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	var ips []netip.Addr
	for _, text := range texts {
		ip, _ := netip.ParseAddr(text) // "" is the zero Addr
		if network == "ip" || ip.Unmap().Is4() == (network == "ip4") {
			ips = append(ips, ip)
		}
	}
	return ips, err
}

func (n *names) ask(network, host string) ([]string, time.Duration, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case host != "users.test":
		return nil, 0, errors.New("got another question than for users.test: " + host)
	case network == "ip":
		n.asked = append(n.asked, time.Now())
	default:
		n.alone = append(n.alone, network)
	}
	return n.ips, n.delay, n.err
}

func users(n *names) discovery.DNS {
	return discovery.DNS{Host: "users.test", Port: "8080", Resolver: n}
}

func TestDNSFamilies(t *testing.T) {
	for _, c := range []struct {
		name string
		ips  []string
		port string
		want []string
	}{
		{"IPv4 alone", []string{"10.0.0.1", "10.0.0.2"}, "8080", []string{"10.0.0.1:8080", "10.0.0.2:8080"}},
		{"no port", []string{"10.0.0.1", "2001:db8::1"}, "", []string{"10.0.0.1", "2001:db8::1/1"}},
		{"IPv6 first", []string{"2001:db8::1", "10.0.0.1", "2001:db8::2"}, "80", []string{"[2001:db8::1]:80", "10.0.0.1:80/1", "[2001:db8::2]:80"}},
		{"IPv4 first", []string{"10.0.0.1", "2001:db8::1"}, "80", []string{"10.0.0.1:80", "[2001:db8::1]:80/1"}},
		{"IPv4 in IPv6", []string{"::ffff:10.0.0.1", "10.0.0.1", "10.0.0.1"}, "80", []string{"10.0.0.1:80"}},
		{"IPv4 in IPv6 first", []string{"::ffff:10.0.0.1", "2001:db8::1"}, "80", []string{"10.0.0.1:80", "[2001:db8::1]:80/1"}},
		{"IPv6 zone", []string{"fe80::1%eth0"}, "80", []string{"[fe80::1%eth0]:80"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := &names{ips: c.ips}
				d := users(n)
				d.Port = c.port
				watch(t, d).want(c.want...)
			})
		})
	}
}

func TestDNSChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &names{ips: []string{"10.0.0.1", "10.0.0.2"}}
		w := watch(t, users(n))
		w.want("10.0.0.1:8080", "10.0.0.2:8080")
		n.answer("10.0.0.2", "10.0.0.1") // servers rotate their answers
		w.quiet(10 * time.Minute)
		n.answer("10.0.0.1", "10.0.0.3")
		w.want("10.0.0.1:8080", "10.0.0.3:8080")
		n.answer("10.0.0.3")
		w.want("10.0.0.3:8080")
		n.answer("10.0.0.3", "2001:db8::1")
		w.want("10.0.0.3:8080", "[2001:db8::1]:8080/1")
		n.answer("2001:db8::1", "10.0.0.3") // the host's view of the families turned
		w.want("[2001:db8::1]:8080", "10.0.0.3:8080/1")
	})
}

// Pauses are 30 s give or take a tenth, and spread over that range.
func TestDNSInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &names{ips: []string{"10.0.0.1"}}
		w := watch(t, users(n))
		w.want("10.0.0.1:8080")
		w.quiet(100 * time.Minute)
		at := n.times()
		least, most := time.Hour, time.Duration(0)
		for i := 1; i < len(at); i++ {
			d := at[i].Sub(at[i-1])
			least, most = min(least, d), max(most, d)
		}
		if least < 27*time.Second || most > 33*time.Second || most-least < 3*time.Second {
			t.Errorf("%d pauses: got %v to %v, want them spread over 27s to 33s", len(at), least, most)
		}
	})
}

// Hints are answered at once, but look-ups keep 1 s apart.
func TestDNSRefresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &names{ips: []string{"10.0.0.1"}}
		w := watch(t, users(n))
		w.want("10.0.0.1:8080")
		w.quiet(5 * time.Second)
		n.answer("10.0.0.1", "10.0.0.2")
		start := time.Now()
		w.hint()
		w.want("10.0.0.1:8080", "10.0.0.2:8080")
		if d := time.Since(start); d != 0 {
			t.Errorf("first hint: got the look-up after %v, want it at once", d)
		}
		n.times()
		flood(w, 20*time.Second)
		at := n.times()
		for i := 1; i < len(at); i++ {
			if d := at[i].Sub(at[i-1]); d < time.Second {
				t.Fatalf("flooded with hints: got look-ups %v apart, want at least 1s", d)
			}
		}
		if len(at) < 15 {
			t.Errorf("flooded with hints for 20s: got %d look-ups, want one a second", len(at))
		}
	})
}

// flood hints each 10 ms for d.
func flood(w *running, d time.Duration) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(d); time.Now().Before(end); <-tick.C {
		w.hint()
	}
}

// Jitter does not undercut the floor.
func TestDNSShortestInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &names{ips: []string{"10.0.0.1"}}
		d := users(n)
		d.Interval = time.Second
		w := watch(t, d)
		w.want("10.0.0.1:8080")
		w.quiet(5 * time.Minute)
		at := n.times()
		for i := 1; i < len(at); i++ {
			if d := at[i].Sub(at[i-1]); d < time.Second || d > 1100*time.Millisecond {
				t.Fatalf("Interval 1s: got look-ups %v apart, want 1s to 1.1s", d)
			}
		}
	})
}

// One hint per look-up is taken: a sender that never stops must not keep the
// watch busy.
func TestDNSTakesFewHints(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 10500*time.Millisecond)
		defer cancel()
		hints, taken := make(chan struct{}), 0
		go func() {
			for taken < 10000 {
				select {
				case hints <- struct{}{}:
					taken++
				case <-ctx.Done():
					return
				}
			}
		}()
		_ = users(&names{ips: []string{"10.0.0.1"}}).Watch(ctx, func(discovery.Update) {}, hints)
		synctest.Wait()
		if taken < 10 || taken > 12 {
			t.Errorf("hints taken in 10.5s: got %d, want 11", taken)
		}
	})
}

// Errors keep quiet about endpoints and make look-ups denser, down to the
// Interval again.
func TestDNSFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &names{ips: []string{"10.0.0.1"}}
		w := watch(t, users(n))
		w.want("10.0.0.1:8080")
		busy := &net.DNSError{Err: "server misbehaving", Name: "users.test", IsTemporary: true}
		n.fail(busy)
		n.times()
		if err := w.wantErr("discovery: dns users.test", "server misbehaving"); !errors.Is(err, busy) {
			t.Errorf("got %v, want the error of the look-up in it", err)
		}
		w.quiet(5 * time.Minute) // the same error is no news
		at := n.times()
		for i, want := range []time.Duration{1, 2, 4, 8, 16, 30, 30} {
			want *= time.Second
			if got := at[i+1].Sub(at[i]); got < want*9/10 || got > want*11/10 || got < time.Second {
				t.Errorf("pause %d after a failure: got %v, want %v give or take a tenth, at least 1s", i+1, got, want)
			}
		}
		n.fail(errDown)
		w.wantErr(errDown.Error())
		n.answer("10.0.0.1")
		w.want("10.0.0.1:8080") // the same set: it ends the error
		n.fail(errDown)
		n.times()
		w.wantErr(errDown.Error())
		w.quiet(2 * time.Second)
		if got := len(n.times()); got < 2 {
			t.Errorf("after a success: got %d look-ups within 2s of a failure, want the pauses to start at 1s again", got)
		}
	})
}

// An answer that cannot be used is no answer, but what is said of the other
// family counts.
func TestDNSBadAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &names{ips: []string{""}}
		w := watch(t, users(n))
		w.wantErr("discovery: dns users.test", `address "invalid IP" cannot be used`)
		n.answer("10.0.0.1", "")
		w.want("10.0.0.1:8080")
		w.wantErr(`address "invalid IP" cannot be used`)
		n.answer("10.0.0.1")
		w.want("10.0.0.1:8080")
	})
}

// The question for both families has 11 s, those for one of them 2 s more.
func TestDNSTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &names{ips: []string{"10.0.0.1"}, delay: time.Hour}
		start := time.Now()
		w := watch(t, users(n))
		err := w.wantErr("discovery: dns users.test")
		if d := time.Since(start); d != 13*time.Second || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a look-up that hangs: got %v after %v, want context.DeadlineExceeded after 13s", err, d)
		}
	})
}

// A watch that ends during a look-up is no failure of the look-up.
func TestDNSCancelDuringLookup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &names{delay: time.Hour}
		w := watch(t, users(n))
		synctest.Wait()
		if err := w.stop(); !errors.Is(err, context.Canceled) {
			t.Errorf("Watch: got %v, want context.Canceled", err)
		}
		w.quiet(time.Minute)
	})
}

// A host that is an address is never asked for.
func TestDNSLiteral(t *testing.T) {
	for _, c := range []struct{ host, port, want string }{
		{"10.0.0.1", "80", "10.0.0.1:80"},
		{"10.0.0.1", "", "10.0.0.1"},
		{"::1", "80", "[::1]:80"},
		{"::1", "", "::1"},
		{"::ffff:10.0.0.1", "80", "10.0.0.1:80"},
		{"fe80::1%eth0", "80", "[fe80::1%eth0]:80"},
	} {
		synctest.Test(t, func(t *testing.T) {
			n := &names{}
			w := watch(t, discovery.DNS{Host: c.host, Port: c.port, Resolver: n})
			w.want(c.want)
			w.hint()
			w.quiet(24 * time.Hour)
			if got := n.times(); len(got) > 0 {
				t.Errorf("%s: got %d look-ups, want none", c.host, len(got))
			}
		})
	}
}

// Nil is the resolver of the machine, which knows localhost by itself.
func TestDNSDefaultResolver(t *testing.T) {
	w := watch(t, discovery.DNS{Host: "localhost", Port: "80"})
	u := w.next()
	if u.Err != nil || !strings.HasPrefix(u.Endpoints[0].Addr, "127.") && u.Endpoints[0].Addr != "[::1]:80" {
		t.Errorf("localhost: got %v, %v, want a loopback address", u.Endpoints, u.Err)
	}
}

func TestDNSInvalid(t *testing.T) {
	for _, c := range []struct {
		dns  discovery.DNS
		want string
	}{
		{discovery.DNS{}, `discovery: dns: Host ""`},
		{discovery.DNS{Host: "a:80"}, `Host "a:80": want a name or an IP address, without port`},
		{discovery.DNS{Host: "[::1]"}, `Host "[::1]"`},
		{discovery.DNS{Host: "a/b"}, `Host "a/b"`},
		{discovery.DNS{Host: "a,b"}, `Host "a,b"`},
		{discovery.DNS{Host: "a b"}, `Host "a b"`},
		{discovery.DNS{Host: "a", Port: "0"}, `Port "0": want 1 to 65535`},
		{discovery.DNS{Host: "a", Port: "65536"}, `Port "65536"`},
		{discovery.DNS{Host: "a", Port: "080"}, `Port "080"`},
		{discovery.DNS{Host: "a", Port: "http"}, `Port "http"`},
		{discovery.DNS{Host: "a", Interval: time.Millisecond}, "Interval 1ms: want 1s to 24h"},
		{discovery.DNS{Host: "a", Interval: -time.Hour}, "Interval -1h0m0s"},
		{discovery.DNS{Host: "a", Interval: 25 * time.Hour}, "Interval 25h0m0s"},
		{discovery.DNS{Host: "a", RefuseAddrs: prefixes("0.0.0.0/0", "")}, "dns a: RefuseAddrs[1] invalid Prefix: want a prefix such as"},
		{discovery.DNS{Host: "a", RefuseAddrs: prefixes("::ffff:10.0.0.0/104")}, "RefuseAddrs[0] ::ffff:10.0.0.0/104: want it in the form of IPv4"},
		{discovery.DNS{Host: "127.0.0.1", RefuseAddrs: prefixes("127.0.0.0/8")}, "dns 127.0.0.1: address 127.0.0.1 is refused: RefuseAddrs has 127.0.0.0/8"},
		{discovery.DNS{Host: "::ffff:127.0.0.1", Port: "80", RefuseAddrs: prefixes("127.0.0.0/8")}, "address 127.0.0.1 is refused"},
		{discovery.DNS{Host: "fe80::1%eth0", Port: "80", RefuseAddrs: prefixes("fe80::/10")}, "address fe80::1%eth0 is refused"},
		{discovery.DNS{Host: "fe80::1%eth0"}, "cannot be used"}, // a zone needs brackets and so a port
	} {
		synctest.Test(t, func(t *testing.T) {
			w := watch(t, c.dns)
			w.wantErr(c.want)
			if <-w.end; w.err == nil {
				t.Errorf("%+v: Watch got nil, want its error", c.dns)
			}
		})
	}
}

// The set belongs to the receiver.
func TestDNSSetIsACopy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &names{ips: []string{"10.0.0.1", "10.0.0.2"}}
		w := watch(t, users(n))
		u := w.next()
		u.Endpoints[0] = tulle.Endpoint{}
		w.quiet(5 * time.Minute) // a set that was shared would look changed now
	})
}
