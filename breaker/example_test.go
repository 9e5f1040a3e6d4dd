package breaker_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/breaker"
)

// A service that is down is asked three times and then left alone.
func ExampleNew() {
	asked := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked++
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	defer server.Close()

	b, err := breaker.New(breaker.Config{Requests: 3})
	if err != nil {
		fmt.Println(err)
		return
	}
	client := &http.Client{Transport: b.Wrap(nil)}
	for range 5 {
		resp, err := client.Get(server.URL)
		if errors.Is(err, breaker.ErrOpen) {
			fmt.Println("not asked")
			continue
		}
		if err != nil {
			fmt.Println(err)
			return
		}
		_ = resp.Body.Close()
		fmt.Println(resp.Status)
	}
	fmt.Println("asked", asked, "times")
	// Output:
	// 503 Service Unavailable
	// 503 Service Unavailable
	// 503 Service Unavailable
	// not asked
	// not asked
	// asked 3 times
}

// One client for many hosts: one that is down does not keep callers from the
// others.
func ExampleNewGroup() {
	up := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer up.Close()
	down := httptest.NewServer(nil)
	down.Close() // connections to it are refused from now on

	g, err := breaker.NewGroup(breaker.GroupConfig{
		Config: breaker.Config{Requests: 1},
		Key:    func(req *http.Request) string { return req.URL.Host },
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	client := &http.Client{Transport: g.Wrap(nil)}
	for _, url := range []string{down.URL, down.URL, up.URL} {
		resp, err := client.Get(url)
		if err == nil {
			_ = resp.Body.Close()
		}
		fmt.Println(err == nil, errors.Is(err, breaker.ErrOpen))
	}
	// Output:
	// false false
	// false true
	// true false
}

// The core, for calls that are not HTTP.
func ExampleBreaker_Allow() {
	b, err := breaker.New(breaker.Config{
		Requests: 1,
		OnChange: func(c breaker.Change) { fmt.Println(c.From, "to", c.To) },
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	call := func() error {
		ticket, err := b.Allow()
		if err != nil {
			return err
		}
		defer ticket.Cancel() // for every way out that says nothing of the service
		ticket.Done(tulle.Outcome{Class: tulle.Unavailable})
		return errors.New("the service is down")
	}
	fmt.Println(call())
	fmt.Println(errors.Is(call(), breaker.ErrOpen))
	// Output:
	// closed to open
	// the service is down
	// true
}
