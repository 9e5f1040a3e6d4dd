package discovery

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/tullemesh/tulle"
)

const (
	// leastWeight stands for the weight 0 beside others: a share that is very
	// small, as RFC 2782 wants it. Endpoint.Weight has no 0.
	leastWeight = 0.01

	// mostWeight is the most that Endpoint.Weight takes.
	mostWeight = 1e6
)

// sortRecords returns the records that say where an instance is, in an order
// that does not depend on that of the answer. The error names those that
// cannot be used; a target of "." is none of them.
func sortRecords(records []*net.SRV) ([]net.SRV, error) {
	usable := make([]net.SRV, 0, len(records))
	var errs []error
	for _, r := range records {
		switch {
		case r == nil:
			errs = append(errs, errors.New("a record is nil"))
		case r.Target == ".":
		case r.Port == 0 || !isName(r.Target):
			errs = append(errs, fmt.Errorf("record %q with port %d cannot be used: want a host and a port", r.Target, r.Port))
		default:
			s := *r
			s.Target = strings.ToLower(s.Target)
			usable = append(usable, s)
		}
	}
	slices.SortFunc(usable, func(a, b net.SRV) int {
		return cmp.Or(
			cmp.Compare(a.Priority, b.Priority), cmp.Compare(a.Target, b.Target),
			cmp.Compare(a.Port, b.Port), cmp.Compare(a.Weight, b.Weight),
		)
	})
	slices.SortFunc(errs, func(a, b error) int { return cmp.Compare(a.Error(), b.Error()) })
	return usable, someErrors(errs)
}

// targetsOf are the hosts of sorted records, each once, and how many more there
// are than can be used.
func targetsOf(records []net.SRV) (targets []string, more int) {
	seen := make(map[string]bool, len(records))
	for i := range records {
		t := records[i].Target
		switch {
		case seen[t]:
			continue
		case len(targets) == maxTargets:
			more++
		default:
			targets = append(targets, t)
		}
		seen[t] = true
	}
	return targets, more
}

// srvSet makes the set of sorted records and the addresses of their targets.
func srvSet(records []net.SRV, ips map[string][]netip.Addr) []tulle.Endpoint {
	set := make([]tulle.Endpoint, 0, len(records))
	places := make(map[string]int, len(records)) // in set, by Addr
	shared := weighted(records)
	for i := range records {
		r := &records[i]
		weight := float64(r.Weight)
		switch {
		case !shared[r.Priority]:
			weight = 1
		case r.Weight == 0:
			weight = leastWeight
		}
		hosts := ips[r.Target]
		var first float64 // addresses in the family of the first
		for _, ip := range hosts {
			if ip.Is4() == hosts[0].Is4() {
				first++
			}
		}
		for _, ip := range hosts {
			e := tulle.Endpoint{
				Addr:     net.JoinHostPort(ip.String(), strconv.Itoa(int(r.Port))),
				Name:     strings.TrimSuffix(r.Target, "."),
				Weight:   weight / first,
				Priority: 2 * int(r.Priority),
			}
			if ip.Is4() != hosts[0].Is4() {
				e.Priority++
				e.Weight = weight / (float64(len(hosts)) - first)
			}
			set = join(set, places, e)
		}
	}
	return set
}

// join adds an endpoint, or what it says to one of the same address.
func join(set []tulle.Endpoint, places map[string]int, e tulle.Endpoint) []tulle.Endpoint {
	at, known := places[e.Addr]
	if !known {
		places[e.Addr] = len(set)
		return append(set, e)
	}
	switch was := &set[at]; {
	case e.Priority == was.Priority:
		was.Weight = min(was.Weight+e.Weight, mostWeight)
	case e.Priority < was.Priority: // of another family order
		*was = e
	}
	return set
}

// weighted are the priorities at which a record has a weight above 0.
func weighted(records []net.SRV) map[uint16]bool {
	some := map[uint16]bool{}
	for i := range records {
		if records[i].Weight > 0 {
			some[records[i].Priority] = true
		}
	}
	return some
}
