package discovery_test

import (
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tullemesh/tulle/discovery"
)

// prefixes parses a list; "" is the zero Prefix.
func prefixes(texts ...string) []netip.Prefix {
	var list []netip.Prefix
	for _, text := range texts {
		p, _ := netip.ParsePrefix(text)
		list = append(list, p)
	}
	return list
}

// Rebinding: a name that began to lead somewhere harmless turns to the own
// network. What is refused is left out, named, and never makes the set empty.
func TestDNSRefuseAddrs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &names{ips: []string{"192.0.2.1", "192.0.2.2"}}
		d := users(n)
		d.RefuseAddrs = prefixes("127.0.0.0/8", "fe80::/10")
		w := watch(t, d)
		w.want("192.0.2.1:8080", "192.0.2.2:8080")

		n.answer("192.0.2.1", "127.0.0.2", "192.0.2.3", "127.0.0.1")
		w.want("192.0.2.1:8080", "192.0.2.3:8080")
		w.wantErr(
			"discovery: dns users.test: address 127.0.0.1 is refused: RefuseAddrs has 127.0.0.0/8",
			"address 127.0.0.2 is refused",
		)
		n.answer("127.0.0.1", "192.0.2.1", "127.0.0.2", "192.0.2.3")
		w.quiet(10 * time.Minute) // no news, though the order is another

		n.answer("127.0.0.1", "fe80::1%eth0", "::ffff:127.9.9.9")
		w.wantErr("address 127.0.0.1 is refused", "address 127.9.9.9", "address fe80::1%eth0 is refused: RefuseAddrs has fe80::/10")
		w.quiet(2 * time.Hour) // never an empty set

		n.answer("192.0.2.1", "192.0.2.3")
		w.want("192.0.2.1:8080", "192.0.2.3:8080") // ends the error
	})
}

// A set with something refused is no failure: there is no reason to ask sooner.
func TestDNSRefusedPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &names{ips: []string{"192.0.2.1", "127.0.0.1"}}
		d := users(n)
		d.RefuseAddrs = prefixes("127.0.0.0/8")
		w := watch(t, d)
		w.want("192.0.2.1:8080")
		w.wantErr("is refused")
		w.quiet(10 * time.Minute)
		if at := n.times(); len(at) > 23 {
			t.Errorf("got %d look-ups in 10m, want one each 30s", len(at))
		}
	})
}

// The family that is used first is that of the first address that may be used,
// and one that is refused altogether is not asked for again and again.
func TestDNSRefuseFamily(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &names{ips: []string{"2001:db8::1", "192.0.2.1"}}
		d := users(n)
		d.RefuseAddrs = prefixes("::/0")
		w := watch(t, d)
		w.want("192.0.2.1:8080")
		w.wantErr("address 2001:db8::1 is refused: RefuseAddrs has ::/0")
		w.quiet(time.Hour)
		if len(n.alone) > 0 {
			t.Errorf("got questions for %v alone, want none", n.alone)
		}
	})
}

// Many refused addresses are counted and not listed.
func TestDNSRefuseMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &names{ips: []string{"127.0.0.5", "127.0.0.4", "127.0.0.3", "127.0.0.2", "127.0.0.1"}}
		d := users(n)
		d.RefuseAddrs = prefixes("127.0.0.0/8")
		w := watch(t, d)
		w.wantErr("address 127.0.0.1 is", "address 127.0.0.2 is", "address 127.0.0.3 is", "and 2 more")
	})
}

// The list against addresses of which everybody knows what they are.
func TestNonPublic(t *testing.T) {
	list := discovery.NonPublic()
	refused := func(text string) bool {
		d := discovery.DNS{Host: text, RefuseAddrs: list}
		return d.Validate() != nil
	}
	for _, ip := range []string{
		"0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "127.0.0.1", "127.255.255.255", "169.254.169.254", "172.16.0.1",
		"172.31.255.255", "192.0.0.1", "192.0.2.1", "192.88.99.1", "192.168.1.1", "198.18.0.1", "198.19.255.255", "198.51.100.1",
		"203.0.113.1", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255",
		"::", "::1", "::127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "100::1", "1fff::1", "2001::1", "2001:1ff:ffff::1",
		"2001:db8::1", "2002:7f00:1::1", "3fff::1", "4000::1", "7fff::1", "8000::1", "fc00::1", "fd00:ec2::254", "fe80::1", "fec0::1", "ff02::1",
	} {
		if !refused(ip) {
			t.Errorf("%s: got through, want it refused", ip)
		}
	}
	for _, ip := range []string{
		"1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.0.0.1", "128.0.0.1", "169.253.255.255",
		"169.255.0.0", "172.15.255.255", "172.32.0.0", "192.0.1.1", "192.167.255.255", "192.169.0.0", "198.17.255.255", "198.20.0.0",
		"223.255.255.255", "::ffff:8.8.8.8", "2000::1", "2001:200::1", "2001:4860:4860::8888", "2003::1", "2606:4700::1111", "3ffe::1",
	} {
		if refused(ip) {
			t.Errorf("%s: refused, want it through", ip)
		}
	}
	list[0] = netip.Prefix{}
	if !discovery.NonPublic()[0].IsValid() {
		t.Error("a change of the list is in the next one, want a list for each call")
	}
}
