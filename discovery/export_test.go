package discovery

import (
	"net"
	"net/netip"
	"time"

	"github.com/tullemesh/tulle"
)

// What the black-box tests of pure helpers need.
var (
	DecodeJSON = decodeJSON
	JSONField  = jsonField
	SameSet    = sameSet
	Doubled    = doubled
)

// Patience is how long combinations wait for a silent resolver.
const Patience = patience

// Looker returns the look of a watch that has no hints.
func Looker(path string) func() {
	w := fileWatch{File: File{Path: path}, report: func(Update) {}}
	return func() { w.look(time.Now(), false) }
}

// A Confirmer is a confirmer.
type Confirmer struct{ confirmer }

// Take is the confirmer's take.
func (c *Confirmer) Take(answer []tulle.Endpoint, interval time.Duration, now time.Time) ([]tulle.Endpoint, time.Duration) {
	return c.take(answer, interval, now)
}

// SRVSet is the set of records and addresses, and the error for the others.
func SRVSet(records []*net.SRV, ips map[string][]netip.Addr) ([]tulle.Endpoint, error) {
	usable, err := sortRecords(records)
	return srvSet(usable, ips), err
}

// Strictly is the resolver that an answer of "not found" is checked with.
func Strictly(l Lookup) Lookup { return newLookups(l).strict }

// Chooser is what s does to each set.
func Chooser(s Subset) func([]tulle.Endpoint) []tulle.Endpoint {
	c := chooser{size: s.Size, byZone: s.ByZone, seed: s.Seed}
	return c.choose
}
