package retry

import (
	"errors"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tullemesh/tulle/internal/setting"
)

// BudgetConfig limits the repeats of all calls of a destination together, so
// that retries cannot keep an overload alive that caused them. The default lets
// a tenth of the calls of the last 10 s be repeated, and one a second besides.
type BudgetConfig struct {
	// Ratio is the share of recent calls that may be repeated. Default (0):
	// 0.1. Range: up to 1. Negative: no repeats but those of PerSecond.
	Ratio float64

	// PerSecond is the number of repeats a second that are allowed whatever
	// the number of calls. Default (0): 1. Range: up to 1000. Negative: none.
	PerSecond float64
}

// validate names each field that cannot be used.
func (c BudgetConfig) validate() error {
	var errs []error
	if c.Ratio > 1 || math.IsNaN(c.Ratio) {
		errs = append(errs, &setting.Error{Package: "retry", Field: "Budget.Ratio", Value: c.Ratio, Want: "at most 1"})
	}
	if c.PerSecond > 1000 || math.IsNaN(c.PerSecond) {
		errs = append(errs, &setting.Error{Package: "retry", Field: "Budget.PerSecond", Value: c.PerSecond, Want: "at most 1000"})
	}
	return errors.Join(errs...)
}

// withDefaults fills in what was left out and turns "none" into 0.
func (c BudgetConfig) withDefaults() BudgetConfig {
	if c.Ratio == 0 {
		c.Ratio = 0.1
	}
	if c.PerSecond == 0 {
		c.PerSecond = 1
	}
	c.Ratio, c.PerSecond = max(c.Ratio, 0), max(c.PerSecond, 0)
	return c
}

// budgetSlices is the window of a budget in slices of a second.
const budgetSlices = 10

// A Budget is what a destination's repeats are paid from. Every call deposits,
// every repeat withdraws a token; both are forgotten after 10 s. The arithmetic
// is that of Finagle's RetryBudget. It is safe for concurrent use.
//
// Times are durations since any base, the same for all calls.
type Budget struct {
	calls [budgetSlices]atomic.Uint64 // second << 32 | calls in it

	mu      sync.Mutex
	ratio   float64             // guarded by mu
	reserve float64             // guarded by mu
	spent   [budgetSlices]slice // guarded by mu
}

// slice counts the withdrawals of one second.
type slice struct {
	second uint32
	tokens uint64
}

// A Token is one withdrawal. The zero Token is none.
type Token struct {
	second uint32
	held   bool
}

// NewBudget returns a Budget, or an error that names the field and value.
func NewBudget(cfg BudgetConfig) (*Budget, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	return &Budget{ratio: cfg.Ratio, reserve: cfg.PerSecond * budgetSlices}, nil
}

// Reconfigure changes the limits and keeps what was deposited and withdrawn. It
// returns an error, and changes nothing, if cfg cannot be used.
func (b *Budget) Reconfigure(cfg BudgetConfig) error {
	if err := cfg.validate(); err != nil {
		return err
	}
	cfg = cfg.withDefaults()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ratio, b.reserve = cfg.Ratio, cfg.PerSecond*budgetSlices
	return nil
}

// second numbers the slices from 1, so that the zero slice is an old one.
func second(now time.Duration) uint32 { return uint32(max(now, 0)/time.Second) + 1 }

// live says whether a slice still counts. One that is ahead of now does: another
// goroutine has read the clock a moment later.
func live(slice, now uint32) bool { return int64(now)-int64(slice) < budgetSlices }

// Deposit counts one call. It does not lock.
func (b *Budget) Deposit(now time.Duration) {
	s := second(now)
	word := &b.calls[s%budgetSlices]
	for {
		old := word.Load()
		if uint32(old>>32) == s {
			word.Add(1)
			return
		}
		if uint32(old>>32) > s {
			return // the caller was held up for so long that its call has expired
		}
		if word.CompareAndSwap(old, uint64(s)<<32|1) {
			return
		}
	}
}

// Withdraw takes a token if there is one.
func (b *Budget) Withdraw(now time.Duration) (Token, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.balanceLocked(now) < 1-rounding {
		return Token{}, false
	}
	s := second(now)
	at := &b.spent[s%budgetSlices]
	if at.second < s {
		*at = slice{second: s}
	}
	at.tokens++
	return Token{second: at.second, held: true}, true
}

// Refund returns a token whose repeat was not sent. A token that has expired
// has been given back already.
func (b *Budget) Refund(t Token) {
	if !t.held {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if at := &b.spent[t.second%budgetSlices]; at.second == t.second && at.tokens > 0 {
		at.tokens--
	}
}

// Balance is the number of repeats that could be withdrawn now.
func (b *Budget) Balance(now time.Duration) float64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return max(0, b.balanceLocked(now))
}

// rounding is what a whole token may lack: shares such as 0.29 have no exact
// form, and 100 calls of it must still make 29 tokens.
const rounding = 1e-9

// balanceLocked sums the window. Calls and tokens are counted before they are
// weighed, so that the error does not grow with their number.
func (b *Budget) balanceLocked(now time.Duration) float64 {
	s := second(now)
	var calls, tokens uint64
	for i := range budgetSlices {
		if word := b.calls[i].Load(); live(uint32(word>>32), s) {
			calls += uint64(uint32(word))
		}
		if live(b.spent[i].second, s) {
			tokens += b.spent[i].tokens
		}
	}
	return b.reserve + float64(calls)*b.ratio - float64(tokens)
}
