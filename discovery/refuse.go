package discovery

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
)

// NonPublic returns what RefuseAddrs needs to hold so that a name chosen by
// somebody else cannot lead into the own network: all addresses that are not for
// use across the internet by the registries of IANA (special-purpose addresses,
// RFC 6890 and its successors), among them loopback, private and link-local ones
// and those of cloud metadata services. Of IPv6 only 2000::/3 is left, without
// the parts of it that carry IPv4 addresses or are not assigned to networks; so
// a client behind NAT64 must take out ::/3.
//
// Each call returns a new slice.
func NonPublic() []netip.Prefix {
	list := make([]netip.Prefix, 0, 24)
	for _, text := range []string{
		"0.0.0.0/8",       // this network
		"10.0.0.0/8",      // private
		"100.64.0.0/10",   // shared by the customers of a provider
		"127.0.0.0/8",     // loopback
		"169.254.0.0/16",  // link-local, cloud metadata
		"172.16.0.0/12",   // private
		"192.0.0.0/24",    // protocol assignments
		"192.0.2.0/24",    // documentation
		"192.88.99.0/24",  // relays of 6to4
		"192.168.0.0/16",  // private
		"198.18.0.0/15",   // benchmarks
		"198.51.100.0/24", // documentation
		"203.0.113.0/24",  // documentation
		"224.0.0.0/4",     // multicast
		"240.0.0.0/4",     // reserved, broadcast

		"::/3",          // loopback, mapped and translated IPv4
		"2001::/23",     // protocol assignments, Teredo
		"2001:db8::/32", // documentation
		"2002::/16",     // 6to4
		"3fff::/20",     // documentation
		"4000::/2",      // not assigned
		"8000::/1",      // not assigned, private, link-local, multicast
	} {
		list = append(list, netip.MustParsePrefix(text))
	}
	return list
}

// validateRefuse returns an error for the first prefix that would never match.
func validateRefuse(list []netip.Prefix) error {
	for i, p := range list {
		switch {
		case !p.IsValid():
			return fmt.Errorf("RefuseAddrs[%d] %v: want a prefix such as 10.0.0.0/8", i, p)
		case p.Addr().Is4In6():
			return fmt.Errorf("RefuseAddrs[%d] %v: want it in the form of IPv4, as which such addresses are checked", i, p)
		}
	}
	return nil
}

// allowed are the addresses that no prefix holds. The error names the others.
func allowed(list []netip.Prefix, ips []netip.Addr) ([]netip.Addr, error) {
	if len(list) == 0 {
		return ips, nil
	}
	left := make([]netip.Addr, 0, len(ips))
	var refused []netip.Addr
	for _, ip := range ips {
		if holder(list, ip).IsValid() {
			refused = append(refused, ip)
		} else {
			left = append(left, ip)
		}
	}
	slices.SortFunc(refused, netip.Addr.Compare) // one text for the same trouble
	errs := make([]error, len(refused))
	for i, ip := range refused {
		errs[i] = fmt.Errorf("address %v is refused: RefuseAddrs has %v", ip, holder(list, ip))
	}
	return left, someErrors(errs)
}

// holder is the first prefix that holds the address. A zone is no part of it.
func holder(list []netip.Prefix, ip netip.Addr) netip.Prefix {
	ip = ip.WithZone("")
	for _, p := range list {
		if p.Contains(ip) {
			return p
		}
	}
	return netip.Prefix{}
}

// someErrors joins errors, but not so many that nobody would read them.
func someErrors(errs []error) error {
	const most = 3
	if n := len(errs) - most; n > 0 {
		return errors.Join(append(slices.Clone(errs[:most]), fmt.Errorf("and %d more", n))...)
	}
	return errors.Join(errs...)
}
