package retry_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/retry"
)

// flaky is a server that is overloaded twice and then well.
func flaky() *httptest.Server {
	requests := 0
	return httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if requests++; requests < 3 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		_, _ = fmt.Fprintf(w, "answer %d", requests)
	}))
}

func ExampleNew() {
	server := flaky()
	defer server.Close()

	r, err := retry.New(retry.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	client := &http.Client{Transport: r.Wrap(server.Client().Transport)}
	resp, err := client.Get(server.URL)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = resp.Body.Close() }()
	fmt.Println(resp.Status)
	// Output: 200 OK
}

// What cannot be used is refused, each field by its name.
func ExampleNew_invalid() {
	_, err := retry.New(retry.Config{Attempts: 50, Idempotent: []string{"PUT", "DELETE ALL"}})
	fmt.Println(err)
	// Output:
	// retry: Attempts 50: want 1 to 10, or 0 for the default
	// retry: Idempotent "DELETE ALL": want an HTTP method, or /service/method of gRPC
}

// A Condition decides in place of the outcome table. This one has a 500 treated
// like a 503, for a service that is known to answer so when it is overloaded.
func ExampleConfig_condition() {
	r, err := retry.New(retry.Config{Condition: func(call *tulle.Call) tulle.Repetition {
		if call.Last.Status == http.StatusInternalServerError {
			return tulle.RepeatSafe
		}
		return call.Last.Class.Repetition()
	}})
	if err != nil {
		fmt.Println(err)
		return
	}
	call := &tulle.Call{Safe: true, Attempt: 1, Last: tulle.Outcome{Class: tulle.Failed, Status: 500}}
	_, again := r.Next(call, 0, time.Second)
	fmt.Println(again)
	// Output: true
}

// A tenth of the calls may be repeated, and nothing else.
func ExampleNewBudget() {
	b, err := retry.NewBudget(retry.BudgetConfig{Ratio: 0.1, PerSecond: -1})
	if err != nil {
		fmt.Println(err)
		return
	}
	now := 3 * time.Second
	for range 20 {
		b.Deposit(now)
	}
	for range 3 {
		_, ok := b.Withdraw(now)
		fmt.Println(ok)
	}
	fmt.Println(b.Balance(now + 10*time.Second))
	// Output:
	// true
	// true
	// false
	// 0
}
