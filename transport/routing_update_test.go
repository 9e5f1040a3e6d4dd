package transport_test

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tullemesh/tulle/discovery"
	"github.com/tullemesh/tulle/transport"
	"github.com/tullemesh/tulle/transport/route"
)

// environmentsOf is a Config with a service in environments, called in the first.
func environmentsOf(base http.RoundTripper, environments ...string) transport.Config {
	return transport.Config{
		Base: base, Environment: environments[0],
		Services: map[string]transport.Service{"svc": {Environments: places(environments...)}},
	}
}

// Environments come and go; what is known of those that stay, stays.
func TestUpdateEnvironments(t *testing.T) {
	rt := newTransport(t, environmentsOf(who, "test", "staging"))
	in := func(env string) context.Context {
		return route.With(t.Context(), route.Override{Service: "svc", Environment: env})
	}
	for range 5 {
		for _, env := range []string{"test", "staging"} {
			if got, err := ask(in(env), rt, "GET", "http://svc/"); err != nil || got != env+":1" {
				t.Fatalf("got %s, %v", got, err)
			}
		}
	}
	for _, test := range []struct {
		environments []string
		want         map[string]uint64
	}{
		{[]string{"test", "staging", "qa"}, map[string]uint64{"test": 5, "staging": 5, "qa": 0}},
		{[]string{"staging", "qa"}, map[string]uint64{"staging": 5, "qa": 0}},
		{[]string{"qa", "test", "staging"}, map[string]uint64{"staging": 5, "qa": 0, "test": 0}},
	} {
		if err := rt.Update(environmentsOf(who, test.environments...)); err != nil {
			t.Fatal(err)
		}
		if err := rt.Ready(t.Context()); err != nil {
			t.Fatal(err)
		}
		got := map[string]uint64{}
		for _, s := range rt.Snapshot().Services {
			got[s.Environment] = 0
			for _, e := range s.Endpoints {
				got[s.Environment] += e.Attempts
			}
		}
		if !maps.Equal(got, test.want) {
			t.Errorf("%v: got %v, want %v", test.environments, got, test.want)
		}
	}
	if got, err := ask(t.Context(), rt, "GET", "http://svc/"); err != nil || got != "qa:1" {
		t.Errorf("the new home: got %s, %v", got, err)
	}
}

// A service that gets environments, or loses them, keeps what is known of the
// source that it had; another source in its place starts clean, lest calls for one
// environment go to the endpoints of another.
func TestUpdateIntoEnvironments(t *testing.T) {
	prod := endpoints("prod:1")
	config := func(s transport.Service) transport.Config {
		return transport.Config{Base: who, Environment: "prod", Services: map[string]transport.Service{"svc": s}}
	}
	apart := transport.Service{Environments: map[string]transport.Destination{"staging": at("staging:1"), "prod": {Resolver: prod}}}
	rt := newTransport(t, config(transport.Service{Resolver: prod}))
	call := func(want string, known uint64) {
		t.Helper()
		if got, err := ask(t.Context(), rt, "GET", "http://svc/"); err != nil || got != want {
			t.Errorf("got %s, %v, want %s", got, err, want)
		}
		if got := attempts(rt)[want]; got != known {
			t.Errorf("%s: got %d attempts known, want %d", want, got, known)
		}
	}
	update := func(s transport.Service, environment string) {
		t.Helper()
		cfg := config(s)
		cfg.Environment = environment
		if err := rt.Update(cfg); err != nil {
			t.Fatal(err)
		}
	}
	call("prod:1", 1)
	update(apart, "prod")
	call("prod:1", 2)
	update(transport.Service{Resolver: prod}, "prod")
	call("prod:1", 3)
	update(transport.Service{Environments: places("staging")}, "staging")
	call("staging:1", 1)
	update(transport.Service{Resolver: prod}, "staging")
	call("prod:1", 1)
}

// Environments that move under load fail no call.
func TestUpdateEnvironmentsUnderLoad(t *testing.T) {
	rt := newTransport(t, environmentsOf(who, "test", "staging"))
	var callers sync.WaitGroup
	stop := make(chan struct{})
	for range 8 {
		callers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if got, err := ask(t.Context(), rt, "POST", "http://svc/"); err != nil || got != "test:1" && got != "staging:1" && got != "svc:1" {
					t.Errorf("got %s, %v", got, err)
					return
				}
			}
		})
	}
	for i := range 60 {
		cfg := environmentsOf(who, []string{"test", "staging"}[i%2], "qa")
		if i%3 == 0 {
			cfg = ruled(who)
		}
		if i%2 == 0 {
			cfg.Rules = []route.Rule{{Match: under("/x"), Timeout: time.Second}}
		}
		if err := rt.Update(cfg); err != nil {
			t.Fatal(err)
		}
	}
	close(stop)
	callers.Wait()
}

// A call that waits for the first report of a source gets it, also when an Update
// has taken the service away; and Close does not leave it waiting.
func TestWaitingCallsAreNotLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reported := discovery.Update{Endpoints: endpoints("late:1")}
		for _, test := range []struct {
			name  string
			then  func(*transport.Transport) error
			after time.Duration
			want  error
		}{
			{"Update", func(rt *transport.Transport) error { return rt.Update(transport.Config{Base: who}) }, time.Second, nil},
			{"Close", func(rt *transport.Transport) error { return rt.Close() }, 0, transport.ErrClosed},
			{"Update and Close", func(rt *transport.Transport) error {
				return errors.Join(rt.Update(transport.Config{Base: who}), rt.Close())
			}, 0, transport.ErrClosed},
		} {
			rt, err := transport.New(transport.Config{Base: who, Services: map[string]transport.Service{"svc": {Resolver: late(time.Second, reported)}}})
			if err != nil {
				t.Fatal(err)
			}
			begun, done := time.Now(), make(chan error, 1)
			go func() {
				_, err := ask(t.Context(), rt, "GET", "http://svc/")
				done <- err
			}()
			synctest.Wait()
			if err := test.then(rt); err != nil {
				t.Error(err)
			}
			if err := <-done; !errors.Is(err, test.want) || time.Since(begun) != test.after {
				t.Errorf("%s: the call got %v after %v, want %v after %v", test.name, err, time.Since(begun), test.want, test.after)
			}
			if err := rt.Close(); err != nil {
				t.Error(err)
			}
		}
	})
}
