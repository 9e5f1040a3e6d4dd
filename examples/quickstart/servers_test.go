package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestLedger(t *testing.T) {
	var l ledger
	steps := []struct {
		do                          func()
		executed, twice, duplicates int
	}{
		{func() { l.delivered("a") }, 0, 0, 0}, // looked up, not there
		{func() { l.execute("a") }, 1, 0, 0},
		{func() { l.execute("b") }, 2, 0, 0},
		{func() { l.delivered("a") }, 2, 0, 1},
		{func() { l.delivered("a") }, 2, 0, 2},
		{func() { l.execute("a") }, 2, 1, 2},
		{func() { l.execute("a") }, 2, 1, 2}, // three times is one POST still
		{func() { l.execute("b") }, 2, 2, 2},
	}
	for i, step := range steps {
		step.do()
		executed, twice, duplicates := l.count()
		if executed != step.executed || twice != step.twice || duplicates != step.duplicates {
			t.Errorf("step %d: got %d executed, %d twice, %d duplicates, want %d, %d, %d",
				i, executed, twice, duplicates, step.executed, step.twice, step.duplicates)
		}
	}
}

// post makes a request as the load does.
func post(ctx context.Context, number int) *http.Request {
	r := httptest.NewRequestWithContext(ctx, http.MethodPost, fmt.Sprintf("/v1/users/%d", number), strings.NewReader("{}"))
	r.Header.Set("Idempotency-Key", fmt.Sprintf("key-%d", number))
	return r
}

// serve has s answer and tells how long it took; a status of 0 is no answer.
func serve(s *server, r *http.Request) (status int, took time.Duration) {
	w := &answered{ResponseRecorder: httptest.NewRecorder()}
	begin := time.Now()
	s.ServeHTTP(w, r)
	if w.written {
		status = w.Code
	}
	return status, time.Since(begin)
}

// answered tells an answer from none, which a ResponseRecorder does not.
type answered struct {
	*httptest.ResponseRecorder
	written bool
}

func (a *answered) WriteHeader(code int) {
	a.written = true
	a.ResponseRecorder.WriteHeader(code)
}

func (a *answered) WriteString(s string) (int, error) {
	a.written = true
	return a.ResponseRecorder.WriteString(s)
}

// TestModes has a caller that waits for a second. A POST must have its effect
// where there is an answer and nowhere else.
func TestModes(t *testing.T) {
	tests := []struct {
		mode     mode
		status   int
		least    time.Duration
		most     time.Duration
		executed int
	}{
		{healthy, http.StatusOK, time.Millisecond, 50 * time.Millisecond, 1},
		{slow, 0, deadline, deadline, 0},
		{unavailable, http.StatusServiceUnavailable, 0, 0, 0},
		{silent, 0, deadline, deadline, 0},
		{killed, 0, 0, 50 * time.Millisecond, 0},
	}
	for _, tt := range tests {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), deadline)
			defer cancel()
			s := &server{ledger: new(ledger)}
			s.become(tt.mode)
			status, took := serve(s, post(ctx, 1))
			executed, _, _ := s.ledger.count()
			if status != tt.status || took < tt.least || took > tt.most || executed != tt.executed {
				t.Errorf("%v: got status %d after %v, %d executed, want %d after %v to %v, %d",
					tt.mode, status, took, executed, tt.status, tt.least, tt.most, tt.executed)
			}
		})
	}
}

// TestChangeOfModeDuringWork wants a request that is at work when its server
// falls silent or dies to stay without answer and effect.
func TestChangeOfModeDuringWork(t *testing.T) {
	for _, m := range []mode{silent, killed} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), deadline)
			defer cancel()
			s := &server{ledger: new(ledger)}
			time.AfterFunc(time.Millisecond/2, func() { s.become(m) })
			status, _ := serve(s, post(ctx, 1))
			if executed, _, _ := s.ledger.count(); status != 0 || executed != 0 {
				t.Errorf("%v: got status %d, %d executed, want neither", m, status, executed)
			}
		})
	}
}

func TestSlowServerAnswersInTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{ledger: new(ledger)}
		s.become(slow)
		if status, took := serve(s, post(t.Context(), 1)); status != http.StatusOK || took != slowTime {
			t.Errorf("got status %d after %v, want 200 after %v", status, took, slowTime)
		}
	})
}

// TestRepeatedPost wants the stored answer for a repeat that comes after the
// effect.
func TestRepeatedPost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := new(ledger)
		first, second := &server{ledger: l}, &server{ledger: l}
		serve(first, post(t.Context(), 1))
		if status, took := serve(second, post(t.Context(), 1)); status != http.StatusOK || took != 0 {
			t.Errorf("got status %d after %v, want 200 at once", status, took)
		}
		if executed, twice, duplicates := l.count(); executed != 1 || twice != 0 || duplicates != 1 {
			t.Errorf("got %d executed, %d twice, %d duplicates, want 1, 0, 1", executed, twice, duplicates)
		}
	})
}

// TestOverlappingPosts shows that the count of double executions can find a
// client out that repeats a POST while it still runs.
func TestOverlappingPosts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := new(ledger)
		var both sync.WaitGroup
		for range 2 {
			both.Go(func() { serve(&server{ledger: l}, post(t.Context(), 1)) })
		}
		both.Wait()
		if executed, twice, duplicates := l.count(); executed != 1 || twice != 1 || duplicates != 0 {
			t.Errorf("got %d executed, %d twice, %d duplicates, want 1, 1, 0", executed, twice, duplicates)
		}
	})
}

// TestWorkIsThatOfTheRequest wants both groups to work equally long at a call.
func TestWorkIsThatOfTheRequest(t *testing.T) {
	a, b, c := &server{name: "a", seed: 1}, &server{name: "b", seed: 1}, &server{seed: 2}
	other, sum := 0, 0.0
	for i := range 1000 {
		r := post(t.Context(), i)
		work := a.work(r)
		if got := b.work(r); got != work {
			t.Fatalf("call %d: got %v and %v, want the same everywhere", i, work, got)
		}
		if c.work(r) != work {
			other++
		}
		sum += work.Seconds()
	}
	if other < 990 {
		t.Errorf("got %d of 1000 that depend on the seed, want all", other)
	}
	// The mean of a lognormal time is above its median.
	if mean := sum / 1000; mean < serviceTime.Seconds() || mean > 1.2*serviceTime.Seconds() {
		t.Errorf("got a mean of %v s, want a little over %v", mean, serviceTime)
	}
	if got := a.work(httptest.NewRequest(http.MethodGet, "/", nil)); got != serviceTime {
		t.Errorf("a request without a number: got %v, want %v", got, serviceTime)
	}
}

// TestGroup kills a server of a real group: its connections break, its port
// refuses, the others answer, and the next one can join.
func TestGroup(t *testing.T) {
	g, err := newGroup(1, 3, 2)
	if err != nil {
		t.Fatal(err)
	}
	defer g.close()
	rt := new(http.Transport)
	defer rt.CloseIdleConnections()
	get := func(s *server) string {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+s.addr+"/v1/users/1", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := rt.RoundTrip(req)
		if err != nil {
			return "error"
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return string(body)
	}
	for _, s := range g.members() {
		if got, want := get(s), s.name+"\n"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	g.servers[0].become(killed)
	if got := get(g.servers[0]); got != "error" {
		t.Errorf("a killed server: got %q, want an error", got)
	}
	if err := g.start(); err != nil {
		t.Fatal(err)
	}
	if got, want := get(g.servers[2]), "s3\n"; got != want {
		t.Errorf("the one that joined: got %q, want %q", got, want)
	}
	if err := g.start(); err == nil || len(g.members()) != 3 {
		t.Errorf("got %v and %d members, want an error as all 3 are started", err, len(g.members()))
	}
}
