package discovery

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
)

// A Lookup finds the addresses of a host. *net.Resolver is one. Implementations
// must be safe for concurrent use and return when ctx is done.
type Lookup interface {
	// LookupNetIP is called with network "ip" for both families, the one that
	// should be used first in front, and with "ip4" or "ip6" to make sure that
	// there is no address of that family. That is said by a *net.DNSError with
	// IsNotFound, or by an empty answer; any other error says nothing about
	// the addresses.
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// lookups are how one watch asks for hosts.
type lookups struct {
	plain  Lookup
	strict Lookup // plain, but an error of a part is one of the whole
}

// newLookups makes them of the Resolver field of a DNS or a SRV.
func newLookups(plain Lookup) lookups {
	if r, ok := plain.(*net.Resolver); ok && r != nil {
		return lookups{plain: plain, strict: strictly(r)}
	}
	return lookups{plain: plain, strict: plain}
}

// strictly is r, but one that does not pass over temporary errors. Without it an
// error is lost when another family, or another search domain, says that there
// is nothing. As the only resolver it would not do: hosts that resolve
// everywhere else would fail for a server that cannot answer AAAA.
func strictly(r *net.Resolver) *net.Resolver {
	return &net.Resolver{PreferGo: r.PreferGo, StrictErrors: true, Dial: r.Dial}
}

// An answer is what the name servers say about one host.
type answer struct {
	ips   []netip.Addr // each once, the family that comes first in front
	fresh bool         // some of ips are new, the others are kept from the last answer
	none  bool         // there is none, they say; err has the words
	err   error        // what could not be asked or understood
}

// host asks for the addresses of a host. Last is the answer before. A family
// counts as gone only when a question for it alone says so: net.Resolver gives
// the addresses of one family, or says that there is none, when the question for
// the other one has failed. The question for both fails when one is not
// answered at all, so then the families are asked for alone, too.
func (l lookups) host(ctx context.Context, host string, last []netip.Addr) answer {
	ips, err := ask(ctx, l.plain, "ip", host)
	networks := []string{"ip4", "ip6"}
	if len(last) > 0 && last[0].Is6() {
		networks = []string{"ip6", "ip4"} // the order of the families stays, too
	}
	var unsure []string
	for _, network := range networks {
		if err != nil || len(family(last, network)) > 0 && len(family(ips, network)) == 0 {
			unsure = append(unsure, network)
		}
	}
	if len(unsure) == 0 {
		return answer{ips: ips, fresh: true}
	}

	parts, errs := make([][]netip.Addr, len(unsure)), make([]error, len(unsure))
	var wg sync.WaitGroup
	for i, network := range unsure {
		wg.Go(func() { parts[i], errs[i] = ask(ctx, l.strict, network, host) })
	}
	wg.Wait()

	a := answer{ips: ips}
	var kept []netip.Addr
	for i, network := range unsure {
		a.ips = append(a.ips, parts[i]...)
		if errs[i] != nil && !isNotFound(errs[i]) {
			kept = append(kept, family(last, network)...)
			a.err = errs[i]
		}
	}
	if a.err != nil && err != nil && !isNotFound(err) {
		a.err = err // what went wrong first says more than that it did so again
	}
	if a.fresh = len(a.ips) > 0; !a.fresh && a.err == nil {
		a.none, a.err = true, errs[0]
	}
	a.keep(kept, last)
	return a
}

// keep adds what is kept of the last answer. A failure does not turn the order
// of the families.
func (a *answer) keep(kept, last []netip.Addr) {
	switch {
	case !a.fresh && len(kept) == len(last):
		a.ips = last
	case len(kept) > 0 && kept[0] == last[0]:
		a.ips = append(kept, a.ips...)
	default:
		a.ips = append(a.ips, kept...)
	}
}

// ask asks one question. An answer without addresses is an error.
func ask(ctx context.Context, l Lookup, network, host string) ([]netip.Addr, error) {
	ctx, cancel := context.WithTimeout(ctx, dnsTimeout)
	defer cancel()
	got, err := l.LookupNetIP(ctx, network, host)
	if err != nil {
		return nil, err
	}
	ips, seen := make([]netip.Addr, 0, len(got)), make(map[netip.Addr]bool, len(got))
	for _, ip := range got {
		if !ip.IsValid() {
			return nil, fmt.Errorf("address %q cannot be used", ip)
		}
		ip = ip.Unmap() // an IPv4 address in IPv6 clothes is not another instance
		if !seen[ip] {
			seen[ip] = true
			ips = append(ips, ip)
		}
	}
	if ips = family(ips, network); len(ips) == 0 {
		return nil, &net.DNSError{Err: "the answer holds no address", Name: host, IsNotFound: true}
	}
	return ips, nil
}

// family are the addresses of network "ip4" or "ip6", or all.
func family(ips []netip.Addr, network string) []netip.Addr {
	if network == "ip" {
		return ips
	}
	var of []netip.Addr
	for _, ip := range ips {
		if ip.Is4() == (network == "ip4") {
			of = append(of, ip)
		}
	}
	return of
}

// isNotFound says whether the answer is that there is nothing. Package net does
// not tell a name without such records (NODATA) from one that does not exist
// (NXDOMAIN), and registries use either for a service that has no instance. An
// AddrError is its word for a host that has addresses of the other family only,
// where that host is not from DNS.
func isNotFound(err error) bool {
	var dns *net.DNSError
	if errors.As(err, &dns) {
		return dns.IsNotFound && !dns.IsTemporary && !dns.IsTimeout
	}
	var addr *net.AddrError
	return errors.As(err, &addr)
}
