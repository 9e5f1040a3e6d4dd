package discovery

import (
	"fmt"

	"github.com/tullemesh/tulle"
)

// validateSet returns an error for the first endpoint that is invalid or has
// the Addr of an earlier one. Items count from 1, as people do.
func validateSet(set []tulle.Endpoint) error {
	seen := make(map[string]int, len(set))
	for i := range set {
		if err := set[i].Validate(); err != nil {
			return fmt.Errorf("item %d: %w", i+1, err)
		}
		if first, dup := seen[set[i].Addr]; dup {
			return fmt.Errorf("item %d: addr %q is already item %d", i+1, set[i].Addr, first)
		}
		seen[set[i].Addr] = i + 1
	}
	return nil
}

// sameSet says whether both say the same in any order. It may be wrong about
// sets that hold an Addr twice, but then only by calling them different: that
// costs a report, the other mistake would lose one.
func sameSet(a, b []tulle.Endpoint) bool {
	if len(a) != len(b) {
		return false
	}
	i := 0
	for i < len(a) && a[i].Equal(&b[i]) {
		i++
	}
	if i == len(a) {
		return true // the usual case needs no map
	}
	rest := make(map[string]*tulle.Endpoint, len(a)-i)
	for j := i; j < len(a); j++ {
		rest[a[j].Addr] = &a[j]
	}
	for j := i; j < len(b); j++ {
		e := rest[b[j].Addr]
		if e == nil || !e.Equal(&b[j]) {
			return false
		}
		delete(rest, e.Addr)
	}
	return true
}

// said is what the receiver of a watch has been told, so that only news is
// reported.
type said struct {
	set   []tulle.Endpoint // never handed out
	known bool             // a set was reported, be it empty
	fault string           // text of the error that is in force, "" if none
}

// isNews says whether a good set is worth a report, while err is in force
// beside it: the set differs, or it ends an error.
func (s *said) isNews(set []tulle.Endpoint, err error) bool {
	return !s.known || s.fault != "" && err == nil || !sameSet(s.set, set)
}

// tell reports the set if that is news, then the error that is in force beside
// it if there is one: in this order, as a good update ends errors.
func (s *said) tell(report func(Update), set []tulle.Endpoint, err error) {
	if s.isNews(set, err) {
		s.tellSet(report, set)
	}
	if err != nil {
		s.tellErr(report, err)
	}
}

// tellSet reports a copy of set, as the receiver owns what it gets.
func (s *said) tellSet(report func(Update), set []tulle.Endpoint) {
	s.set, s.known, s.fault = set, true, ""
	report(Update{Endpoints: append([]tulle.Endpoint(nil), set...)})
}

// tellErr reports err unless it is in force already. Text is compared because
// each look makes a new error value for the same trouble.
func (s *said) tellErr(report func(Update), err error) {
	if text := err.Error(); text != s.fault {
		s.fault = text
		report(Update{Err: err})
	}
}

// refuse is the end of a watch whose resolver cannot be used as it is.
func refuse(report func(Update), err error) error {
	report(Update{Err: err})
	return err
}
