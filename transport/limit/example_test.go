package limit_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"time"

	"golang.org/x/time/rate"

	"github.com/tullemesh/tulle/transport/limit"
)

// Fifty calls a second; what is over that waits for up to a second.
func Example() {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprint(w, "hello")
	}))
	defer server.Close()

	l, err := limit.New(limit.Config{Rate: 50, MaxWait: time.Second})
	if err != nil {
		fmt.Println(err)
		return
	}
	client := &http.Client{Transport: l.Wrap(nil)}
	defer client.CloseIdleConnections()
	resp, err := client.Get(server.URL)
	if err != nil {
		fmt.Println(err)
		return
	}
	_ = resp.Body.Close()
	fmt.Println(resp.Status)
	// Output: 200 OK
}

// Each tenant may make two calls at once, and one a minute after that.
func ExampleNew() {
	l, err := limit.New(limit.Config{
		Rate:  1.0 / 60,
		Burst: 2,
		Key:   func(r *http.Request) string { return r.Header.Get("Tenant") },
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, tenant := range []string{"a", "a", "a", "b"} {
		req, _ := http.NewRequest(http.MethodGet, "http://users/", nil)
		req.Header.Set("Tenant", tenant)
		err := l.Acquire(context.Background(), l.Key(req), time.Time{})
		fmt.Println(tenant, errors.Is(err, limit.ErrLimited))
	}
	// Output:
	// a false
	// a false
	// a true
	// b false
}

// A limit is tried out on real traffic, and put in force when the numbers are
// right.
func ExampleLimiter_Update() {
	cfg := limit.Config{Rate: 0.1, Burst: 3, Dark: true}
	l, err := limit.New(cfg)
	if err != nil {
		fmt.Println(err)
		return
	}
	for range 5 {
		if err := l.Acquire(context.Background(), "", time.Time{}); err != nil {
			fmt.Println(err)
		}
	}
	s := l.Stats()
	fmt.Println(s.Admitted, s.DarkRefused)

	cfg.Dark = false
	if err := l.Update(cfg); err != nil {
		fmt.Println(err)
	}
	err = l.Acquire(context.Background(), "", time.Time{})
	fmt.Println(errors.Is(err, limit.ErrLimited))
	// Output:
	// 3 2
	// true
}

// A limiter of one's own decides, here one that several Limiters share.
func ExampleSourceFunc() {
	shared := rate.NewLimiter(rate.Every(time.Hour), 3)
	source := limit.SourceFunc(func(_ context.Context, _ string, now time.Time) (time.Duration, error) {
		if shared.AllowN(now, 1) {
			return 0, nil
		}
		return time.Minute, nil
	})
	for _, name := range []string{"users", "orders"} {
		l, err := limit.New(limit.Config{Source: source})
		if err != nil {
			fmt.Println(err)
			return
		}
		for range 2 {
			err := l.Acquire(context.Background(), "", time.Time{})
			fmt.Println(name, errors.Is(err, limit.ErrLimited))
		}
	}
	// Output:
	// users false
	// users false
	// orders false
	// orders true
}
