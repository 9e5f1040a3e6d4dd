package cluster

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

// Buckets follow each other without gaps, and the middle of each lies in it.
func TestHistogramBuckets(t *testing.T) {
	for i := range histBuckets {
		if got := bucketOf(bucketMid(i)); got != i {
			t.Errorf("middle %v of bucket %d falls into %d", bucketMid(i), i, got)
		}
	}
	last := 0
	for d := time.Duration(0); d < 5*time.Minute; d += 1 + d/100 {
		b := bucketOf(d)
		if b < last || b > last+1 && d > time.Millisecond {
			t.Fatalf("bucket of %v is %d, after %d", d, b, last)
		}
		if mid := bucketMid(b); d > time.Millisecond && d < 2*time.Minute && math.Abs(float64(mid-d)) > 0.13*float64(d) {
			t.Errorf("%v counts as %v, more than 13 %% off", d, mid)
		}
		last = b
	}
	if bucketOf(-1) != 0 || bucketOf(time.Hour) != histBuckets-1 {
		t.Error("times out of range do not fall into the outermost buckets")
	}
}

// event is one outcome, for the oracle.
type event struct {
	at, took time.Duration
	ok       bool
}

// The sliding counts agree with a list of what happened, within what the
// interpolation of one slice allows.
func TestWindowsAgainstAList(t *testing.T) {
	for seed := range uint64(10) {
		r := rand.New(rand.NewPCG(seed, 3))
		var p poolStats
		var w window
		var all []event
		now := time.Duration(0)
		for range 20000 {
			now += time.Duration(r.ExpFloat64() * float64(10*time.Millisecond))
			e := event{at: now, took: time.Duration(1+r.IntN(20)) * time.Millisecond, ok: r.IntN(5) > 0}
			all = append(all, e)
			if e.ok {
				p.sample(e.took, now)
				w.sample(e.took, now)
			} else {
				p.fail(now)
				w.fail(now)
			}
			if r.IntN(500) > 0 {
				continue
			}
			checkWindow(t, "pool", p.recent(now), all, now, 10*time.Second)
			checkWindow(t, "endpoint", w.read(now), all, now, 10*time.Second)
			checkWindow(t, "minute", p.minute(now), all, now, time.Minute)
		}
	}
}

func checkWindow(t *testing.T, what string, got tally, all []event, now, length time.Duration) {
	t.Helper()
	var ok, failed, seconds float64
	for _, e := range all {
		if e.at <= now-length {
			continue
		}
		if e.ok {
			ok++
			seconds += e.took.Seconds()
		} else {
			failed++
		}
	}
	if ok+failed < 200 || now < length {
		return
	}
	near := func(name string, got, want float64) {
		t.Helper()
		if math.Abs(got-want) > 0.15*want+10 {
			t.Errorf("%s at %v: %s: got %.1f, want about %.1f", what, now, name, got, want)
		}
	}
	near("successes", got.successes, ok)
	near("failures", got.failures, failed)
	near("mean in µs", float64(got.mean().Microseconds()), seconds/ok*1e6)
}

// After a silence nothing old is counted.
func TestWindowsForget(t *testing.T) {
	var p poolStats
	var w window
	for i := range 100 {
		now := time.Duration(i) * 100 * time.Millisecond
		p.sample(time.Millisecond, now)
		w.sample(time.Millisecond, now)
		p.fail(now)
		w.fail(now)
	}
	for _, later := range []time.Duration{31 * time.Second, time.Hour, 100 * time.Hour} {
		for what, got := range map[string]tally{"pool": p.recent(later), "endpoint": w.read(later)} {
			if got.successes != 0 || got.failures != 0 || got.mean() != 0 {
				t.Errorf("%s after %v: got %+v, want nothing", what, later, got)
			}
		}
	}
	if got := p.minute(45 * time.Second); got.successes != 100 {
		t.Errorf("the last minute: got %v successes, want 100", got.successes)
	}
	if got := p.minute(3 * time.Minute); got.successes != 0 || got.quantile(0.5) != 0 {
		t.Errorf("three minutes later: got %v successes, median %v; want none", got.successes, got.quantile(0.5))
	}
}
