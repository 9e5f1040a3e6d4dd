package route

import (
	"math"
	"math/bits"
	"strings"
)

// The random number of a call is used for several decisions, each of which
// mixes its own number into it, so that they do not depend on each other.
const (
	forSplit = iota + 1
	forMirror
	forDelay
	forAbort
	forSpill
)

// mix makes a number in which each bit depends on each bit of x (the finalizer
// of SplitMix64; Steele, Lea, Flood: Fast Splittable Pseudorandom Number
// Generators, 2014).
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// draw is the random number for one of the decisions of a call.
func draw(random uint64, decision uint64) uint64 { return mix(random ^ decision<<56) }

// hash is FNV-1a, 64 bit: the same in all processes and releases.
func hash(s string) uint64 {
	h := uint64(0xcbf29ce484222325)
	for i := range len(s) {
		h = (h ^ uint64(s[i])) * 0x100000001b3
	}
	return h
}

// share says whether a call is among the percent of calls; nil is all.
func share(percent *float64, drawn uint64) bool {
	return percent == nil || float64(drawn>>11)*0x1p-53*100 < *percent
}

// pick chooses a backend, of which there is at least one with a weight.
func (r *rule) pick(in *Input) *backend {
	if len(r.backends) == 1 {
		return &r.backends[0]
	}
	if key, has := r.pub.Key.of(in); has {
		return r.pickByKey(mix(hash(key)))
	}
	// The high half of the product is a number below the total.
	at, _ := bits.Mul64(draw(in.Random, forSplit), r.total)
	for i := range r.backends {
		b := &r.backends[i]
		if at < b.weight {
			return b
		}
		at -= b.weight
	}
	return &r.backends[len(r.backends)-1]
}

// pickByKey chooses by weighted rendezvous (Schindelhauer, Schomaker: Weighted
// Distributed Hash Tables, 2005): the backend with the highest
// -weight/ln(hash) wins. A backend's score depends on its own weight only, so
// that more weight only attracts calls, and less only gives away.
func (r *rule) pickByKey(key uint64) *backend {
	var best *backend
	highest := math.Inf(-1)
	for i := range r.backends {
		b := &r.backends[i]
		if b.weight == 0 {
			continue
		}
		u := (float64(mix(key^b.seed)>>11) + 0.5) * 0x1p-53 // in (0, 1)
		if score := -float64(b.weight) / math.Log(u); score > highest {
			best, highest = b, score
		}
	}
	return best
}

// of finds the key of a call. An empty one is none.
func (k *SplitKey) of(in *Input) (key string, has bool) {
	switch {
	case k.Caller:
		key = in.Key
	case k.Header != "":
		if values := in.Header[k.Header]; len(values) > 0 {
			key = values[0]
		}
	case k.Cookie != "":
		key = cookieValue(in.Header["Cookie"], k.Cookie)
	case k.Query != "":
		key, _ = queryValue(in.RawQuery, k.Query)
	}
	return key, key != ""
}

// cookieValue finds the value of a cookie (RFC 6265, 4.2), without quotes.
func cookieValue(lines []string, name string) string {
	for _, line := range lines {
		for line != "" {
			var pair string
			pair, line, _ = strings.Cut(line, ";")
			key, value, ok := strings.Cut(strings.TrimSpace(pair), "=")
			if ok && key == name {
				return strings.Trim(value, `"`)
			}
		}
	}
	return ""
}
