package deadline_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/tullemesh/tulle/transport/deadline"
)

// A client of its own: what takes too long ends as an expired deadline.
func ExampleNew() {
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		<-r.Context().Done()
	}))
	defer server.Close()

	l, err := deadline.New(deadline.Config{Timeout: 20 * time.Millisecond})
	if err != nil {
		fmt.Println(err)
		return
	}
	client := &http.Client{Transport: l.Wrap(nil)}
	_, err = client.Get(server.URL)
	fmt.Println(errors.Is(err, context.DeadlineExceeded), errors.Is(err, deadline.ErrCall))
	// Output: true true
}

// The header's syntax is that of grpc-timeout.
func ExampleParse() {
	d, err := deadline.Parse("1500m")
	fmt.Println(d, err)
	_, err = deadline.Parse("1.5S")
	fmt.Println(err != nil)
	// Output:
	// 1.5s <nil>
	// true
}
