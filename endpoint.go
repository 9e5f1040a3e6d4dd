package tulle

import (
	"fmt"
	"maps"
	"math"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"unicode/utf8"
)

// An Endpoint is one instance of a service.
//
// What the library learns about an endpoint is kept under its Addr and
// survives changes of the set; a different Name at the same Addr is a new
// instance and starts clean. An Endpoint that was handed to the library must
// not be changed any more, its Labels included.
type Endpoint struct {
	// Addr is where the instance listens: "host:port", or "host" alone for
	// the port of the request's scheme. An IPv6 address stands in brackets
	// when a port follows. Required.
	Addr string `json:"addr"`

	// Name is the instance's stable identity where the source knows one, such
	// as a pod name.
	Name string `json:"name,omitempty"`

	// Zone is the failure domain that the instance runs in.
	Zone string `json:"zone,omitempty"`

	// Weight is the share of traffic relative to the other endpoints.
	// Default (0): 1. Range: above 0, up to 1e6. To drain an endpoint, take it
	// out of the set.
	Weight float64 `json:"weight,omitempty"`

	// Priority orders groups of endpoints: those of the lowest number get the
	// calls while enough of them are usable, the next ones the rest
	// (transport.Locality). Default: 0. Negative values are refused.
	Priority int `json:"priority,omitempty"`

	// GRPCPort is the port for gRPC where it is another one than that of Addr,
	// or 0. To the library both are one instance.
	GRPCPort uint16 `json:"grpc_port,omitempty"`

	// Labels are facts of the instance, such as its version. The library
	// carries them and gives them no meaning of its own.
	Labels map[string]string `json:"labels,omitempty"`
}

// maxWeight bounds Endpoint.Weight: past it, products of weights and costs
// would lose precision.
const maxWeight = 1e6

// Share is the endpoint's Weight with the default filled in.
func (e *Endpoint) Share() float64 {
	if e.Weight == 0 {
		return 1
	}
	return e.Weight
}

// Equal reports whether both endpoints say the same.
func (e *Endpoint) Equal(o *Endpoint) bool {
	return e.Addr == o.Addr && e.Name == o.Name && e.Zone == o.Zone &&
		e.Share() == o.Share() && e.Priority == o.Priority && e.GRPCPort == o.GRPCPort && maps.Equal(e.Labels, o.Labels)
}

// Validate returns an error that names the first field that cannot be used and
// its value, or nil.
func (e *Endpoint) Validate() error {
	if err := validateAddr(e.Addr); err != nil {
		return err
	}
	if e.Weight < 0 || e.Weight > maxWeight || math.IsNaN(e.Weight) {
		return fmt.Errorf("tulle: endpoint %s: weight %v: want above 0, up to %v", e.Addr, e.Weight, maxWeight)
	}
	if e.Priority < 0 {
		return fmt.Errorf("tulle: endpoint %s: priority %d: want 0 or more", e.Addr, e.Priority)
	}
	return nil
}

// validateAddr accepts host, host:port, and an IPv6 address, which must stand in
// brackets when a port follows. It does not resolve.
func validateAddr(addr string) error {
	host := addr
	if _, port, err := net.SplitHostPort(addr); err == nil {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return fmt.Errorf("tulle: endpoint addr %q: port %q: want 1 to 65535", addr, port)
		}
		host = strings.TrimSuffix(addr, ":"+port)
	} else if strings.Count(addr, ":") == 1 {
		return fmt.Errorf("tulle: endpoint addr %q: %w", addr, err)
	}
	if host == "" {
		return fmt.Errorf("tulle: endpoint addr %q: no host", addr)
	}
	if i := strings.IndexFunc(host, notInHost); i >= 0 {
		return fmt.Errorf("tulle: endpoint addr %q: %q cannot stand in a host", addr, host[i:i+1])
	}
	// Only with a port is it plain where a zone ends.
	if strings.ContainsAny(host, ":[]") && (!isV6(host) || host == addr && strings.Contains(host, "%")) {
		return fmt.Errorf("tulle: endpoint addr %q: want host:port, with brackets around an IPv6 address only", addr)
	}
	return nil
}

// isV6 says that host is an IPv6 address, with brackets or without. It may have
// a zone.
func isV6(host string) bool {
	if inner, ok := strings.CutPrefix(host, "["); ok {
		if host, ok = strings.CutSuffix(inner, "]"); !ok {
			return false
		}
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Is6()
}

// notInHost tells the characters that would change the meaning of a URL or a
// header if a source of endpoints could put them into an address. Bytes that
// are no UTF-8 are among them.
func notInHost(r rune) bool {
	return r <= ' ' || r == 0x7f || r == utf8.RuneError || strings.ContainsRune(`/\?#@"<>^`+"`{|}", r)
}
