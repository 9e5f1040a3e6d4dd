package tulle_test

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/tullemesh/tulle"
)

func ExampleParseRetryAfter() {
	now := time.Date(2026, time.March, 4, 12, 0, 0, 0, time.UTC)
	for _, value := range []string{"120", "Wed, 04 Mar 2026 12:00:30 GMT", "Wed, 04 Mar 2026 11:00:00 GMT", "soon"} {
		wait, ok := tulle.ParseRetryAfter(value, now)
		fmt.Println(wait, ok)
	}
	// Output:
	// 2m0s true
	// 30s true
	// 0s true
	// 0s false
}

func ExampleClassifyHTTP() {
	throttled := &http.Response{StatusCode: http.StatusServiceUnavailable, Header: http.Header{"Retry-After": {"3"}}}
	o := tulle.ClassifyHTTP(tulle.HTTPFacts{Response: throttled, Now: time.Now()})
	fmt.Println(o.Class, o.RetryAfter)

	// The caller's deadline was up after 20 ms. That is no time to wait, so
	// nobody is to blame, and after a second somebody is.
	f := tulle.HTTPFacts{Err: context.DeadlineExceeded, Ended: context.DeadlineExceeded, Reach: tulle.HadConnection}
	f.Elapsed = 20 * time.Millisecond
	fmt.Println(tulle.ClassifyHTTP(f).Class)
	f.Elapsed = time.Second
	fmt.Println(tulle.ClassifyHTTP(f).Class)
	// Output:
	// throttled 3s
	// ignored
	// timed_out
}

// A layer that classifies reports to the call in the context; the first report
// of an attempt counts.
func ExampleCall() {
	call := new(tulle.Call)
	ctx := tulle.WithCall(context.Background(), call)

	call.Begin()
	tulle.CallFrom(ctx).Report(tulle.Outcome{Class: tulle.Unavailable, Status: 503}) // the layer next to the wire
	tulle.CallFrom(ctx).Report(tulle.Outcome{Class: tulle.Answered})                 // one further up, that knows less
	fmt.Println(call.Attempt, call.Last.Class, call.Last.Status)
	// Output: 1 unavailable 503
}

func ExampleEndpoint_Validate() {
	for _, addr := range []string{"10.0.0.1:8080", "[2001:db8::1]:80", "users@10.0.0.1", "users:http"} {
		e := tulle.Endpoint{Addr: addr}
		fmt.Println(e.Validate())
	}
	// Output:
	// <nil>
	// <nil>
	// tulle: endpoint addr "users@10.0.0.1": "@" cannot stand in a host
	// tulle: endpoint addr "users:http": port "http": want 1 to 65535
}
