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

const (
	// dnsFloor is the least time from one look-up to the next, whatever the
	// hints: a service that is down must not make its clients flood the name
	// servers.
	dnsFloor = time.Second

	// dnsTimeout bounds one look-up. Two servers that are tried twice for 2 s
	// fit in; a lost answer does not hold up the watch for long.
	dnsTimeout = 10 * time.Second
)

// A Lookup finds the addresses of a host. *net.Resolver is one. Implementations
// must be safe for concurrent use and return when ctx is done.
type Lookup interface {
	// LookupNetIP is called with network "ip": both families, the one that
	// should be used first in front.
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// DNS is a Resolver that looks a host up again and again. The zero DNS is not
// valid: Host is required. It holds no state, so one value may serve any number
// of watches.
//
// The addresses of one family are the set: that of the first address in the
// order of the Lookup, which is RFC 6724's for *net.Resolver. Those of the other
// family follow with Priority 1 and so are used when none of the first works. A
// host that is an IP address is reported at once and never looked up.
//
// No answer is an error, and so is the answer that the host does not exist: a
// name that vanished is far more often a mistake than a service that was
// stopped. The last good set stays in force, and look-ups repeat after 1 s, 2 s,
// 4 s and so on up to Interval. A look-up that takes longer than 10 s has failed.
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
}

// Validate returns an error that names the first field that cannot be used and
// its value, or nil. It does not look the host up.
func (d DNS) Validate() error {
	ip, notIP := netip.ParseAddr(d.Host)
	host := tulle.Endpoint{Addr: d.Host}
	if notIP != nil && (strings.ContainsAny(d.Host, ":,%[]") || host.Validate() != nil) {
		return fmt.Errorf("discovery: dns: Host %q: want a name or an IP address, without port and brackets", d.Host)
	}
	// Itoa: "080" would be another key for the same endpoint.
	if n, err := strconv.ParseUint(d.Port, 10, 16); d.Port != "" && (err != nil || n == 0 || strconv.Itoa(int(n)) != d.Port) {
		return fmt.Errorf("discovery: dns %s: Port %q: want 1 to 65535", d.Host, d.Port)
	}
	if d.Interval != 0 && (d.Interval < dnsFloor || d.Interval > 24*time.Hour) {
		return fmt.Errorf("discovery: dns %s: Interval %v: want 1s to 24h, or 0 for 30s", d.Host, d.Interval)
	}
	if notIP == nil {
		_, err := d.endpoints([]netip.Addr{ip})
		return err
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
		return d.watchIP(ctx, report, ip)
	}
	if d.Interval == 0 {
		d.Interval = 30 * time.Second
	}
	if d.Resolver == nil {
		d.Resolver = net.DefaultResolver
	}
	var said said
	rnd := newRand()
	for failures := 0; ctx.Err() == nil; {
		set, err := d.lookup(ctx)
		wait := d.Interval
		switch {
		case ctx.Err() != nil:
			return ctx.Err() // the look-up failed because nobody waits for it
		case err != nil:
			wait = doubled(dnsFloor, d.Interval, failures)
			failures++
			said.tellErr(report, err)
		default:
			failures = 0
			if said.isNewSet(set) {
				said.tellSet(report, set)
			}
		}
		// The error of pause is that of ctx, which ends the loop.
		_, _ = pause(ctx, max(dnsFloor, spread(wait, rnd)), dnsFloor, refresh)
	}
	return ctx.Err()
}

// watchIP serves a host that needs no look-up.
func (d DNS) watchIP(ctx context.Context, report func(Update), ip netip.Addr) error {
	set, err := d.endpoints([]netip.Addr{ip})
	report(Update{Endpoints: set, Err: err}) // Validate saw to it that err is nil
	<-ctx.Done()
	return ctx.Err()
}

// lookup asks once.
func (d DNS) lookup(ctx context.Context) ([]tulle.Endpoint, error) {
	ctx, cancel := context.WithTimeout(ctx, dnsTimeout)
	defer cancel()
	ips, err := d.Resolver.LookupNetIP(ctx, "ip", d.Host)
	if err == nil && len(ips) == 0 {
		err = errors.New("the answer holds no address")
	}
	if err != nil {
		return nil, fmt.Errorf("discovery: dns %s: %w", d.Host, err)
	}
	return d.endpoints(ips)
}

// endpoints makes the set out of the addresses of one answer, each once.
func (d DNS) endpoints(ips []netip.Addr) ([]tulle.Endpoint, error) {
	set := make([]tulle.Endpoint, 0, len(ips))
	seen := make(map[netip.Addr]bool, len(ips))
	for _, ip := range ips {
		ip = ip.Unmap() // an IPv4 address in IPv6 clothes is not another instance
		if seen[ip] {
			continue
		}
		seen[ip] = true
		e := tulle.Endpoint{Addr: ip.String()}
		if d.Port != "" {
			e.Addr = net.JoinHostPort(e.Addr, d.Port)
		}
		if ip.Is4() != ips[0].Unmap().Is4() {
			e.Priority = 1
		}
		if err := e.Validate(); err != nil { // also the zero netip.Addr
			return nil, fmt.Errorf("discovery: dns %s: address %q cannot be used: %w", d.Host, ip, err)
		}
		set = append(set, e)
	}
	return set, nil
}
