package retry_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tullemesh/tulle/retry"
)

// newBudget is a Budget that the test knows to be valid.
func newBudget(t testing.TB, cfg retry.BudgetConfig) *retry.Budget {
	t.Helper()
	b, err := retry.NewBudget(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestNewBudget(t *testing.T) {
	for _, c := range []struct {
		cfg  retry.BudgetConfig
		want float64 // the balance after 100 calls
		err  string  // part of the error
	}{
		{cfg: retry.BudgetConfig{}, want: 10 + 10},
		{cfg: retry.BudgetConfig{Ratio: 0.5}, want: 50 + 10},
		{cfg: retry.BudgetConfig{Ratio: 1, PerSecond: 2.5}, want: 100 + 25},
		{cfg: retry.BudgetConfig{Ratio: -1}, want: 10},
		{cfg: retry.BudgetConfig{PerSecond: -1}, want: 10},
		{cfg: retry.BudgetConfig{Ratio: math.Inf(-1), PerSecond: math.Inf(-1)}, want: 0},
		{cfg: retry.BudgetConfig{PerSecond: 1000}, want: 10 + 10000},
		{cfg: retry.BudgetConfig{Ratio: 1.01}, err: "retry: Budget.Ratio 1.01: want at most 1"},
		{cfg: retry.BudgetConfig{Ratio: math.NaN()}, err: "Budget.Ratio NaN"},
		{cfg: retry.BudgetConfig{Ratio: math.Inf(1)}, err: "Budget.Ratio +Inf"},
		{cfg: retry.BudgetConfig{PerSecond: 1001}, err: "retry: Budget.PerSecond 1001: want at most 1000"},
		{cfg: retry.BudgetConfig{PerSecond: math.NaN()}, err: "Budget.PerSecond NaN"},
		{cfg: retry.BudgetConfig{Ratio: 2, PerSecond: 2000}, err: "Budget.PerSecond 2000"},
	} {
		b, err := retry.NewBudget(c.cfg)
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%+v: got %v, want %q", c.cfg, err, c.err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%+v: got %v, want nil", c.cfg, err)
			continue
		}
		for range 100 {
			b.Deposit(0)
		}
		if got := b.Balance(0); got != c.want {
			t.Errorf("%+v: got a balance of %v, want %v", c.cfg, got, c.want)
		}
	}
}

// naiveBudget is a Budget that remembers everything.
type naiveBudget struct {
	ratio, perSecond float64
	calls, tokens    []time.Duration
}

// count is how many of the times are in the same 10 s as now, which begin with a
// full second.
func count(times []time.Duration, now time.Duration) (n int) {
	for _, t := range times {
		if now.Truncate(time.Second)-t.Truncate(time.Second) < 10*time.Second {
			n++
		}
	}
	return n
}

func (b *naiveBudget) balance(now time.Duration) float64 {
	return 10*b.perSecond + b.ratio*float64(count(b.calls, now)) - float64(count(b.tokens, now))
}

// withdraw uses a wide comparison, as the sum above is not exact.
func (b *naiveBudget) withdraw(now time.Duration) bool {
	if b.balance(now) < 0.999999 {
		return false
	}
	b.tokens = append(b.tokens, now)
	return true
}

// refund forgets one withdrawal of that time.
func (b *naiveBudget) refund(at time.Duration) {
	for i, t := range b.tokens {
		if t == at {
			b.tokens = append(b.tokens[:i], b.tokens[i+1:]...)
			return
		}
	}
}

// TestBudgetAgainstOracle makes the same random calls, withdrawals and refunds
// on a Budget and on its naive form.
func TestBudgetAgainstOracle(t *testing.T) {
	type paid struct {
		token retry.Token
		at    time.Duration
	}
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 1))
		cfg := retry.BudgetConfig{Ratio: []float64{0.1, 0.29, 0.5, 1, -1}[seed%5], PerSecond: []float64{1, 0.1, 2, -1}[seed%4]}
		b, naive := newBudget(t, cfg), &naiveBudget{ratio: max(cfg.Ratio, 0), perSecond: max(cfg.PerSecond, 0)}
		var held []paid
		now := time.Duration(0)
		for step := range 2000 {
			switch rng.IntN(10) {
			case 0: // a pause, at times one that all is forgotten in
				now += time.Duration(rng.Int64N(int64([]time.Duration{time.Millisecond, time.Second, 3 * time.Second, 25 * time.Second}[rng.IntN(4)])))
			case 1, 2:
				token, got := b.Withdraw(now)
				if want := naive.withdraw(now); got != want {
					t.Fatalf("seed %d, step %d, %v: withdraw: got %v, want %v of %v", seed, step, now, got, want, naive.balance(now))
				}
				if got {
					held = append(held, paid{token, now})
				}
			case 3:
				if len(held) > 0 {
					i := rng.IntN(len(held))
					b.Refund(held[i].token)
					naive.refund(held[i].at)
					held = append(held[:i], held[i+1:]...)
				}
			default:
				b.Deposit(now)
				naive.calls = append(naive.calls, now)
			}
			if got, want := b.Balance(now), max(0, naive.balance(now)); math.Abs(got-want) > 1e-6 {
				t.Fatalf("seed %d, step %d, %v: balance: got %v, want %v", seed, step, now, got, want)
			}
		}
	}
}

// Whatever the second it begins in, a call and a token count for 9 s at least
// and for 10 s at most.
func TestBudgetExpiry(t *testing.T) {
	for _, start := range []time.Duration{0, time.Millisecond, 999 * time.Millisecond, 7 * time.Second, 12345678 * time.Millisecond} {
		t.Run(fmt.Sprint(start), func(t *testing.T) {
			calls := newBudget(t, retry.BudgetConfig{Ratio: 1, PerSecond: -1})
			calls.Deposit(start)
			tokens := newBudget(t, retry.BudgetConfig{Ratio: -1, PerSecond: 0.1})
			if _, ok := tokens.Withdraw(start); !ok {
				t.Fatal("got no token, want the only one")
			}
			for _, c := range []struct {
				after         time.Duration
				calls, tokens float64
			}{
				{0, 1, 0}, {9 * time.Second, 1, 0}, {10 * time.Second, 0, 1}, {time.Hour, 0, 1},
			} {
				if got := calls.Balance(start + c.after); got != c.calls {
					t.Errorf("a call, %v later: got a balance of %v, want %v", c.after, got, c.calls)
				}
				if got := tokens.Balance(start + c.after); got != c.tokens {
					t.Errorf("a token, %v later: got a balance of %v, want %v", c.after, got, c.tokens)
				}
			}
		})
	}
}

// A refund gives back what was taken, and nothing when that has expired or was
// no token.
func TestBudgetRefund(t *testing.T) {
	b := newBudget(t, retry.BudgetConfig{Ratio: -1, PerSecond: 0.2}) // two tokens
	b.Refund(retry.Token{})
	first, _ := b.Withdraw(0)
	second, _ := b.Withdraw(0)
	if _, ok := b.Withdraw(0); ok || b.Balance(0) != 0 {
		t.Fatalf("got a third token (balance %v), want two", b.Balance(0))
	}
	b.Refund(first)
	if got := b.Balance(0); got != 1 {
		t.Errorf("after a refund: got %v, want 1", got)
	}
	late := 10 * time.Second
	b.Withdraw(late)
	b.Refund(second)
	if got := b.Balance(late); got != 1 {
		t.Errorf("after a refund of a token that has expired: got %v, want 1", got)
	}
	if token, ok := b.Withdraw(late); ok {
		b.Refund(token)
		b.Refund(token)
		b.Refund(token)
	}
	// The budget cannot tell whose tokens they are, but it gives back no more
	// than was taken.
	if got := b.Balance(late); got != 2 {
		t.Errorf("after three refunds of one token: got %v, want 2", got)
	}
}

// Regression: shares were summed second by second, so that ten calls in ten
// seconds made 0.9999999999999999 of a token.
func TestBudgetRounding(t *testing.T) {
	for _, ratio := range []float64{0.1, 0.29, 0.07, 0.01} {
		b := newBudget(t, retry.BudgetConfig{Ratio: ratio, PerSecond: -1})
		for i := range 100 {
			b.Deposit(time.Duration(i) * 100 * time.Millisecond)
		}
		now, tokens := 9900*time.Millisecond, 0
		for range 100 {
			if _, ok := b.Withdraw(now); ok {
				tokens++
			}
		}
		if want := int(math.Round(100 * ratio)); tokens != want {
			t.Errorf("ratio %v of 100 calls: got %d tokens, want %d", ratio, tokens, want)
		}
	}
}

// Regression: a goroutine that was held up for ten seconds after it had read the
// clock overwrote what had been counted since.
func TestBudgetLateClock(t *testing.T) {
	b := newBudget(t, retry.BudgetConfig{Ratio: 1, PerSecond: -1})
	for range 5 {
		b.Deposit(20 * time.Second)
	}
	b.Deposit(10 * time.Second) // the same slice, ten seconds before
	if got := b.Balance(20 * time.Second); got != 5 {
		t.Errorf("a late deposit: got %v, want 5", got)
	}
	for range 3 {
		b.Withdraw(20 * time.Second)
	}
	token, ok := b.Withdraw(10 * time.Second)
	if got := b.Balance(20 * time.Second); !ok || got != 1 {
		t.Errorf("a late withdrawal: got %v, balance %v, want true, 1", ok, got)
	}
	b.Refund(token)
	if got := b.Balance(20 * time.Second); got != 2 {
		t.Errorf("its refund: got %v, want 2", got)
	}
	// One that is a moment behind sees what others took in the new second.
	edge := newBudget(t, retry.BudgetConfig{Ratio: -1, PerSecond: 0.1})
	edge.Withdraw(5 * time.Second)
	if _, ok := edge.Withdraw(5*time.Second - 1); ok {
		t.Error("a moment behind: got the token a second time, want none")
	}
}

// Times before the base do not count less than those at it.
func TestBudgetNegativeTime(t *testing.T) {
	b := newBudget(t, retry.BudgetConfig{Ratio: 1, PerSecond: -1})
	b.Deposit(-time.Hour)
	if got := b.Balance(0); got != 1 {
		t.Errorf("got %v, want 1", got)
	}
}

// However many goroutines there are, no token is given out twice and none is
// lost.
func TestBudgetConcurrent(t *testing.T) {
	const workers, rounds = 16, 500
	b := newBudget(t, retry.BudgetConfig{Ratio: 0.5, PerSecond: 3})
	var all sync.WaitGroup
	var granted, refunded atomic.Int64
	now := 1234 * time.Second
	for w := range workers {
		all.Go(func() {
			for i := range rounds {
				b.Deposit(now)
				token, ok := b.Withdraw(now)
				if !ok {
					continue
				}
				granted.Add(1)
				if (w+i)%3 == 0 {
					b.Refund(token)
					refunded.Add(1)
				}
				if b.Balance(now) < 0 {
					t.Error("got a negative balance")
				}
			}
		})
	}
	all.Wait()
	total := 3*10 + 0.5*workers*rounds
	if got, want := b.Balance(now), total-float64(granted.Load()-refunded.Load()); got != want {
		t.Errorf("got a balance of %v, want %v: %d granted, %d refunded of %v", got, want, granted.Load(), refunded.Load(), total)
	}
	for granted.Load() < 1e6 {
		if _, ok := b.Withdraw(now); !ok {
			break
		}
		granted.Add(1)
	}
	if got := float64(granted.Load() - refunded.Load()); got != total {
		t.Errorf("got %v tokens in all, want %v", got, total)
	}
}

// The seconds pass while goroutines count, and nothing is counted twice.
func TestBudgetConcurrentSeconds(t *testing.T) {
	b := newBudget(t, retry.BudgetConfig{Ratio: 1, PerSecond: -1})
	var clock atomic.Int64
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 2000 {
				now := time.Duration(clock.Add(int64(5 * time.Millisecond)))
				b.Deposit(now)
				if got := b.Balance(now); got > 10*200+8*200 {
					t.Errorf("got a balance of %v, want at most the calls of ten seconds", got)
					return
				}
			}
		})
	}
	all.Wait()
}

func BenchmarkBudget(b *testing.B) {
	budget := newBudget(b, retry.BudgetConfig{Ratio: 1})
	now := time.Hour
	b.Run("deposit", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			budget.Deposit(now)
		}
	})
	b.Run("withdraw and refund", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			token, _ := budget.Withdraw(now)
			budget.Refund(token)
		}
	})
	b.Run("parallel deposit", func(b *testing.B) {
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				budget.Deposit(now)
			}
		})
	})
}

func TestBudgetReconfigure(t *testing.T) {
	b := newBudget(t, retry.BudgetConfig{Ratio: 1, PerSecond: -1})
	for range 10 {
		b.Deposit(0)
	}
	b.Withdraw(0)
	for _, c := range []struct {
		cfg  retry.BudgetConfig
		want float64
	}{
		{retry.BudgetConfig{Ratio: 0.5, PerSecond: 0.1}, 5 + 1 - 1},
		{retry.BudgetConfig{}, 1 + 10 - 1},
		{retry.BudgetConfig{Ratio: -1, PerSecond: -1}, 0},
		{retry.BudgetConfig{Ratio: 1, PerSecond: -1}, 9},
	} {
		if err := b.Reconfigure(c.cfg); err != nil || b.Balance(0) != c.want {
			t.Errorf("%+v: got %v, balance %v, want %v", c.cfg, err, b.Balance(0), c.want)
		}
	}
	if err := b.Reconfigure(retry.BudgetConfig{Ratio: 2}); err == nil || b.Balance(0) != 9 {
		t.Errorf("got %v, balance %v, want an error and what there was", err, b.Balance(0))
	}
}
