package discovery

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"
)

const (
	// maxTargets bounds the hosts that one service is spread over, as each of
	// them is looked up.
	maxTargets = 1000

	// srvWorkers is how many hosts are looked up at a time: enough to be done
	// with all of them in a few seconds, too few to flood a name server.
	srvWorkers = 32
)

// A SRVLookup finds SRV records and the addresses of their targets.
// *net.Resolver is one. Implementations must be safe for concurrent use and
// return when ctx is done.
type SRVLookup interface {
	Lookup

	// LookupSRV is called with empty service and proto, so that name is the
	// whole name of the records. Records that come with an error are those of
	// an answer that could be understood in part. That there is none is said
	// as in Lookup.
	LookupSRV(ctx context.Context, service, proto, name string) (cname string, records []*net.SRV, err error)
}

// SRV is a Resolver that looks up SRV records (RFC 2782) again and again, and
// the addresses of their targets. The zero SRV is not valid: Name is required.
// It holds no state, so one value may serve any number of watches.
//
// An endpoint is an address of a target with the port of the record. Its Name is
// the target. Its Priority is twice that of the record, plus 1 for addresses of
// the family that DNS would use second: the other family of a target comes
// before targets of the next priority. Its Weight is that of the record divided
// by the number of the target's addresses, so that a target gets its share
// however many it has. A record of weight 0 counts as 0.01 beside others of its
// priority that have more, and as 1 where none has. Where two records lead to
// one address and port, the one that is preferred counts; at the same priority
// their weights add up.
//
// A target that cannot be looked up keeps its last good addresses; one that has
// none, or a record without port, is left out. Both are reported as an error
// beside the set, and while no target has any address the last good set stays in
// force. At most 1,000 targets are used, those of the lowest priorities first.
// Aliases (CNAME) are followed, for the targets too.
//
// Answers that take away endpoints, errors and refused addresses are treated as
// DNS does. A record with the target "." says that there is no service here,
// and when there is no other it is an empty answer, like none at all.
type SRV struct {
	// Name is that of the records, such as "_http._tcp.users.internal".
	// Required. A trailing dot keeps search domains out.
	Name string

	// Resolver does the look-ups. Default (nil): net.DefaultResolver.
	Resolver SRVLookup

	// Interval is the time between look-ups, as in DNS. Default (0): 30 s.
	// Range: 1 s to 24 h.
	Interval time.Duration

	// RefuseAddrs are addresses that must not be used, as in DNS. Default
	// (nil): none.
	RefuseAddrs []netip.Prefix
}

// Validate returns an error that names the first field that cannot be used and
// its value, or nil. It does not look anything up.
func (s SRV) Validate() error {
	if _, err := netip.ParseAddr(s.Name); err == nil || !isName(s.Name) {
		return fmt.Errorf("discovery: srv: Name %q: want the name of SRV records, such as _http._tcp.users.internal", s.Name)
	}
	return validatePolling("discovery: srv "+s.Name, s.Interval, s.RefuseAddrs)
}

// Watch reports the endpoints of the service and looks for changes until ctx is
// done. It returns earlier only with the error of Validate.
func (s SRV) Watch(ctx context.Context, report func(Update), refresh <-chan struct{}) error {
	if err := s.Validate(); err != nil {
		return refuse(report, err)
	}
	if s.Resolver == nil {
		s.Resolver = net.DefaultResolver
	}
	sw := srvWatch{SRV: s, lookups: newLookups(s.Resolver), strict: s.Resolver}
	if r, ok := s.Resolver.(*net.Resolver); ok && r != nil {
		sw.strict = strictly(r)
	}
	w := dnsWatch{interval: s.Interval, report: report, look: func(ctx context.Context) found {
		f := sw.look(ctx)
		f.err, f.odd = sw.wrap(f.err), sw.wrap(f.odd)
		return f
	}}
	return w.run(ctx, refresh)
}

// srvWatch is one watch of a SRV. It belongs to the goroutine of Watch.
type srvWatch struct {
	SRV
	lookups lookups
	strict  SRVLookup               // like that of lookups
	last    map[string][]netip.Addr // by target: the last good addresses, those of the last records only
}

func (w *srvWatch) wrap(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("discovery: srv %s: %w", w.Name, err)
}

// look asks for the records and then for each of their targets.
func (w *srvWatch) look(ctx context.Context) found {
	records, err := w.records(ctx)
	if len(records) == 0 {
		return found{none: isNotFound(err), err: err}
	}
	usable, odd := sortRecords(records)
	if len(usable) == 0 && odd == nil {
		return found{none: true, err: errors.New("the records say that there is no service here")}
	}
	targets, more := targetsOf(usable)
	if more > 0 {
		odd = errors.Join(odd, fmt.Errorf("%d targets: want at most %d", len(targets)+more, maxTargets))
	}
	ips, failed, refused := w.resolve(ctx, targets)
	set := srvSet(usable, ips)
	f := found{set: set, err: errors.Join(err, failed), odd: errors.Join(odd, refused)}
	if len(set) == 0 { // never an empty set: there are records
		f.err = errors.Join(f.err, f.odd)
	}
	return f
}

// records asks for the records. Not found is said by the strict Lookup only: the
// other one says it also when the question for one search domain has failed.
func (w *srvWatch) records(ctx context.Context) ([]*net.SRV, error) {
	ask := func(l SRVLookup) ([]*net.SRV, error) {
		ctx, cancel := context.WithTimeout(ctx, dnsTimeout)
		defer cancel()
		_, records, err := l.LookupSRV(ctx, "", "", w.Name)
		if err == nil && len(records) == 0 {
			err = &net.DNSError{Err: "the answer holds no record", Name: w.Name, IsNotFound: true}
		}
		return records, err
	}
	records, err := ask(w.Resolver)
	if len(records) == 0 && isNotFound(err) {
		return ask(w.strict)
	}
	return records, err
}

// resolve returns the addresses of the targets: what the name servers say now,
// what they said before where they fail, and never a refused one.
func (w *srvWatch) resolve(ctx context.Context, targets []string) (ips map[string][]netip.Addr, failed, refused error) {
	answers := make([]answer, len(targets))
	next := make(chan int)
	var wg sync.WaitGroup
	for range min(srvWorkers, len(targets)) {
		wg.Go(func() {
			for i := range next {
				answers[i] = w.lookups.host(ctx, targets[i], w.last[targets[i]])
			}
		})
	}
	for i := range targets {
		next <- i
	}
	close(next)
	wg.Wait()

	ips = make(map[string][]netip.Addr, len(targets))
	var fails, refuses []error
	for i, a := range answers {
		if a.err != nil {
			fails = append(fails, fmt.Errorf("target %s: %w", targets[i], a.err))
		}
		left, err := allowed(w.RefuseAddrs, a.ips)
		if err != nil {
			refuses = append(refuses, fmt.Errorf("target %s: %w", targets[i], err))
		}
		if len(left) > 0 {
			ips[targets[i]] = left
		}
	}
	w.last = ips
	return ips, someErrors(fails), someErrors(refuses)
}
