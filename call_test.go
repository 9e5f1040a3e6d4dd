package tulle_test

import (
	"context"
	"slices"
	"testing"

	"github.com/tullemesh/tulle"
)

func TestCallReport(t *testing.T) {
	var c tulle.Call
	c.Begin()
	if c.Attempt != 1 || c.Reported() {
		t.Errorf("begun: got attempt %d, reported %v, want 1, false", c.Attempt, c.Reported())
	}
	c.Report(tulle.Outcome{Class: tulle.Lost, Status: 1})
	c.Report(tulle.Outcome{Class: tulle.Answered, Status: 2})
	if !c.Reported() || c.Last.Class != tulle.Lost || c.Last.Status != 1 {
		t.Errorf("two reports: got %+v, want the first", c.Last)
	}
	c.Begin()
	if c.Attempt != 2 || c.Reported() || c.Last.Class != tulle.Lost {
		t.Errorf("begun again: got attempt %d, reported %v, last %v, want 2, false, the last one's", c.Attempt, c.Reported(), c.Last.Class)
	}
	c.Report(tulle.Outcome{})
	if !c.Reported() || c.Last.Class != 0 {
		t.Errorf("the zero outcome: got %+v, want it to count as a report", c.Last)
	}
}

// Layers that stand alone find no Call, and need not ask.
func TestCallNil(t *testing.T) {
	c := tulle.CallFrom(context.Background())
	if c != nil {
		t.Fatalf("got %v, want nil", c)
	}
	c.Report(tulle.Outcome{Class: tulle.Failed})
	if c.Reported() {
		t.Error("got a report on nothing, want none")
	}
}

// otherKey is the context key of something else.
type otherKey struct{}

func TestCallContext(t *testing.T) {
	outer, inner := new(tulle.Call), new(tulle.Call)
	ctx := tulle.WithCall(context.Background(), outer)
	below := tulle.WithCall(context.WithValue(ctx, otherKey{}, "other"), inner)
	if got := tulle.CallFrom(ctx); got != outer {
		t.Errorf("got %p, want %p", got, outer)
	}
	if got := tulle.CallFrom(below); got != inner {
		t.Errorf("a call in a call: got %p, want the inner one, %p", got, inner)
	}
	if got := tulle.CallFrom(tulle.WithCall(ctx, nil)); got != nil {
		t.Errorf("no call in a call: got %p, want nil", got)
	}
}

func TestCallTry(t *testing.T) {
	var c tulle.Call
	for _, addr := range []string{"a", "b", "a", "c", "b"} {
		c.Try(addr)
	}
	if want := []string{"a", "b", "c"}; !slices.Equal(c.Tried, want) {
		t.Errorf("got %q, want %q", c.Tried, want)
	}
}

func TestCallAllocates(t *testing.T) {
	c := tulle.Call{Tried: make([]string, 0, 4)}
	got := testing.AllocsPerRun(100, func() {
		c.Begin()
		c.Report(tulle.Outcome{Class: tulle.Answered})
		c.Try("a")
	})
	if got != 0 {
		t.Errorf("got %v allocations, want 0", got)
	}
}

// A Call without a Pool knows nothing, and may be asked.
func TestCallFacts(t *testing.T) {
	var c tulle.Call
	if got := c.Facts(); got != (tulle.Pool{}) {
		t.Errorf("no pool: got %+v, want the zero Pool", got)
	}
	c.Pool = &tulle.Pool{Untried: 3, Others: tulle.Healthy}
	if got := c.Facts(); got != *c.Pool {
		t.Errorf("got %+v, want %+v", got, *c.Pool)
	}
}

// An endpoint that is barred is one that was tried; past the sixteenth it is no
// more than that.
func TestCallBar(t *testing.T) {
	var c tulle.Call
	c.Try("a")
	if c.AnyBarred() || c.Barred(0) {
		t.Error("tried: got barred, want not")
	}
	c.Bar("b")
	c.Bar("a")
	if want := []string{"a", "b"}; !slices.Equal(c.Tried, want) || !c.Barred(0) || !c.Barred(1) || c.Barred(2) || !c.AnyBarred() {
		t.Errorf("got %q, barred %v, %v, want %q, both barred", c.Tried, c.Barred(0), c.Barred(1), want)
	}
	c = tulle.Call{}
	for i := range 17 {
		c.Try(string(rune('a' + i)))
	}
	c.Bar("p") // the 16th
	c.Bar("q")
	if !c.Barred(15) || c.Barred(16) || len(c.Tried) != 17 {
		t.Errorf("the 16th and 17th: got %v, %v, want true, false", c.Barred(15), c.Barred(16))
	}
}
