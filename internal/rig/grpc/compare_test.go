package grpc_test

import (
	"context"
	_ "embed"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

//go:embed differences.txt
var differencesText string

// A call is something that a program does with a connection, and what its servers
// do. It is done over a plain channel with round_robin, and over those of channels.
type call struct {
	name string

	// server is what the servers do. It is asked for each channel anew, and may
	// be nil for servers that answer what they are sent.
	server func() *script

	config string // service config of both channels, without the policy
	late   bool   // the servers are there only when the func calls probe.arrive
	do     func(context.Context, *probe)
}

// sightings are what a program could see of a call, by what was looked at.
type sightings struct {
	mu     sync.Mutex
	keys   []string          // guarded by mu: in the order in which they came
	values map[string]string // guarded by mu
}

// see takes note. What is seen twice is there twice.
func (s *sightings) see(key, format string, args ...any) {
	value := fmt.Sprintf(format, args...)
	s.mu.Lock()
	defer s.mu.Unlock()
	if old, ok := s.values[key]; ok {
		s.values[key] = old + "; " + value
		return
	}
	if s.values == nil {
		s.values = make(map[string]string)
	}
	s.keys = append(s.keys, key)
	s.values[key] = value
}

// done returns what was seen until now, with another text in the place of some.
func (s *sightings) done(replace *strings.Replacer) *sightings {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := &sightings{keys: slices.Clone(s.keys), values: maps.Clone(s.values)}
	for key, value := range d.values {
		d.values[key] = strings.ReplaceAll(replace.Replace(value), serversEnd, ownEnd)
	}
	return d
}

// A deadline is the client's and the server's, and whose timer is first, with any
// channel, gives the message.
const (
	ownEnd     = `DeadlineExceeded "context deadline exceeded"`
	serversEnd = `DeadlineExceeded "stream terminated by RST_STREAM with error code: CANCEL"`
)

// against returns the keys at which two differ, in the order of the first.
func (s *sightings) against(other *sightings) []string {
	var keys []string
	for _, key := range s.keys {
		if value, ok := other.values[key]; !ok || value != s.values[key] {
			keys = append(keys, key)
		}
	}
	for _, key := range other.keys {
		if _, ok := s.values[key]; !ok {
			keys = append(keys, key)
		}
	}
	return keys
}

// reruns is how often a call is done that does not come out as the list says: some
// outcomes are a matter of timing with any channel.
const reruns = 10

// callTime is the longest that a call may take.
const callTime = 30 * time.Second

// TestCompare does each call both ways and compares what was seen.
func TestCompare(t *testing.T) {
	list, err := parseDifferences(differencesText)
	if err != nil {
		t.Fatalf("differences.txt: %v", err)
	}
	seen := make(map[string]bool)
	for _, c := range slices.Concat(unaryCalls(), statusCalls(), optionCalls(), failureCalls(), configCalls(), streamCalls(), streamEndCalls()) {
		if seen[c.name] {
			t.Errorf("there are two calls %q, want names that differ", c.name)
		}
		seen[c.name] = true
		for name, dial := range channels() {
			t.Run(c.name+"/"+name, func(t *testing.T) {
				t.Parallel()
				compare(t, &c, dial, differencesOf(list, name, c.name))
			})
		}
	}
	t.Cleanup(func() {
		for _, d := range list {
			if !seen[d.call] || channels()[d.channel] == nil && d.channel != anyChannel {
				t.Errorf("differences.txt:%d: there is no channel %q or no call %q: remove the line", d.line, d.channel, d.call)
			}
		}
	})
}

// compare does a call over a plain channel and over another, and again while it
// differs where it may not, or does not where it should. The list is what may.
func compare(t *testing.T, c *call, dial channel, list []*difference) {
	var o outcome
	for range reruns {
		plain, tulle := c.over(t, plainChannel), c.over(t, dial)
		o.add(plain, tulle)
		if fresh, gone := o.against(list); len(fresh)+len(gone) == 0 {
			return
		}
	}
	fresh, gone := o.against(list)
	for _, key := range fresh {
		t.Errorf("%s differs:\n%s", key, o.steady[key])
	}
	for _, d := range gone {
		t.Errorf("differences.txt:%d: %s does not differ any more: remove the line", d.line, d.key)
	}
}

// An outcome is what some runs of a call had in common.
type outcome struct {
	steady map[string]string // what differed each time, and how it did the last time
	ever   map[string]bool   // what differed once
}

// add adds a run.
func (o *outcome) add(plain, tulle *sightings) {
	found := make(map[string]string)
	for _, key := range plain.against(tulle) {
		if _, again := o.steady[key]; again || o.steady == nil {
			found[key] = fmt.Sprintf("plain: %s\ntulle: %s", plain.values[key], tulle.values[key])
		}
		if o.ever == nil {
			o.ever = make(map[string]bool)
		}
		o.ever[key] = true
	}
	o.steady = found
}

// against compares with the list. What differs each time must be there, and what is
// there must differ at least once.
func (o *outcome) against(list []*difference) (fresh []string, gone []*difference) {
	for _, key := range slices.Sorted(maps.Keys(o.steady)) {
		if !slices.ContainsFunc(list, func(d *difference) bool { return d.about(key) }) {
			fresh = append(fresh, key)
		}
	}
	for _, d := range list {
		if !d.flaky && !slices.ContainsFunc(slices.Collect(maps.Keys(o.ever)), d.about) {
			gone = append(gone, d)
		}
	}
	return fresh, gone
}

// A difference is a line of the list: what may differ, and why.
type difference struct {
	channel, call, key, reason string
	line                       int
	flaky                      bool // it may be the same as well
}

// differencesOf are those of a call over a channel.
func differencesOf(list []*difference, channel, call string) []*difference {
	return slices.DeleteFunc(slices.Clone(list), func(d *difference) bool {
		return d.call != call || d.channel != channel && d.channel != anyChannel
	})
}

// anyChannel in the list is for all of channels.
const anyChannel = "any"

// wholeCall in the list is for calls that go another way, so that all may differ.
const wholeCall = "*"

// about says whether the difference is one at key.
func (d *difference) about(key string) bool { return d.key == key || d.key == wholeCall }

// parseDifferences reads the list: channel, call, key and reason in columns, #
// before a comment. A reason that begins with "flaky:" allows both.
func parseDifferences(text string) ([]*difference, error) {
	var list []*difference
	n := 0
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		fields := strings.Fields(line)
		if len(fields) < 4 {
			return nil, fmt.Errorf("line %d: %q: want channel, call, key and reason", n, line)
		}
		d := &difference{channel: fields[0], call: fields[1], key: fields[2], reason: strings.Join(fields[3:], " "), line: n}
		d.flaky = strings.HasPrefix(d.reason, "flaky:")
		if slices.ContainsFunc(list, func(o *difference) bool {
			return o.channel == d.channel && o.call == d.call && o.key == d.key
		}) {
			return nil, fmt.Errorf("line %d: %s %s is there twice", n, d.call, d.key)
		}
		list = append(list, d)
	}
	return list, nil
}

func TestParseDifferences(t *testing.T) {
	list, err := parseDifferences("# a\n\ntulle a status  it is so\n  any b rpcs flaky: at times \n")
	if err != nil || len(list) != 2 {
		t.Fatalf("got %d lines and %v, want 2", len(list), err)
	}
	if want := (difference{channel: "tulle", call: "a", key: "status", reason: "it is so", line: 3}); *list[0] != want {
		t.Errorf("got %+v, want %+v", *list[0], want)
	}
	if want := (difference{channel: "any", call: "b", key: "rpcs", reason: "flaky: at times", line: 4, flaky: true}); *list[1] != want {
		t.Errorf("got %+v, want %+v", *list[1], want)
	}
	for _, bad := range []string{"tulle a status\n", "tulle a status x\ntulle a status y\n"} {
		if list, err := parseDifferences(bad); err == nil {
			t.Errorf("%q: got %+v, want an error", bad, list)
		}
	}
}

// What differs each time and is not listed is new; what is listed and never differs is
// gone; what differs at times is neither.
func TestOutcome(t *testing.T) {
	run := func(values ...string) *sightings {
		s := new(sightings)
		for i, v := range values {
			s.see(string(rune('a'+i)), "%s", v)
		}
		return s
	}
	list := []*difference{{key: "a"}, {key: "b"}, {key: "c", flaky: true}, {key: "e"}}
	var o outcome
	o.add(run("1", "1", "1", "1", "1", "1"), run("1", "1", "1", "2", "2", "2"))
	o.add(run("1", "1", "1", "1", "1", "1"), run("1", "2", "1", "3", "1", "1"))
	fresh, gone := o.against(list)
	if !slices.Equal(fresh, []string{"d"}) || len(gone) != 1 || gone[0].key != "a" {
		t.Errorf("got %q new and %d gone, want d and a", fresh, len(gone))
	}
}

// Both sides count: what only one has differs too.
func TestAgainst(t *testing.T) {
	var a, b sightings
	for _, s := range []*sightings{&a, &b} {
		s.see("same", "%d", 1)
		s.see("same", "%d", 2)
	}
	a.see("value", "x")
	b.see("value", "y")
	a.see("left", "")
	b.see("right", "")
	if got, want := a.against(&b), []string{"value", "left", "right"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := a.against(&a); len(got) > 0 || a.values["same"] != "1; 2" {
		t.Errorf("got %q and %q, want no difference from itself, and both values", got, a.values["same"])
	}
}
