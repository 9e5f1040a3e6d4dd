package main

import (
	"errors"
	"io"
	"math"
	"net/http"
	"slices"
	"strings"
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
// share of POSTs: 30,000 draws are within 5 % of them.
func TestScheduleIsPoisson(t *testing.T) {
	all := schedule(1, rate, time.Minute)
	var sum, squares, posts float64
	last := time.Duration(0)
	for _, a := range all {
		if a.at < last || a.at >= time.Minute {
			t.Fatalf("got a call at %v after %v, want them in order and within the run", a.at, last)
		}
		pause := (a.at - last).Seconds()
		sum, squares, last = sum+pause, squares+pause*pause, a.at
		if a.post {
			posts++
		}
	}
	n := float64(len(all))
	mean := sum / n
	deviation := math.Sqrt(squares/n - mean*mean)
	for _, tt := range []struct {
		what      string
		got, want float64
	}{{"mean pause", mean, 1.0 / rate}, {"deviation", deviation, 1.0 / rate}, {"share of POSTs", posts / n, postShare}} {
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
	results := []result{{0, 0, 4 * ms, nil}, {s, 0, deadline, bad}, {s + 1, 0, 2 * ms, nil}, {2 * s, 0, 1 * ms, nil}}
	tests := []struct {
		from, to time.Duration
		want     summary
		success  float64
	}{
		{0, 3 * s, summary{4, 1, 2 * ms, deadline}, 0.75},
		{0, s, summary{1, 0, 4 * ms, 4 * ms}, 1},
		{s, 2 * s, summary{2, 1, 2 * ms, deadline}, 0.5},
		{3 * s, 4 * s, summary{}, 1},
	}
	for _, tt := range tests {
		got := summarize(results, tt.from, tt.to)
		if got != tt.want || got.success() != tt.success {
			t.Errorf("%v to %v: got %+v, success %v, want %+v, %v", tt.from, tt.to, got, got.success(), tt.want, tt.success)
		}
	}
}

func TestRoundRobin(t *testing.T) {
	r := new(roundRobin)
	r.set([]string{"a:1", "b:2"})
	var got []string
	for range 3 {
		got = append(got, r.next())
	}
	r.set([]string{"a:1", "b:2", "c:3", "d:4"})
	got = append(got, r.next(), r.next())
	if want := []string{"http://a:1", "http://b:2", "http://a:1", "http://d:4", "http://a:1"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// roundTrip is a func as an http.RoundTripper.
type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// answer is a response with a body.
func answer(status int, body io.Reader) (*http.Response, error) {
	return &http.Response{StatusCode: status, Body: io.NopCloser(body)}, nil
}

// TestDriveDoesNotWaitForAnswers is what makes the loop open: while one call
// hangs the others are made at their times, by both clients.
func TestDriveDoesNotWaitForAnswers(t *testing.T) {
	const ms = time.Millisecond
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		seen := make(chan time.Duration, 2)
		mixed := &client{base: func() string { return "http://users" }}
		mixed.http = &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
			if strings.HasSuffix(r.URL.Path, "/0") {
				time.Sleep(400 * ms)
			} else {
				seen <- time.Since(start)
			}
			return answer(http.StatusOK, strings.NewReader("x"))
		})}
		refused := &client{base: func() string { return "http://twins" }}
		refused.http = &http.Client{Transport: roundTrip(func(*http.Request) (*http.Response, error) {
			return nil, errors.New("refused")
		})}
		drive(t.Context(), start, []arrival{{10 * ms, false}, {30 * ms, true}, {35 * ms, false}}, mixed, refused)
		if first, second := <-seen, <-seen; first != 30*ms || second != 35*ms {
			t.Errorf("got calls at %v and %v, want 30ms and 35ms", first, second)
		}
		if got, want := mixed.results, []result{{at: 10 * ms, took: 400 * ms}, {at: 30 * ms}, {at: 35 * ms}}; !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
		for i, r := range refused.results {
			if r.err == nil || r.took != deadline {
				t.Errorf("call %d that was refused: got %v, want an error that counts %v", i, r, deadline)
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
		c := &client{base: func() string { return "http://users" }}
		c.http = &http.Client{Transport: roundTrip(func(*http.Request) (*http.Response, error) {
			time.Sleep(5 * time.Millisecond)
			return answer(http.StatusOK, strings.NewReader("x"))
		})}
		drive(t.Context(), start, []arrival{{100 * time.Millisecond, false}}, c)
		r := c.results[0]
		if late, took := 200*time.Millisecond, 205*time.Millisecond; r.late != late || r.took != took {
			t.Errorf("got %v late, %v in all, want %v, %v", r.late, r.took, late, took)
		}
	})
}

// broken is a body that breaks off.
type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func TestSend(t *testing.T) {
	keys := map[string]bool{}
	for i, tt := range []struct {
		post   bool
		status int
		body   io.Reader
		ok     bool
	}{
		{false, http.StatusOK, strings.NewReader("x"), true},
		{true, http.StatusOK, strings.NewReader("x"), true},
		{true, http.StatusOK, strings.NewReader("x"), true},
		{false, http.StatusServiceUnavailable, strings.NewReader("x"), false},
		{false, http.StatusOK, broken{}, false},
	} {
		c := &client{base: func() string { return "http://users" }}
		c.http = &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
			key := r.Header.Get("Idempotency-Key")
			if tt.post != (r.Method == http.MethodPost) || tt.post != (key != "") || keys[key] && tt.post {
				t.Errorf("call %d: got %s with key %q, want a new key on each POST and only there", i, r.Method, key)
			}
			keys[key] = true
			return answer(tt.status, tt.body)
		})}
		if err := c.send(t.Context(), i, tt.post); (err == nil) != tt.ok {
			t.Errorf("call %d: got %v, want success: %v", i, err, tt.ok)
		}
	}
}
