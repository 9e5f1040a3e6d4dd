package sim_test

import (
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/tullemesh/tulle/balancer"
	"github.com/tullemesh/tulle/transport"
	"github.com/tullemesh/tulle/transport/sim"
)

const ms = time.Millisecond

func TestWork(t *testing.T) {
	tests := []struct {
		name   string
		work   sim.Work
		median float64 // ms
	}{
		{"constant", sim.Work{Mean: 3 * ms}, 3},
		{"exponential", sim.Work{Kind: "exponential", Mean: 10 * ms}, 10 * math.Ln2},
		{"normal", sim.Work{Kind: "normal", Mean: 20 * ms, Deviation: 5 * ms}, 20},
		{"normal, cut at 0", sim.Work{Kind: "normal", Mean: 20 * ms, Deviation: 20 * ms}, 20},
		{"lognormal", sim.Work{Kind: "lognormal", Median: 167 * ms, Deviation: 40 * ms}, 167},
		{"pareto", sim.Work{Kind: "pareto", Mean: 10 * ms, Shape: 2.5}, 6 * math.Pow(2, 0.4)},
		{"bimodal", sim.Work{Kind: "bimodal", Mean: 5 * ms, Slow: 100 * ms, Share: 0.1}, 5},
		{"table", sim.Work{Kind: "table", Quantiles: []time.Duration{0, 10 * ms, 30 * ms}}, 10},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := rand.New(rand.NewPCG(1, 2))
			const n = 200_000
			all, sum := make([]float64, n), 0.0
			for i := range all {
				all[i] = tt.work.Sample(r)
				sum += all[i]
			}
			slices.Sort(all)
			if all[0] < 0 {
				t.Errorf("got %v ns, want no negative time", all[0])
			}
			if got, want := sum/n, tt.work.Expected(); math.Abs(got/want-1) > 0.02 {
				t.Errorf("got mean %.3f ms, want %.3f by formula", got/1e6, want/1e6)
			}
			if got := all[n/2] / 1e6; math.Abs(got/tt.median-1) > 0.02 {
				t.Errorf("got median %.3f ms, want %.3f", got, tt.median)
			}
		})
	}
}

// TestWorkDeviation: the deviation of a lognormal time is that of the time, not of
// its logarithm.
func TestWorkDeviation(t *testing.T) {
	w := sim.Work{Kind: "lognormal", Median: 100 * ms, Deviation: 60 * ms}
	r := rand.New(rand.NewPCG(3, 4))
	const n = 400_000
	sum, squares := 0.0, 0.0
	for range n {
		x := w.Sample(r) / 1e6
		sum += x
		squares += x * x
	}
	if got := math.Sqrt(squares/n - sum/n*sum/n); math.Abs(got-60) > 1.5 {
		t.Errorf("got deviation %.2f ms, want 60", got)
	}
}

func TestWorkMax(t *testing.T) {
	w := sim.Work{Kind: "pareto", Mean: 10 * ms, Shape: 1.1, Max: 50 * ms}
	r := rand.New(rand.NewPCG(1, 2))
	for range 10_000 {
		if got := w.Sample(r); got > float64(50*ms) {
			t.Fatalf("got %v ns, want at most 50ms", got)
		}
	}
}

func TestLoadRate(t *testing.T) {
	points := []sim.Point{{At: 2 * time.Second, Rate: 10}, {At: 6 * time.Second, Rate: 50}}
	tests := []struct {
		name string
		load sim.Load
		at   time.Duration
		want float64
	}{
		{"constant", sim.Load{Rate: 7}, 3 * time.Second, 7},
		{"ramp, middle", sim.Load{Kind: "ramp", Rate: 10, To: 30}, 5 * time.Second, 20},
		{"sine, start", sim.Load{Kind: "sine", Rate: 10, To: 30, Period: 4 * time.Second}, 4 * time.Second, 10},
		{"sine, top", sim.Load{Kind: "sine", Rate: 10, To: 30, Period: 4 * time.Second}, 2 * time.Second, 30},
		{"sine, between", sim.Load{Kind: "sine", Rate: 10, To: 30, Period: 4 * time.Second}, time.Second, 20},
		{"in a burst", sim.Load{Kind: "bursts", Rate: 1, To: 9, Period: 4 * time.Second, Length: time.Second}, 4500 * ms, 9},
		{"after a burst", sim.Load{Kind: "bursts", Rate: 1, To: 9, Period: 4 * time.Second, Length: time.Second}, 5 * time.Second, 1},
		{"before the steps", sim.Load{Kind: "steps", Points: points}, time.Second, 10},
		{"steps", sim.Load{Kind: "steps", Points: points}, 5 * time.Second, 10},
		{"at a step", sim.Load{Kind: "steps", Points: points}, 6 * time.Second, 50},
		{"trace", sim.Load{Kind: "trace", Points: points}, 4 * time.Second, 30},
		{"after the trace", sim.Load{Kind: "trace", Points: points}, 9 * time.Second, 50},
	}
	for _, tt := range tests {
		if got := tt.load.RateAt(tt.at, 10*time.Second); math.Abs(got-tt.want) > 1e-9 {
			t.Errorf("%s: got %v, want %v", tt.name, got, tt.want)
		}
	}
}

// TestLoadCount: as many calls come as the area under the rate says.
func TestLoadCount(t *testing.T) {
	whole := 100 * time.Second
	tests := []struct {
		name string
		load sim.Load
		want float64
		off  float64
	}{
		{"random", sim.Load{Rate: 500}, 50_000, 4 * 224},
		{"even", sim.Load{Rate: 500, Even: true}, 50_000, 1},
		{"ramp", sim.Load{Kind: "ramp", Rate: 0, To: 1000}, 50_000, 4 * 224},
		{"even ramp", sim.Load{Kind: "ramp", Rate: 0, To: 1000, Even: true}, 50_000, 200},
		{"bursts", sim.Load{Kind: "bursts", Rate: 0, To: 1000, Period: 10 * time.Second, Length: 5 * time.Second}, 50_000, 4 * 224},
	}
	for _, tt := range tests {
		r := rand.New(rand.NewPCG(5, 6))
		n, at := 0.0, int64(0)
		for {
			next := tt.load.NextAfter(r, at, whole)
			if next >= int64(whole) {
				break
			}
			if next < at {
				t.Fatalf("%s: got %d after %d, want no way back", tt.name, next, at)
			}
			at = next
			n++
		}
		if math.Abs(n-tt.want) > tt.off {
			t.Errorf("%s: got %v calls, want %v ± %v", tt.name, n, tt.want, tt.off)
		}
	}
}

// TestHistogram holds quantiles against those of the sorted times.
func TestHistogram(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	for _, fine := range []int{4, 7} {
		h := sim.NewHistogram(fine)
		var all []time.Duration
		for range 50_000 {
			d := time.Duration(math.Exp(r.NormFloat64()*3) * 1e6)
			all = append(all, d)
			h.Add(d)
		}
		slices.Sort(all)
		for _, q := range []float64{0.001, 0.1, 0.5, 0.9, 0.99, 0.999} {
			got, i := h.Quantile(q, 0), int(q*float64(len(all)))
			width := 1 + 1/float64(int(1)<<fine)
			low, high := float64(all[i-1])/width-10, float64(all[i+1])*width+10
			if float64(got) < low || float64(got) > high {
				t.Errorf("%d bits, quantile %v: got %v, want %v to %v", fine, q, got, time.Duration(low), time.Duration(high))
			}
		}
	}
}

func TestHistogramBeyond(t *testing.T) {
	h := sim.NewHistogram(7)
	if got := h.Quantile(0.5, 0); got != sim.Never {
		t.Errorf("empty: got %v, want Never", got)
	}
	for range 90 {
		h.Add(ms)
	}
	if got := h.Quantile(0.95, 10); got != sim.Never {
		t.Errorf("in what failed: got %v, want Never", got)
	}
	if got := h.Quantile(0.85, 10); got < 990*time.Microsecond || got > 1010*time.Microsecond {
		t.Errorf("got %v, want 1ms", got)
	}
	h.Add(-5) // no clock goes back; if one does, nothing breaks
	h.Add(math.MaxInt64)
	if got := h.Quantile(1, 0); got <= time.Hour {
		t.Errorf("the longest time: got %v, want a long one", got)
	}
}

// TestAgenda: events come in the order of time, those of one time in the order in
// which they were planned.
func TestAgenda(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 10))
	var a sim.Agenda
	type entry struct {
		at int64
		id int32
	}
	var want []entry
	id := int32(0)
	for range 200 {
		for range r.IntN(30) {
			e := entry{r.Int64N(50), id}
			id++
			a.Plan(e.at, e.id)
			want = append(want, e)
		}
		slices.SortStableFunc(want, func(a, b entry) int { return int(a.at - b.at) })
		for range r.IntN(25) {
			at, got, ok := a.Next()
			if ok != (len(want) > 0) {
				t.Fatalf("got %v, want %v", ok, len(want) > 0)
			}
			if !ok {
				break
			}
			if at != want[0].at || got != want[0].id {
				t.Fatalf("got %d at %d, want %d at %d", got, at, want[0].id, want[0].at)
			}
			want = want[1:]
		}
	}
}

func TestRecovery(t *testing.T) {
	series := func(good ...uint64) (s []sim.Slice) {
		for _, g := range good {
			s = append(s, sim.Slice{Calls: 100, Good: g})
		}
		return s
	}
	tests := []struct {
		name string
		s    []sim.Slice
		from time.Duration
		want time.Duration
	}{
		{"all well", series(100, 100, 100), 0, 0},
		{"bad before", series(0, 0, 100, 100, 100), 2 * time.Second, 0},
		{"bad for a second", series(100, 50, 100, 100, 100), time.Second, time.Second},
		{"bad in the second of its end", series(100, 50, 100, 100, 100), 1500 * ms, 500 * ms},
		{"again bad", series(100, 50, 100, 98, 100, 99, 100), time.Second, 3 * time.Second},
		{"to the end", series(100, 50, 50, 50), time.Second, sim.Never},
		{"no calls", nil, time.Second, 0},
		{"nothing that ends", series(100, 50, 50), 0, 0},
	}
	for _, tt := range tests {
		if got := sim.Recovery(tt.s, tt.from); got != tt.want {
			t.Errorf("%s: got %v, want %v", tt.name, got, tt.want)
		}
	}
}

// TestStandstills: to leave out whole periods at a time changes nothing, and however
// long the work and however short the periods, the end is found soon.
func TestStandstills(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	for range 5000 {
		period := time.Duration(2 + r.IntN(50))
		f := sim.Standstill{
			Period: period, Length: 1 + time.Duration(r.IntN(int(period-1))),
			Offset: time.Duration(r.IntN(int(period))), End: time.Duration(r.IntN(3000)),
		}
		now, work := time.Duration(r.IntN(500)), time.Duration(r.IntN(2000))
		if got, want := sim.Finish(now, work, true, f), sim.Finish(now, work, false, f); got != want {
			t.Fatalf("%d of work at %d, %+v: got %d, want %d", work, now, f, got, want)
		}
	}
	f := sim.Standstill{Period: ms, Length: 999 * time.Microsecond, End: math.MaxInt64}
	if got, want := sim.Finish(0, time.Hour, true, f), 1000*time.Hour; got < want-ms || got > want {
		t.Errorf("got %v, want %v", got, want)
	}
	f.Length = ms - 1
	if got := sim.Finish(0, 24*time.Hour, true, f); got < 24*time.Hour {
		t.Errorf("got %v, want later than all else", got)
	}
	if got := sim.Finish(0, 24*time.Hour, true, f, f); got < 24*time.Hour {
		t.Errorf("two: got %v, want later than all else", got)
	}
}

// TestRareCalls: a rate so low that its distances fit into no integer brings no call,
// and ends.
func TestRareCalls(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, rate := range []float64{1e-300, 1e-12} {
		l := sim.Load{Rate: rate}
		if got := l.NextAfter(r, 5, time.Hour); got != int64(time.Hour) {
			t.Errorf("rate %v: got %d, want the end of the run", rate, got)
		}
	}
}

// TestWholePolicy: a run uses all that a Policy can say. A new field that the
// simulator does not know would be ignored without a word.
func TestWholePolicy(t *testing.T) {
	p := transport.Policy{Balancer: balancer.Random{}}
	v := reflect.ValueOf(&p).Elem()
	for i := range v.NumField() {
		switch f := v.Field(i); f.Kind() {
		case reflect.Int64:
			f.SetInt(int64(time.Second))
		case reflect.Bool:
			f.SetBool(true)
		case reflect.Pointer:
			f.Set(reflect.New(f.Type().Elem()))
		}
		if v.Field(i).IsZero() {
			t.Errorf("%s: this test cannot set it", v.Type().Field(i).Name)
		}
	}
	for _, got := range []transport.Policy{sim.Over(p, transport.Policy{}), sim.Over(transport.Policy{}, p)} {
		if !reflect.DeepEqual(got, p) {
			t.Errorf("got %+v, want %+v", got, p)
		}
	}
}
