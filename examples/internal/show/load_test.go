package show

import (
	"context"
	"errors"
	"math"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

func TestScheduleIsAFunctionOfTheSeed(t *testing.T) {
	a, b := schedule(7, rate, time.Minute), schedule(7, rate, time.Minute)
	if !slices.Equal(a, b) {
		t.Error("got two schedules of one seed, want one")
	}
	if c := schedule(8, rate, time.Minute); slices.Equal(a, c) {
		t.Error("got one schedule of two seeds, want two")
	}
	// A longer run begins like a shorter one, so phases can be compared.
	if short := schedule(7, rate, time.Second); !slices.Equal(short, a[:len(short)]) {
		t.Error("got another beginning of a shorter run, want the same")
	}
}

// TestScheduleIsPoisson checks the first two moments of the pauses, and the
// share of writes: 30,000 draws are within 5 % of them.
func TestScheduleIsPoisson(t *testing.T) {
	all := schedule(1, rate, time.Minute)
	var sum, squares, writes float64
	last := time.Duration(0)
	for _, a := range all {
		if a.at < last || a.at >= time.Minute {
			t.Fatalf("got a call at %v after %v, want them in order and within the run", a.at, last)
		}
		pause := (a.at - last).Seconds()
		sum, squares, last = sum+pause, squares+pause*pause, a.at
		if a.write {
			writes++
		}
	}
	n := float64(len(all))
	mean := sum / n
	deviation := math.Sqrt(squares/n - mean*mean)
	for _, tt := range []struct {
		what      string
		got, want float64
	}{{"mean pause", mean, 1.0 / rate}, {"deviation", deviation, 1.0 / rate}, {"share of writes", writes / n, writeShare}} {
		if math.Abs(tt.got/tt.want-1) > 0.05 {
			t.Errorf("%s: got %v, want %v", tt.what, tt.got, tt.want)
		}
	}
}

func TestPercentile(t *testing.T) {
	upTo := func(n int) (all []time.Duration) {
		for i := range n {
			all = append(all, time.Duration(i+1))
		}
		return all
	}
	tests := []struct {
		n    int
		q    float64
		want time.Duration
	}{
		{0, 0.99, 0},
		{1, 0, 1},
		{1, 0.5, 1},
		{1, 1, 1},
		{2, 0.5, 1},
		{2, 0.51, 2},
		{100, 0.5, 50},
		{100, 0.99, 99},
		{101, 0.99, 100},
		{1000, 0.99, 990},
		{1000, 1, 1000},
	}
	for _, tt := range tests {
		if got := percentile(upTo(tt.n), tt.q); got != tt.want {
			t.Errorf("percentile %v of 1 to %d: got %d, want %d", tt.q, tt.n, got, tt.want)
		}
	}
}

func TestSummarize(t *testing.T) {
	const ms, s = time.Millisecond, time.Second
	bad := errors.New("no")
	results := []result{{0, 0, 4 * ms, nil}, {s, 0, Deadline, bad}, {s + 1, 0, 2 * ms, nil}, {2 * s, 0, 1 * ms, nil}}
	tests := []struct {
		from, to time.Duration
		want     summary
		success  float64
	}{
		{0, 3 * s, summary{4, 1, 2 * ms, Deadline}, 0.75},
		{0, s, summary{1, 0, 4 * ms, 4 * ms}, 1},
		{s, 2 * s, summary{2, 1, 2 * ms, Deadline}, 0.5},
		{3 * s, 4 * s, summary{}, 1},
	}
	for _, tt := range tests {
		got := summarize(results, tt.from, tt.to)
		if got != tt.want || got.success() != tt.success {
			t.Errorf("%v to %v: got %+v, success %v, want %+v, %v", tt.from, tt.to, got, got.success(), tt.want, tt.success)
		}
	}
}

// TestDriveDoesNotWaitForAnswers is what makes the loop open: while one call
// hangs the others are made at their times, by both clients.
func TestDriveDoesNotWaitForAnswers(t *testing.T) {
	const ms = time.Millisecond
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		seen := make(chan time.Duration, 2)
		mixed := &client{send: func(ctx context.Context, i int, _ bool) error {
			if i == 0 {
				wait(ctx, 400*ms)
			} else {
				seen <- time.Since(start)
			}
			return nil
		}}
		refused := &client{send: func(context.Context, int, bool) error {
			return errors.New("refused")
		}}
		drive(t.Context(), start, []arrival{{10 * ms, false}, {30 * ms, true}, {35 * ms, false}}, mixed, refused)
		if first, second := <-seen, <-seen; first != 30*ms || second != 35*ms {
			t.Errorf("got calls at %v and %v, want 30ms and 35ms", first, second)
		}
		if got, want := mixed.results, []result{{at: 10 * ms, took: 400 * ms}, {at: 30 * ms}, {at: 35 * ms}}; !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
		for i, r := range refused.results {
			if r.err == nil || r.took != Deadline {
				t.Errorf("call %d that was refused: got %v, want an error that counts %v", i, r, Deadline)
			}
		}
		if got := refused.failed.Load(); got != 3 || refused.done.Load() != 3 {
			t.Errorf("got %d failed, want all 3", got)
		}
	})
}

// TestLatencyCountsFromTheSchedule has a driver that comes late: the caller has
// waited all the same.
func TestLatencyCountsFromTheSchedule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now().Add(-300 * time.Millisecond)
		c := &client{send: func(ctx context.Context, _ int, _ bool) error {
			wait(ctx, 5*time.Millisecond)
			return nil
		}}
		drive(t.Context(), start, []arrival{{100 * time.Millisecond, false}}, c)
		r := c.results[0]
		if late, took := 200*time.Millisecond, 205*time.Millisecond; r.late != late || r.took != took {
			t.Errorf("got %v late, %v in all, want %v, %v", r.late, r.took, late, took)
		}
	})
}
