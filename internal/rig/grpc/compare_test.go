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
		d.values[key] = replace.Replace(value)
	}
	return d
}

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

// reruns is how often a call with a difference is done again: a difference counts
// only if it shows each time, as some outcomes are a matter of timing with any
// channel.
const reruns = 3

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
// differs. The list is what may.
func compare(t *testing.T, c *call, dial channel, list []*difference) {
	var steady map[string]string
	for range reruns {
		plain, tulle := c.over(t, plainChannel), c.over(t, dial)
		found := make(map[string]string)
		for _, key := range plain.against(tulle) {
			if _, again := steady[key]; again || steady == nil {
				found[key] = fmt.Sprintf("plain: %s\ntulle: %s", plain.values[key], tulle.values[key])
			}
		}
		if steady = found; len(steady) == 0 {
			break
		}
	}
	for _, key := range slices.Sorted(maps.Keys(steady)) {
		if !slices.ContainsFunc(list, func(d *difference) bool { return d.about(key) }) {
			t.Errorf("%s differs:\n%s", key, steady[key])
		}
	}
	for _, d := range list {
		if !d.flaky && !slices.ContainsFunc(slices.Collect(maps.Keys(steady)), d.about) {
			t.Errorf("differences.txt:%d: %s does not differ any more: remove the line", d.line, d.key)
		}
	}
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
