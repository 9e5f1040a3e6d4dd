package measure_test

import (
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tullemesh/tulle/internal/bench/measure"
)

// work is a subject whose calls take so many rounds, and which notes in log that
// it is being called.
func work(name string, rounds int, log *[]string) measure.Subject {
	return measure.Subject{Name: name, Caller: func() func() error {
		if log != nil {
			*log = append(*log, name)
		}
		sum := 0
		return func() error {
			sum += burn(rounds)
			return nil
		}
	}}
}

func TestPaired(t *testing.T) {
	load := measure.Load{Goroutines: 1, Block: 4 * time.Millisecond, Rounds: 12, Timed: true}
	got, err := measure.Paired(work("base", 10, nil), []measure.Subject{work("same", 10, nil), work("four", 40, nil)}, load)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 3 || got[0].Name != "base" || got[1].Name != "same" || got[2].Name != "four" {
		t.Fatalf("got %+v, want base, same, four", got)
	}
	for _, r := range got {
		if r.P50 <= 0 || r.P99 < r.P50 || r.CPU.Median <= 0 || r.Calls <= 0 {
			t.Errorf("%s: got %+v, want figures", r.Name, r)
		}
	}
	// Wide enough for a machine that others use.
	if m := got[1].CPURatio.Median; m < 0.6 || m > 1.6 {
		t.Errorf("the same work: got a ratio of %v, want about 1", m)
	}
	if m := got[2].CPURatio.Median; m < 2 || m > 8 {
		t.Errorf("four times the work: got a ratio of %v, want about 4", m)
	}
	if got[2].CPUAdded.Median <= 0 || got[2].P50Added.Median <= 0 || got[2].P50Ratio.Median < 2 {
		t.Errorf("four times the work: got %+v, want more", got[2])
	}
	if n := got[2].CPURatio.N; n != load.Rounds {
		t.Errorf("got %d ratios, want one for each round: %d", n, load.Rounds)
	}
}

// Each block of a peer stands between two of the baseline, and the order of the
// peers changes.
func TestPairedOrder(t *testing.T) {
	var log []string
	peers := []measure.Subject{work("a", 1, &log), work("b", 1, &log), work("c", 1, &log)}
	_, err := measure.Paired(work("-", 1, &log), peers, measure.Load{Goroutines: 1, Block: time.Microsecond, Rounds: 30})
	if err != nil {
		t.Fatal(err)
	}
	all := strings.Join(log, "")
	measured := all[strings.LastIndex(all[:len(all)-30*7], "c")+1:] // without what finds the length of blocks
	orders := map[string]bool{}
	for i := 0; i+7 <= len(measured); i += 7 {
		round := measured[i : i+7]
		for j := 0; j < 7; j += 2 {
			if round[j] != '-' {
				t.Fatalf("got the round %q, want the baseline around each peer", round)
			}
		}
		orders[round] = true
	}
	if len(orders) < 2 {
		t.Errorf("got the orders %v, want several", orders)
	}
}

func TestPairedFails(t *testing.T) {
	broken := errors.New("broken")
	var calls atomic.Int64
	failing := measure.Subject{Name: "failing", Caller: func() func() error {
		return func() error {
			if calls.Add(1) > 100 {
				return broken
			}
			return nil
		}
	}}
	for _, goroutines := range []int{1, 4} {
		calls.Store(0)
		_, err := measure.Paired(work("base", 1, nil), []measure.Subject{failing}, measure.Load{Goroutines: goroutines, Block: time.Millisecond, Rounds: 1})
		if !errors.Is(err, broken) || !strings.Contains(err.Error(), "failing") {
			t.Errorf("%d goroutines: got %v, want the subject's error with its name", goroutines, err)
		}
	}
}

func TestRun(t *testing.T) {
	var mu sync.Mutex
	callers, calls := 0, 0
	s := measure.Subject{Name: "s", Caller: func() func() error {
		mu.Lock()
		callers++
		mu.Unlock()
		return func() error {
			mu.Lock()
			calls++
			mu.Unlock()
			return nil
		}
	}}
	b, err := s.Run(measure.Load{Goroutines: 8, Timed: true}, 800)
	if err != nil {
		t.Fatal(err)
	}
	if b.Calls != 800 || calls != 800 || callers != 8 || len(b.Times) != 800 {
		t.Errorf("got %d calls of which %d were made by %d callers and %d timed, want 800, 800, 8, 800", b.Calls, calls, callers, len(b.Times))
	}
	b, err = s.Run(measure.Load{Goroutines: 8}, 3)
	if err != nil || b.Calls != 8 || b.Times != nil {
		t.Errorf("fewer calls than goroutines: got %d calls, %d times, %v, want one for each", b.Calls, len(b.Times), err)
	}
}

// What makes the caches cold runs before each call, and its time is not the
// call's.
func TestCold(t *testing.T) {
	order, pause := "", 2*time.Millisecond
	s := measure.Subject{Name: "s", Caller: func() func() error {
		return func() error { order += "c"; return nil }
	}}
	b, err := s.Run(measure.Load{Goroutines: 1, Timed: true, Cold: func() {
		order += "-"
		for begun := time.Now(); time.Since(begun) < pause; {
			sink += burn(1)
		}
	}}, 5)
	if err != nil {
		t.Fatal(err)
	}
	if order != "-c-c-c-c-c" {
		t.Errorf("got the order %q", order)
	}
	if m := measure.Quantile(b.Times, 0.5); m >= pause {
		t.Errorf("got %v for a call, want less than the %v before it", m, pause)
	}
}

func TestAllocs(t *testing.T) {
	var kept [3]*[100]byte
	s := measure.Subject{Name: "s", Caller: func() func() error {
		return func() error {
			for i := range kept {
				kept[i] = new([100]byte)
			}
			return nil
		}
	}}
	count, bytes, err := s.Allocs(200)
	if err != nil || count != 3 || bytes != 3*112 {
		t.Errorf("got %v allocations of %v bytes and %v, want 3 of 336, the size class of 100 being 112", count, bytes, err)
	}
	broken := errors.New("broken")
	failing := measure.Subject{Caller: func() func() error { return func() error { return broken } }}
	if _, _, err := failing.Allocs(1); !errors.Is(err, broken) {
		t.Errorf("got %v, want the call's error", err)
	}
}

func TestColder(t *testing.T) {
	if n := testing.AllocsPerRun(10, measure.Colder(1<<20)); n != 0 {
		t.Errorf("got %v allocations, want none", n)
	}
}
