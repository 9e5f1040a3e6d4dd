package transport_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/breaker"
	"github.com/tullemesh/tulle/discovery"
	"github.com/tullemesh/tulle/retry"
	"github.com/tullemesh/tulle/transport"
	"github.com/tullemesh/tulle/transport/limit"
	"github.com/tullemesh/tulle/transport/route"
)

// who is a Base whose endpoints tell their address.
var who = fleet(func(req *http.Request, addr string) (*http.Response, error) { return answer(req, 200, addr), nil })

// at is a destination of one endpoint.
func at(addrs ...string) transport.Destination {
	return transport.Destination{Resolver: endpoints(addrs...)}
}

// places are destinations with one endpoint each, whose address is the
// environment's name.
func places(environments ...string) map[string]transport.Destination {
	all := make(map[string]transport.Destination)
	for _, env := range environments {
		all[env] = at(env + ":1")
	}
	return all
}

// ask makes a call to http://svc/ and says who answered, or the error.
func ask(ctx context.Context, rt http.RoundTripper, method, url string, headers ...string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, method, url, nil)
	if err != nil {
		return "", err
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := rt.RoundTrip(req)
	if err != nil {
		return "", err
	}
	if resp.Request != req {
		return "", errors.New("resp.Request is not the caller's")
	}
	text, err := readAll(resp)
	if resp.StatusCode != http.StatusOK {
		text = fmt.Sprintf("%d %s", resp.StatusCode, text)
	}
	return text, err
}

func TestEnvironments(t *testing.T) {
	open := false
	environments := map[string]route.Environment{
		"local":   {Fallback: []string{"staging", "prod"}},
		"staging": {Fallback: []string{"prod"}, FallbackWrites: []string{"prod"}},
		"test":    {Fallback: []string{"staging"}},
		"qa":      {Fallback: []string{"open"}},
		"open":    {Protected: &open},
		"prod":    {},
	}
	for _, test := range []struct {
		name, home, own string
		in              []string
		reads, writes   string // the environment, or the error's
	}{
		{"prod when nobody says", "", "", []string{"prod", "staging"}, "prod", "prod"},
		{"the Config's", "staging", "", []string{"prod", "staging"}, "staging", "staging"},
		{"the service's own", "staging", "prod", []string{"prod", "staging"}, "prod", "prod"},
		{"fallback", "local", "", []string{"staging", "prod"}, "staging", "staging"},
		{"not followed further", "test", "", []string{"prod"}, "none", "none"},
		{"protected: to read only", "local", "", []string{"prod"}, "prod", "read only"},
		{"protected: with this very edge", "staging", "", []string{"prod"}, "prod", "prod"},
		{"prod in name, protected not", "qa", "", []string{"open"}, "open", "open"},
		{"nowhere", "prod", "", []string{"staging"}, "none", "none"},
	} {
		rt, err := transport.New(transport.Config{
			Base: who, Environment: test.home, Environments: environments,
			Services: map[string]transport.Service{"svc": {Environment: test.own, Environments: places(test.in...)}},
		})
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
			continue
		}
		for method, want := range map[string]string{"GET": test.reads, "HEAD": test.reads, "POST": test.writes, "DELETE": test.writes} {
			got, err := ask(t.Context(), rt, method, "http://svc/")
			if word := outcomeOf(got, err); word != want+":1" && word != want {
				t.Errorf("%s: %s: got %s, want %s", test.name, method, word, want)
			}
		}
		if ready := rt.Ready(t.Context()); (ready == nil) != (test.reads != "none") {
			t.Errorf("%s: got Ready %v", test.name, ready)
		}
		if err := rt.Close(); err != nil {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}

// outcomeOf names what became of a call.
func outcomeOf(text string, err error) string {
	var e *transport.Error
	switch {
	case err == nil:
		return text
	case !errors.As(err, &e) || e.Service != "svc":
		return "not an *Error of svc: " + err.Error()
	case errors.Is(err, route.ErrReadOnly):
		return "read only"
	case errors.Is(err, route.ErrNoDestination):
		return "none"
	}
	return err.Error()
}

// A call that finds nobody at home goes on to where it may fall back, and comes home
// when there is somebody again; writes do not follow into a protected environment.
// A lone endpoint, which is never left out of picks, is no exception.
func TestEnvironmentFailover(t *testing.T) {
	for _, n := range []int{1, 2} {
		synctest.Test(t, func(t *testing.T) {
			var home int // attempts
			down := true
			base := fleet(func(req *http.Request, addr string) (*http.Response, error) {
				if addr != "prod:1" {
					home++
					if down {
						return nil, errRefused
					}
				}
				return answer(req, 200, addr[:4]), nil
			})
			rt := newTransport(t, transport.Config{
				Base: base, Environment: "test",
				Environments: map[string]route.Environment{"test": {Fallback: []string{"prod"}, Failover: true}},
				Services: map[string]transport.Service{"svc": {Classify: refusals, Environments: map[string]transport.Destination{
					"test": at([]string{"test:1", "test:2"}[:n]...), "prod": at("prod:1"),
				}}},
			})
			for i := range 100 {
				if got, err := ask(t.Context(), rt, "GET", "http://svc/"); err != nil || got != "prod" {
					t.Fatalf("%d endpoints: GET %d while all are down: got %s, %v, want prod", n, i, got, err)
				}
			}
			if home > 10 {
				t.Errorf("%d endpoints: got %d attempts at what is down, want one call's", n, home)
			}
			if got, err := ask(t.Context(), rt, "POST", "http://svc/"); err == nil {
				t.Errorf("%d endpoints: POST while all are down: got %s", n, got)
			}
			down = false
			time.Sleep(10 * time.Second)
			req, _ := http.NewRequest("GET", "http://svc/", nil)
			if x := rt.Explain(t.Context(), req); x.Destination.Environment != "prod" {
				t.Errorf("%d endpoints: Explain takes a trial from a call: got %s", n, x.Destination.Environment)
			}
			for i := range 100 {
				if got, err := ask(t.Context(), rt, "GET", "http://svc/"); err != nil || got != "test" {
					t.Fatalf("%d endpoints: GET %d after all came back: got %s, %v, want test", n, i, got, err)
				}
			}
		})
	}
}

// A body goes to the second environment whole, if it can be had again.
func TestFailoverOfBodies(t *testing.T) {
	base := fleet(func(req *http.Request, addr string) (*http.Response, error) {
		text, err := io.ReadAll(req.Body)
		if addr == "test:1" {
			return nil, errRefused
		}
		return answer(req, 200, addr+" "+string(text)), err
	})
	for _, lost := range []bool{true, false} {
		rt := newTransport(t, transport.Config{
			Base: base, Environment: "test",
			Environments: map[string]route.Environment{"test": {Fallback: []string{"qa"}, Failover: true}},
			Services:     map[string]transport.Service{"svc": {Classify: refusals, Environments: places("test", "qa")}},
			Defaults:     transport.Policy{Timeout: time.Minute},
		})
		var info transport.Info
		req, _ := http.NewRequestWithContext(transport.WithCall(t.Context(), transport.AttemptInfo(&info)),
			"POST", "http://svc/", strings.NewReader("payload"))
		body := &closing{Reader: req.Body}
		req.Body = body
		if lost {
			req.GetBody = nil
		}
		resp, err := rt.RoundTrip(req)
		if !body.closed.Load() {
			t.Error("the body was not closed")
		}
		if lost {
			if err == nil {
				t.Errorf("a body that is lost: got %v", resp.Status)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if text, err := readAll(resp); err != nil || text != "qa:1 payload" || resp.Request != req || info.Endpoint.Addr != "qa:1" {
			t.Errorf("got %s, %v, info %+v", text, err, info)
		}
	}
}

// What may have reached somebody at home does not go on to another environment, also
// where nobody could be reached any more when it was repeated.
func TestFailoverOfWhatWasSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		attempts := 0
		base := fleet(func(req *http.Request, addr string) (*http.Response, error) {
			if addr != "test:1" {
				return answer(req, 200, addr), nil
			}
			if attempts++; attempts == 1 {
				return nil, io.ErrUnexpectedEOF
			}
			return nil, errRefused
		})
		rt := newTransport(t, transport.Config{
			Base: base, Environment: "test",
			Environments: map[string]route.Environment{"test": {Fallback: []string{"qa"}, Failover: true}},
			Services: map[string]transport.Service{"svc": {Environments: places("test", "qa"), Classify: func(f tulle.HTTPFacts) tulle.Outcome {
				if errors.Is(f.Err, io.ErrUnexpectedEOF) {
					return tulle.Outcome{Class: tulle.Lost, Err: f.Err}
				}
				return refusals(f)
			}}},
		})
		if got, err := ask(t.Context(), rt, "PUT", "http://svc/", "Idempotency-Key", "1"); err == nil || attempts < 2 {
			t.Errorf("got %q after %d attempts, want the error of home", got, attempts)
		}
		if got, err := ask(t.Context(), rt, "PUT", "http://svc/"); err != nil || got != "qa:1" {
			t.Errorf("the next call: got %q, %v, want qa:1", got, err)
		}
	})
}

// A fault delays a call once, wherever that ends.
func TestFailoverDelaysOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		base := fleet(func(req *http.Request, addr string) (*http.Response, error) {
			if addr == "test:1" {
				return nil, errRefused
			}
			return answer(req, 200, addr), nil
		})
		rt := newTransport(t, transport.Config{
			Base: base, Environment: "test",
			Environments: map[string]route.Environment{"test": {Fallback: []string{"qa"}, Failover: true}},
			Rules:        []route.Rule{{Fault: &route.Fault{Delay: time.Minute}}},
			Services:     map[string]transport.Service{"svc": {Classify: refusals, Environments: places("test", "qa"), Policy: transport.Policy{Retry: &retry.Config{Attempts: 1}}}},
		})
		began := time.Now()
		got, err := ask(t.Context(), rt, "GET", "http://svc/")
		if took := time.Since(began); err != nil || got != "qa:1" || took != time.Minute {
			t.Errorf("got %s, %v after %v, want qa:1 after the delay", got, err, took)
		}
	})
}

// closing is a body that knows whether it was closed.
type closing struct {
	io.Reader
	closed atomic.Bool
}

func (c *closing) Close() error {
	c.closed.Store(true)
	return nil
}

// A destination that is not known yet is waited for; that is no failure.
func TestFailoverWaitsForTheFirstReport(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reported := discovery.Update{Endpoints: endpoints("staging:1")}
		failed := discovery.Update{Err: errors.New("no such host")}
		for want, u := range map[string]discovery.Update{"staging:1": reported, "test:1": failed} {
			rt, err := transport.New(transport.Config{
				Base: who, Environment: "staging",
				Environments: map[string]route.Environment{"staging": {Fallback: []string{"test"}, Failover: true}},
				Services: map[string]transport.Service{"svc": {Environments: map[string]transport.Destination{
					"staging": {Resolver: late(time.Second, u)}, "test": at("test:1"),
				}}},
			})
			if err != nil {
				t.Fatal(err)
			}
			synctest.Wait() // the fallback is known
			first, err := ask(t.Context(), rt, "GET", "http://svc/")
			if want == "staging:1" && (err != nil || first != want) {
				t.Errorf("the first call: got %s, %v, want %s", first, err, want)
			}
			if got, err := ask(t.Context(), rt, "GET", "http://svc/"); err != nil || got != want {
				t.Errorf("after the first report: got %s, %v, want %s", got, err, want)
			}
			if err := rt.Close(); err != nil {
				t.Error(err)
			}
		}
	})
}

// With half of the endpoints of the first environment down, it serves 70 % of the
// calls, as 1.4 times its share.
func TestEnvironmentSpillOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		base := fleet(func(req *http.Request, addr string) (*http.Response, error) {
			if addr == "staging:3" || addr == "staging:4" {
				return nil, errRefused
			}
			return answer(req, 200, addr), nil
		})
		ejection := &breaker.OutlierConfig{Unsent: time.Minute}
		rt := newTransport(t, transport.Config{
			Base: base, Environment: "staging", Defaults: transport.Policy{Ejection: ejection},
			Environments: map[string]route.Environment{"staging": {Fallback: []string{"test"}, SpillOver: true}},
			Services: map[string]transport.Service{"svc": {Classify: refusals, Environments: map[string]transport.Destination{
				"staging": at("staging:1", "staging:2", "staging:3", "staging:4"), "test": at("test:1"),
			}}},
		})
		for range 100 { // until both are known to be down
			if _, err := ask(t.Context(), rt, "GET", "http://svc/"); err != nil {
				t.Fatal(err)
			}
		}
		spilled := 0
		const calls = 5000
		for range calls {
			got, err := ask(t.Context(), rt, "GET", "http://svc/")
			if err != nil {
				t.Fatal(err)
			}
			if got == "test:1" {
				spilled++
			}
		}
		if share := float64(spilled) / calls; share < 0.27 || share > 0.33 {
			t.Errorf("got %.3f of the calls in the fallback, want 0.3", share)
		}
	})
}

// Each destination has its own limit, policy, state and marks.
func TestEnvironmentsAreApart(t *testing.T) {
	var seen http.Header
	base := fleet(func(req *http.Request, addr string) (*http.Response, error) {
		seen = req.Header
		switch addr {
		case "bad:1":
			return answer(req, 503, addr), nil
		case "slow:1":
			return answer(req, 200, addr), sleep(req, time.Hour)
		}
		return answer(req, 200, addr+" "+req.Host), nil
	})
	env := places("prod", "bad", "slow", "limited", "theirs")
	limited, slow, theirs := env["limited"], env["slow"], env["theirs"]
	limited.Policy.Limit = &limit.Config{Rate: 1, Burst: 1}
	slow.Policy.Timeout = 20 * time.Millisecond
	theirs.External, theirs.Host = true, "their.example"
	env["limited"], env["slow"], env["theirs"] = limited, slow, theirs
	rt := newTransport(t, transport.Config{
		Base:     base,
		Services: map[string]transport.Service{"svc": {Host: "our.example", Environments: env, Policy: transport.Policy{Timeout: time.Minute}}},
		Override: route.OverridePolicy{CodeProtected: true},
	})
	to := func(env string) context.Context {
		return route.With(t.Context(), route.Override{Service: "svc", Environment: env})
	}
	for range 30 { // which opens the breaker of one destination only
		_, _ = ask(to("bad"), rt, "GET", "http://svc/")
	}
	if _, err := ask(to("limited"), rt, "GET", "http://svc/"); err != nil {
		t.Errorf("within the limit: %v", err)
	}
	if _, err := ask(to("limited"), rt, "GET", "http://svc/"); !errors.Is(err, limit.ErrLimited) {
		t.Errorf("over the limit: got %v", err)
	}
	if _, err := ask(to("slow"), rt, "GET", "http://svc/"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("over the timeout of its destination: got %v", err)
	}
	if got, err := ask(to("prod"), rt, "GET", "http://svc/"); err != nil || got != "prod:1 our.example" || seen.Get("Tulle-Timeout") == "" {
		t.Errorf("prod: got %s, %v, header %v", got, err, seen)
	}
	got, err := ask(to("theirs"), rt, "GET", "http://svc/", "Tulle-Route", "svc=theirs", "Baggage", "a=b,tulle-route=svc%3Dtheirs", "Tulle-Attempt", "2")
	if err != nil || got != "theirs:1 their.example" {
		t.Errorf("theirs: got %s, %v", got, err)
	}
	for name := range seen {
		if name != "Baggage" || seen.Get(name) != "a=b" {
			t.Errorf("theirs: %s: %q was sent", name, seen[name])
		}
	}
	opened := map[string]bool{}
	for _, s := range rt.Snapshot().Services {
		opened[s.Environment] = s.BreakerOpened > 0
	}
	if len(opened) != 5 || !opened["bad"] || opened["prod"] {
		t.Errorf("got breakers that opened %v, want that of bad", opened)
	}
}

// A destination has TLS settings and a server name of its own.
func TestEnvironmentTLS(t *testing.T) {
	secure := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprint(w, r.TLS.ServerName)
	}))
	secure.Config.ErrorLog = log.New(io.Discard, "", 0) // it would tell of the certificate that we refuse
	secure.StartTLS()
	defer secure.Close()
	trust := secure.Client().Transport.(*http.Transport).TLSClientConfig
	addr := secure.Listener.Addr().String()
	rt := newTransport(t, transport.Config{
		Services: map[string]transport.Service{"svc": {Environments: map[string]transport.Destination{
			"prod": {Resolver: endpoints(addr), TLS: trust, TLSServerName: "example.com"}, "staging": at(addr),
		}}},
		Override: route.OverridePolicy{CodeProtected: true},
	})
	if got, err := ask(t.Context(), rt, "GET", "https://svc/"); err != nil || got != "example.com" {
		t.Errorf("got %s, %v", got, err)
	}
	staging := route.With(t.Context(), route.Override{Service: "svc", Environment: "staging"})
	if _, err := ask(staging, rt, "GET", "https://svc/"); err == nil {
		t.Error("a destination trusts whom another one does")
	}
}

// errRefused is a connection that nobody takes, and refusals a classifier that knows
// it from other errors.
var errRefused = errors.New("refused")

func refusals(f tulle.HTTPFacts) tulle.Outcome {
	if errors.Is(f.Err, errRefused) {
		return tulle.Outcome{Class: tulle.Unsent, Err: f.Err, Down: true}
	}
	return tulle.ClassifyHTTP(f)
}

// readAll reads and closes the body of a response.
func readAll(resp *http.Response) (string, error) {
	text, err := io.ReadAll(resp.Body)
	return string(text), errors.Join(err, resp.Body.Close())
}
