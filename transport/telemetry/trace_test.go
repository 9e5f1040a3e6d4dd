package telemetry_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/transport/telemetry"
)

// tellAll tells a call one thing of each kind.
func tellAll(c *telemetry.Call) {
	c.Routed(telemetry.Route{Destination: "users-b", Rule: "r1", Override: "canary"})
	c.Breaker("half_open")
	c.Waited(telemetry.Wait{For: "rate", Time: time.Millisecond, Error: "gave up"})
	c.Picked(telemetry.Pick{Attempt: 1, Endpoint: "a:1", Candidates: []telemetry.Candidate{
		{Addr: "a:1", Cost: 0.5}, {Addr: "b:1", Cost: 2, Avoided: "ejected"},
	}})
	c.Repeat(telemetry.Repeat{Granted: true, Reason: "lost", Wait: 2 * time.Millisecond, Budget: 3})
	c.Refused("open")
}

// hooks writes what it is told to out, after a mark.
func hooks(out *[]string, mark string) *telemetry.Trace {
	say := func(format string, args ...any) { *out = append(*out, mark+fmt.Sprintf(format, args...)) }
	return &telemetry.Trace{
		CallStart:      func(s string, f telemetry.Facts) { say("start %s %s %s", s, f.Method, f.URL) },
		Routed:         func(r telemetry.Route) { say("%+v", r) },
		Waited:         func(w telemetry.Wait) { say("%+v", w) },
		Picked:         func(p telemetry.Pick) { say("%+v", p) },
		AttemptDone:    func(a telemetry.Try) { say("%+v", a) },
		RetryDecision:  func(r telemetry.Repeat) { say("%+v", r) },
		BreakerRefused: func(s string) { say("refused %s", s) },
		CallDone:       func(r telemetry.Result) { say("done %d %v", r.Status, r.Err) },
	}
}

// The same facts reach the hooks, in order, and the record.
func TestTraceAndRecord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tel := newTelemetry(t, telemetry.Config{})
		var told []string
		var rec telemetry.Record
		ctx := telemetry.WithTrace(context.Background(), nil)
		ctx = telemetry.WithTrace(ctx, &telemetry.Trace{})
		ctx = telemetry.WithTrace(ctx, hooks(&told, ""))
		ctx = telemetry.WithRecord(ctx, &rec)
		svc := tel.Service("users")
		f := telemetry.Facts{Method: "GET", URL: parse(t, "http://users/v1?secret=1")}
		e := &tulle.Endpoint{Addr: "a:1"}

		got, call := svc.Start(ctx, &f)
		if got != ctx || !call.Detailed() {
			t.Fatalf("got another context or no detail")
		}
		tellAll(call)
		time.Sleep(time.Second)
		actx, att := call.Attempt(ctx, e, 1)
		time.Sleep(time.Second)
		r := telemetry.Result{Class: tulle.Unavailable, Status: 503, Err: errors.New("broken"), Elapsed: time.Second}
		svc.EndAttempt(actx, att, e, &r)
		if part := call.Record(); len(part.Tries) != 1 || part.Outcome != "" {
			t.Errorf("on the way: got %+v, want one try and no outcome", part)
		}
		r.Elapsed = 2 * time.Second
		svc.End(ctx, call, &f, &r)

		equal(t, "hooks", told, []string{
			"start users GET http://users/v1?secret=1",
			"{Destination:users-b Rule:r1 Override:canary}",
			"{For:rate Time:1ms Error:gave up}",
			"{Attempt:1 Endpoint:a:1 Candidates:[{Addr:a:1 Cost:0.5 Avoided:} {Addr:b:1 Cost:2 Avoided:ejected}]}",
			"{Granted:true Reason:lost Wait:2ms Budget:3}",
			"refused open",
			"{Attempt:1 Hedge:false Endpoint:a:1 Start:1s Time:1s Outcome:unavailable Status:503 Error:broken}",
			"done 503 broken",
		})
		text, err := json.Marshal(rec)
		if err != nil {
			t.Fatal(err)
		}
		const want = `{"time":"2000-01-01T00:00:00Z","elapsed_ns":2000000000,"service":"users","method":"GET","path":"/v1",` +
			`"destination":"users-b","rule":"r1","override":"canary","breaker":"half_open","refused":1,` +
			`"waits":[{"for":"rate","time_ns":1000000,"error":"gave up"}],` +
			`"picks":[{"attempt":1,"endpoint":"a:1","candidates":[{"addr":"a:1","cost":0.5},{"addr":"b:1","cost":2,"avoided":"ejected"}]}],` +
			`"tries":[{"attempt":1,"endpoint":"a:1","start_ns":1000000000,"time_ns":1000000000,"outcome":"unavailable","status":503,"error":"broken"}],` +
			`"repeats":[{"granted":true,"reason":"lost","wait_ns":2000000,"budget":3}],` +
			`"outcome":"unavailable","status":503,"error":"broken"}`
		if g := strings.Replace(string(text), rec.Time.Format(time.RFC3339), "2000-01-01T00:00:00Z", 1); g != want {
			t.Errorf("record: got\n%s\nwant\n%s", g, want)
		}
		if len(tel.Records(telemetry.Filter{})) != 0 {
			t.Error("a record that was not sampled was kept")
		}
	})
}

// Hooks that are added later run after those that are there.
func TestTraceJoins(t *testing.T) {
	tel := newTelemetry(t, telemetry.Config{})
	var told []string
	ctx := telemetry.WithTrace(context.Background(), hooks(&told, "1 "))
	ctx = telemetry.WithTrace(ctx, hooks(&told, "2 "))
	f := telemetry.Facts{Protocol: telemetry.GRPC, Method: "a.B/C"}
	ctx, call := tel.Service("users").Start(ctx, &f)
	tellAll(call)
	tel.Service("users").End(ctx, call, &f, &telemetry.Result{})
	if len(told) != 14 {
		t.Fatalf("got %d lines, want 14: %v", len(told), told)
	}
	for i, line := range told {
		if want := fmt.Sprint(i%2+1, " "); !strings.HasPrefix(line, want) {
			t.Errorf("line %d: got %q, want it to begin with %q", i, line, want)
		}
	}
}

// So many calls a second are kept, and the latest only.
func TestSampledRecords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tel := newTelemetry(t, telemetry.Config{Sample: 2, Keep: 4})
		svc := tel.Service("users")
		for i := range 100 { // a call every 100 ms
			r := ok(200 + i)
			f := telemetry.Facts{URL: parse(t, fmt.Sprintf("http://users/%d", i))}
			ctx, call := svc.Start(context.Background(), &f)
			if call.Detailed() != (i%5 == 0) {
				t.Errorf("call %d: got %v", i, call.Detailed())
			}
			svc.End(ctx, call, &f, &r)
			time.Sleep(100 * time.Millisecond)
		}
		var got []string
		for _, r := range tel.Records(telemetry.Filter{}) {
			got = append(got, r.Path)
		}
		equal(t, "kept", got, []string{"/95", "/90", "/85", "/80"})
	})
}

func TestFilter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tel := newTelemetry(t, telemetry.Config{Sample: 1000})
		for _, c := range []struct {
			service, path string
			r             telemetry.Result
		}{
			{"users", "/a", telemetry.Result{Class: tulle.Answered, Status: 200}},
			{"users", "/ab", telemetry.Result{Class: tulle.Unavailable, Status: 503}},
			{"orders", "/b", telemetry.Result{Class: tulle.Failed, Status: 500}},
			{"orders", "/a", telemetry.Result{Class: tulle.Unsent, Err: errors.New("x")}},
		} {
			f := telemetry.Facts{URL: parse(t, "http://x"+c.path)}
			ctx, call := tel.Service(c.service).Start(context.Background(), &f)
			tel.Service(c.service).End(ctx, call, &f, &c.r)
			time.Sleep(time.Second)
		}
		for _, tt := range []struct {
			f    telemetry.Filter
			want string
		}{
			{telemetry.Filter{}, "orders/a orders/b users/ab users/a"},
			{telemetry.Filter{Service: "users"}, "users/ab users/a"},
			{telemetry.Filter{Path: "/a"}, "orders/a users/ab users/a"},
			{telemetry.Filter{Status: 5}, "orders/b users/ab"},
			{telemetry.Filter{Status: 503}, "users/ab"},
			{telemetry.Filter{Failed: true}, "orders/a orders/b users/ab"},
			{telemetry.Filter{Failed: true, Path: "/a", Limit: 1}, "orders/a"},
			{telemetry.Filter{Service: "nobody"}, ""},
		} {
			var got []string
			for _, r := range tel.Records(tt.f) {
				got = append(got, r.Service+r.Path)
			}
			if g := strings.Join(got, " "); g != tt.want {
				t.Errorf("%+v: got %q, want %q", tt.f, g, tt.want)
			}
		}
	})
}

// The lists of a record are bounded, and those of hooks are not cut.
func TestRecordBounds(t *testing.T) {
	tel := newTelemetry(t, telemetry.Config{})
	var rec telemetry.Record
	most := 0
	ctx := telemetry.WithTrace(telemetry.WithRecord(context.Background(), &rec), &telemetry.Trace{
		Picked: func(p telemetry.Pick) { most = max(most, len(p.Candidates)) },
	})
	f := telemetry.Facts{URL: parse(t, "http://users/")}
	svc := tel.Service("users")
	ctx, call := svc.Start(ctx, &f)
	for i := range 100 {
		call.Picked(telemetry.Pick{Attempt: i, Candidates: make([]telemetry.Candidate, 100)})
		call.Waited(telemetry.Wait{})
		call.Repeat(telemetry.Repeat{})
		_, att := call.Attempt(ctx, nil, i)
		svc.EndAttempt(ctx, att, nil, &telemetry.Result{})
	}
	svc.End(ctx, call, &f, &telemetry.Result{})
	if got := []int{len(rec.Picks), len(rec.Picks[0].Candidates), len(rec.Waits), len(rec.Repeats), len(rec.Tries)}; fmt.Sprint(got) != "[32 32 32 32 32]" {
		t.Errorf("got lengths %v, want 32 each", got)
	}
	if most != 100 {
		t.Errorf("hooks: got %d candidates, want 100", most)
	}
}

// Attempts of one call may end at the same time, records are read meanwhile.
func TestConcurrentRecords(t *testing.T) {
	tel := newTelemetry(t, telemetry.Config{Sample: 100_000, Keep: 8})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			svc := tel.Service("users")
			for range 200 {
				f := telemetry.Facts{URL: parse(t, "http://users/x")}
				ctx, call := svc.Start(context.Background(), &f)
				var two sync.WaitGroup
				for n := range 2 {
					two.Go(func() {
						r := ok(200)
						actx, att := call.Hedge(ctx, nil, n)
						tellAll(call)
						svc.EndAttempt(actx, att, nil, &r)
					})
				}
				two.Wait()
				r := ok(200)
				svc.End(ctx, call, &f, &r)
				for _, rec := range tel.Records(telemetry.Filter{Service: "users"}) {
					if rec.Status != 200 || len(rec.Tries) != 2 {
						t.Errorf("got %+v, want 200 and two tries", rec)
					}
				}
			}
		})
	}
	wg.Wait()
}
