package discovery

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/tullemesh/tulle"
)

// DNS is a Resolver that looks a host up again and again. The zero DNS is not
// valid: Host is required. It holds no state, so one value may serve any number
// of watches.
//
// The addresses of one family are the set: that of the first address in the
// order of the Lookup, which is RFC 6724's for *net.Resolver. Those of the other
// family follow with Priority 1 and so are used when none of the first works. A
// host that is an IP address is reported at once and never looked up.
//
// New addresses count at once. An answer that lacks more than half of the known
// ones takes them away only when a second one says the same at least 5 s later;
// until then they stay beside the new ones. Where no two answers agree, as with
// servers that give a random part of a large set, an address stays for 10
// minutes after it was last given. So a name whose one address changes has both
// for 5 s.
//
// No answer is an error; the last good set stays in force, and look-ups repeat
// after 1 s, 2 s, 4 s and so on up to Interval. The answer that the host does
// not exist, or has no address, is an error, too, until it is confirmed like any
// other that takes more than half away: from then on an empty set is reported
// after each look-up that says so. For a host that never had an address it stays
// an error, as a wrong name is far more likely. Write a trailing dot to keep the
// search domains of the machine out of this.
//
// A question that takes longer than 11 s has failed. When the question for both
// families fails, one for each of them follows: a server that does not answer
// for one family does not hide the other.
type DNS struct {
	// Host is the name to look up or an IP address (IPv6 without brackets).
	// Required. A trailing dot keeps search domains out, as usual.
	Host string

	// Port is the port of all endpoints, "1" to "65535". Default (""): the
	// endpoints carry no port and take that of the request's scheme.
	Port string

	// Resolver does the look-ups. Default (nil): net.DefaultResolver.
	Resolver Lookup

	// Interval is the time between look-ups; each pause differs from it by up
	// to 10 %. Hints on refresh make the next look-up come at once, but not
	// within 1 s of the last one. Default (0): 30 s. Range: 1 s to 24 h.
	Interval time.Duration

	// RefuseAddrs are addresses that must not be used, whatever the name
	// servers say: they are left out of the set, and reported as an error
	// beside it. When all are refused, the last good set stays in force. A
	// Host that is a refused address is not valid. IPv4 addresses are checked
	// as such, also where they come as IPv6 ones. Default (nil): none. See
	// NonPublic.
	RefuseAddrs []netip.Prefix
}

// Validate returns an error that names the first field that cannot be used and
// its value, or nil. It does not look the host up.
func (d DNS) Validate() error {
	ip, notIP := netip.ParseAddr(d.Host)
	if notIP != nil && !isName(d.Host) {
		return fmt.Errorf("discovery: dns: Host %q: want a name or an IP address, without port and brackets", d.Host)
	}
	// Itoa: "080" would be another key for the same endpoint.
	if n, err := strconv.ParseUint(d.Port, 10, 16); d.Port != "" && (err != nil || n == 0 || strconv.Itoa(int(n)) != d.Port) {
		return fmt.Errorf("discovery: dns %s: Port %q: want 1 to 65535", d.Host, d.Port)
	}
	if err := validatePolling("discovery: dns "+d.Host, d.Interval, d.RefuseAddrs); err != nil {
		return err
	}
	if notIP == nil {
		_, err := d.literal(ip)
		return err
	}
	return nil
}

// isName says whether the text can be looked up. Name servers have the last word
// on which names there can be.
func isName(text string) bool {
	e := tulle.Endpoint{Addr: text}
	return !strings.ContainsAny(text, ":,%[]") && e.Validate() == nil
}

// validatePolling checks the fields that DNS and SRV share. Who is the beginning
// of its error.
func validatePolling(who string, interval time.Duration, list []netip.Prefix) error {
	if interval != 0 && (interval < dnsFloor || interval > maxDNSInterval) {
		return fmt.Errorf("%s: Interval %v: want 1s to 24h, or 0 for 30s", who, interval)
	}
	if err := validateRefuse(list); err != nil {
		return fmt.Errorf("%s: %w", who, err)
	}
	return nil
}

// Watch reports the addresses of the host and looks for changes until ctx is
// done. It returns earlier only with the error of Validate.
func (d DNS) Watch(ctx context.Context, report func(Update), refresh <-chan struct{}) error {
	if err := d.Validate(); err != nil {
		return refuse(report, err)
	}
	if ip, err := netip.ParseAddr(d.Host); err == nil {
		set, err := d.literal(ip)
		report(Update{Endpoints: set, Err: err}) // Validate saw to it that err is nil
		<-ctx.Done()
		return ctx.Err()
	}
	if d.Resolver == nil {
		d.Resolver = net.DefaultResolver
	}
	l := newLookups(d.Resolver)
	var last []netip.Addr
	w := dnsWatch{interval: d.Interval, report: report, look: func(ctx context.Context) found {
		f, ips := d.look(l.host(ctx, d.Host, last))
		if len(ips) > 0 {
			last = ips
		}
		return f
	}}
	return w.run(ctx, refresh)
}

// literal is the set of a host that needs no look-up.
func (d DNS) literal(ip netip.Addr) ([]tulle.Endpoint, error) {
	f, _ := d.look(answer{ips: []netip.Addr{ip.Unmap()}, fresh: true})
	return f.set, errors.Join(f.err, f.odd)
}

// look makes a set of an answer, and returns the addresses in it.
func (d DNS) look(a answer) (found, []netip.Addr) {
	wrap := func(err error) error {
		if err == nil {
			return nil
		}
		return fmt.Errorf("discovery: dns %s: %w", d.Host, err)
	}
	if !a.fresh { // what is kept is in force anyway
		return found{none: a.none, err: wrap(a.err)}, nil
	}
	ips, refused := allowed(d.RefuseAddrs, a.ips)
	if len(ips) == 0 {
		return found{err: wrap(errors.Join(a.err, refused))}, nil
	}
	set, err := d.endpoints(ips)
	if err != nil {
		return found{err: wrap(err)}, nil
	}
	return found{set: set, err: wrap(a.err), odd: wrap(refused)}, ips
}

// endpoints makes the set out of addresses. The family of the first is the one
// that is used first.
func (d DNS) endpoints(ips []netip.Addr) ([]tulle.Endpoint, error) {
	set := make([]tulle.Endpoint, len(ips))
	for i, ip := range ips {
		e := &set[i]
		e.Addr = ip.String()
		if d.Port != "" {
			e.Addr = net.JoinHostPort(e.Addr, d.Port)
		}
		if ip.Is4() != ips[0].Is4() {
			e.Priority = 1
		}
		if err := e.Validate(); err != nil {
			return nil, fmt.Errorf("address %q cannot be used: %w", ip, err)
		}
	}
	return set, nil
}
