package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tullemesh/tulle/examples/internal/show"
)

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

// TestSendNoAnswer wants the error of a transport to be that of the call.
func TestSendNoAnswer(t *testing.T) {
	refused := errors.New("refused")
	c := &client{base: func() string { return "http://users" }}
	c.http = &http.Client{Transport: roundTrip(func(*http.Request) (*http.Response, error) { return nil, refused })}
	if err := c.send(t.Context(), 1, false); !errors.Is(err, refused) {
		t.Errorf("got %v, want %v", err, refused)
	}
}

// request is one as the load makes it.
func request(ctx context.Context, method string, number int) *http.Request {
	r := httptest.NewRequestWithContext(ctx, method, fmt.Sprintf("/v1/users/%d", number), strings.NewReader("{}"))
	r.Header.Set("Idempotency-Key", fmt.Sprintf("key-%d", number))
	return r
}

// serve has s answer and tells how long it took; a status of 0 is no answer.
func serve(s *show.Server, r *http.Request) (status int, took time.Duration) {
	w := &answered{ResponseRecorder: httptest.NewRecorder()}
	begin := time.Now()
	handler{s}.ServeHTTP(w, r)
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

// TestHandler wants the modes of a server told in the words of HTTP, or not at all.
func TestHandler(t *testing.T) {
	for _, tt := range []struct {
		mode   show.Mode
		status int
	}{
		{show.Healthy, http.StatusOK},
		{show.Slow, 0},
		{show.Unavailable, http.StatusServiceUnavailable},
		{show.Killed, 0},
		{show.Silent, 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), show.Deadline)
			defer cancel()
			s := show.NewServer("s1", 1, newHost)
			s.Become(tt.mode)
			if status, _ := serve(s, request(ctx, http.MethodPost, 1)); status != tt.status {
				t.Errorf("mode %d: got status %d, want %d", tt.mode, status, tt.status)
			}
		})
	}
}

// TestHandlerKey wants the key of a POST, and of a POST alone, to say that it is a
// write: the answer to a second one is stored, and even a slow server has it at once.
func TestHandlerKey(t *testing.T) {
	for method, stored := range map[string]bool{http.MethodPost: true, http.MethodGet: false} {
		synctest.Test(t, func(t *testing.T) {
			s := show.NewServer("s1", 1, newHost)
			serve(s, request(t.Context(), method, 1))
			s.Become(show.Slow)
			status, took := serve(s, request(t.Context(), method, 1))
			if status != http.StatusOK || (took == 0) != stored {
				t.Errorf("%s: got status %d after %v, want a stored answer: %v", method, status, took, stored)
			}
		})
	}
}

// TestHandlerNumber wants the path to name the call: the service time depends on it.
func TestHandlerNumber(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := show.NewServer("s1", 1, newHost)
		times := map[time.Duration]bool{}
		for i := range 10 {
			_, took := serve(s, request(t.Context(), http.MethodGet, i))
			times[took] = true
		}
		if len(times) != 10 {
			t.Errorf("got %d service times of 10 calls, want 10", len(times))
		}
	})
}

// TestHost kills a server of its own: its connections break and its port refuses.
func TestHost(t *testing.T) {
	s := show.NewServer("s1", 1, newHost)
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	rt := new(http.Transport)
	defer rt.CloseIdleConnections()
	get := func() string {
		resp, err := rt.RoundTrip(httptest.NewRequest(http.MethodGet, "http://"+s.Addr()+"/v1/users/1", nil))
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
	if got := get(); got != "s1\n" {
		t.Errorf("got %q, want s1", got)
	}
	s.Become(show.Killed)
	if got := get(); got != "error" {
		t.Errorf("a killed server: got %q, want an error", got)
	}
}
