package destination

import (
	"net"
	"net/netip"
	"strconv"
)

// Trusted says whether a peer's address, "ip:port", is in one of the networks.
func Trusted(networks []netip.Prefix, remote string) bool {
	if len(networks) == 0 {
		return false
	}
	host, _, err := net.SplitHostPort(remote)
	if err != nil {
		return false
	}
	addr, err := netip.ParseAddr(host)
	if err != nil {
		return false
	}
	addr = addr.Unmap().WithZone("")
	for _, p := range networks {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}

// AttemptHeader tells the server the number of the attempt, from the second on.
const AttemptHeader = "Tulle-Attempt"

// IsRepeat says that a request with these headers is not the first attempt of its
// call.
func IsRepeat(header func(name string) string) bool {
	for _, f := range []struct {
		name  string
		first uint64 // value of a first attempt
	}{{AttemptHeader, 1}, {"X-Envoy-Attempt-Count", 1}, {"Grpc-Previous-Rpc-Attempts", 0}} {
		if n, err := strconv.ParseUint(header(f.name), 10, 31); err == nil && n > f.first {
			return true
		}
	}
	return false
}
