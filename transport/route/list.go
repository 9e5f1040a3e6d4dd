package route

import (
	"iter"
	"slices"
)

// list is a list of rules, ordered and indexed by what is cheap to compare.
type list struct {
	groups []group // by host, most specific first

	// headers and queries are the names that conditions look at, so that a
	// decision looks each up once. Names beyond the slots are looked up by
	// each condition.
	headers, queries []string
}

// group is the part of a list for one host.
type group struct {
	host string
	wild bool

	grpc  []*candidate            // with GRPC
	exact map[string][]*candidate // by path

	// The others, in the order of precedence: by regular expression, by prefix,
	// and for all paths.
	regexes, prefixes, anyPath []entry

	// keyed entries begin anyPath: if there are some, each wants a value of the
	// same header, and byValue has them by it.
	keyed   int
	byValue map[string][]entry

	// exactLengths has a bit for each length of the exact paths, modulo 64:
	// it saves most paths the look-up. prefixLengths is that of the prefixes,
	// which are from shortest to longest bytes long.
	exactLengths, prefixLengths uint64
	shortest, longest           int
}

// entry is a candidate with what is looked at first next to it: most calls fail
// there, and a list of 20 then fits into a few cache lines.
type entry struct {
	path   string // prefix, "" for none and for a regular expression
	method string
	exact  string // value of the header in slot, "" for any
	slot   int
	c      *candidate
}

// newList orders and indexes candidates.
func newList(found []*candidate) *list {
	l := &list{}
	slices.SortFunc(found, (*candidate).compare)
	for _, c := range found {
		for i := range c.headers {
			c.headers[i].slot = slot(&l.headers, c.headers[i].name)
		}
		for i := range c.query {
			c.query[i].slot = slot(&l.queries, c.query[i].name)
		}
		l.groupOf(c).add(c)
	}
	for i := range l.groups {
		slices.SortFunc(l.groups[i].grpc, (*candidate).compareGRPC)
		l.groups[i].index()
	}
	return l
}

// slot is the index of a name, which it notes when it is new.
func slot(names *[]string, name string) int {
	i := slices.Index(*names, name)
	if i < 0 {
		i = len(*names)
		*names = append(*names, name)
	}
	return i
}

// groupOf is the group of a candidate. Candidates come in order, so it is the
// last one or new.
func (l *list) groupOf(c *candidate) *group {
	if n := len(l.groups); n > 0 && l.groups[n-1].host == c.host && l.groups[n-1].wild == c.wild {
		return &l.groups[n-1]
	}
	l.groups = append(l.groups, group{host: c.host, wild: c.wild, exact: map[string][]*candidate{}})
	return &l.groups[len(l.groups)-1]
}

// add appends a candidate. One that can never match this caller is kept for
// explanations only, at no cost to calls.
func (g *group) add(c *candidate) {
	switch {
	case c.grpc != nil:
		g.grpc = append(g.grpc, c)
	case c.kind == byExact:
		g.exact[c.path] = append(g.exact[c.path], c)
		g.exactLengths |= 1 << (len(c.path) % 64)
	default:
		e := entry{path: c.path, method: c.match.Method, c: c}
		if len(c.headers) > 0 && c.headers[0].slot < headerSlots && c.headers[0].name != "Host" {
			e.exact, e.slot = c.headers[0].exact, c.headers[0].slot
		}
		g.addEntry(e)
	}
}

// addEntry appends an entry to the list that it belongs to.
func (g *group) addEntry(e entry) {
	n := len(e.path)
	switch {
	case e.c.pathRe != nil:
		g.regexes = append(g.regexes, e)
	case n > 0:
		// The longest comes first, as far as a "/" at the end does not count.
		if g.longest = max(g.longest, n); len(g.prefixes) == 0 || n < g.shortest {
			g.shortest = n
		}
		g.prefixLengths |= 1 << (n % 64)
		g.prefixes = append(g.prefixes, e)
	default:
		g.anyPath = append(g.anyPath, e)
	}
}

// index indexes the entries that begin anyPath by the value of one header, if they
// are so many that looking at each takes longer.
func (g *group) index() {
	const few = 2
	n := 0
	for n < len(g.anyPath) && g.anyPath[n].exact != "" && g.anyPath[n].slot == g.anyPath[0].slot {
		n++
	}
	if n <= few {
		return
	}
	g.keyed, g.byValue = n, make(map[string][]entry, n)
	for _, e := range g.anyPath[:n] {
		g.byValue[e.exact] = append(g.byValue[e.exact], e)
	}
}

// find returns the candidate that wins, or nil.
func (l *list) find(in *Input) *candidate {
	v := view{}
	v.fill(in)
	if in.GRPC {
		for i := range l.groups {
			if g := &l.groups[i]; len(g.grpc) > 0 && g.hostFits(in.Host) {
				if c := g.findGRPC(in, &v); c != nil {
					return c
				}
			}
		}
	}
	for i := range l.groups {
		if g := &l.groups[i]; g.hostFits(in.Host) {
			if c := g.find(in, &v, l.headers); c != nil {
				return c
			}
		}
	}
	return nil
}

// find is list.find for matches without GRPC. Names are those of headers, by slot.
func (g *group) find(in *Input, v *view, names []string) *candidate {
	if g.exactLengths>>(len(v.path)%64)&1 != 0 {
		for _, c := range g.exact[v.path] {
			if c.methodFits(v.method) && c.valuesFit(in, v) {
				return c
			}
		}
	}
	if len(g.regexes) > 0 {
		if c := first(g.regexes, in, v, names); c != nil {
			return c
		}
	}
	if g.mayHavePrefix(v.path) {
		if c := first(g.prefixes, in, v, names); c != nil {
			return c
		}
	}
	if g.keyed > 0 {
		if c := g.findKeyed(in, v, names); c != nil {
			return c
		}
	}
	return first(g.anyPath[g.keyed:], in, v, names)
}

// findKeyed is find for the entries that byValue has. Of several values of the
// header each may fit, and the order of the entries decides, not theirs.
func (g *group) findKeyed(in *Input, v *view, names []string) *candidate {
	slot := g.anyPath[0].slot
	switch values := v.headerIn(in, slot, names[slot]); len(values) {
	case 0:
		return nil
	case 1:
		return first(g.byValue[values[0]], in, v, names)
	}
	return first(g.anyPath[:g.keyed], in, v, names)
}

// mayHavePrefix says whether to look at the prefixes. One fits only if it ends
// where an element of the path does, and that most paths have nowhere is cheaper
// to see than that none of many prefixes fits.
func (g *group) mayHavePrefix(path string) bool {
	if len(path) <= g.longest && g.prefixLengths>>(len(path)%64)&1 != 0 {
		return true
	}
	for i := g.shortest; i < len(path) && i <= g.longest; i++ {
		if path[i] == '/' && g.prefixLengths>>(i%64)&1 != 0 {
			return true
		}
	}
	return false
}

// first is the first of the entries that matches, or nil.
func first(list []entry, in *Input, v *view, names []string) *candidate {
	for i := range list {
		e := &list[i]
		if e.path != "" && !under(v.path, e.path) || e.method != "" && e.method != v.method {
			continue
		}
		if e.exact != "" && !slices.Contains(v.headerIn(in, e.slot, names[e.slot]), e.exact) {
			continue
		}
		if e.c.pathRe != nil && !e.c.pathRe.MatchString(v.path) {
			continue
		}
		if e.c.valuesFit(in, v) {
			return e.c
		}
	}
	return nil
}

// findGRPC is list.find for matches with GRPC.
func (g *group) findGRPC(in *Input, v *view) *candidate {
	for _, c := range g.grpc {
		if c.grpc.fits(v) && c.valuesFit(in, v) {
			return c
		}
	}
	return nil
}

// inOrder yields all candidates in the order in which a call of the protocol
// considers them.
func (l *list) inOrder(grpc bool) iter.Seq[*candidate] {
	return func(yield func(*candidate) bool) {
		if l == nil {
			return
		}
		for i := range l.groups {
			if grpc && !yieldAll(l.groups[i].grpc, yield) {
				return
			}
		}
		for i := range l.groups {
			if !yieldAll(l.groups[i].plain(), yield) || !grpc && !yieldAll(l.groups[i].grpc, yield) {
				return
			}
		}
	}
}

// plain are the candidates without GRPC, in order.
func (g *group) plain() []*candidate {
	var found []*candidate
	for _, same := range g.exact {
		found = append(found, same...)
	}
	slices.SortFunc(found, (*candidate).compare)
	for _, e := range slices.Concat(g.regexes, g.prefixes, g.anyPath) {
		found = append(found, e.c)
	}
	return found
}

// yieldAll yields a slice, and says whether more is wanted.
func yieldAll(list []*candidate, yield func(*candidate) bool) bool {
	for _, c := range list {
		if !yield(c) {
			return false
		}
	}
	return true
}
