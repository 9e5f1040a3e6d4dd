package transport

import (
	"strings"
	"testing"
)

// The order of the layers is part of the contract: each line of stack.go tells
// why it stands where it does.
func TestStackOrder(t *testing.T) {
	const want = "deadline per call, delay per call, limit per call, discover per call, retry per call, pick per attempt, send per endpoint"
	var got []string
	for _, l := range stack() {
		got = append(got, l.name+" per "+string(l.scope))
	}
	if s := strings.Join(got, ", "); s != want {
		t.Errorf("got  %s\nwant %s", s, want)
	}
}
