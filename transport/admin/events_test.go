package admin_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tullemesh/tulle/transport"
	"github.com/tullemesh/tulle/transport/admin"
)

// stream reads a stream for a time, which is virtual, and returns its events: the
// JSON by name.
func stream(t *testing.T, h http.Handler, path string, d time.Duration) (*httptest.ResponseRecorder, map[string][]string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	w := ask(ctx, h, "GET", path)
	events := map[string][]string{}
	for block := range strings.SplitSeq(w.Body.String(), "\n\n") {
		name := ""
		for line := range strings.SplitSeq(block, "\n") {
			if n, ok := strings.CutPrefix(line, "event: "); ok {
				name = n
			}
			if data, ok := strings.CutPrefix(line, "data: "); ok {
				events[name] = append(events[name], data)
			}
		}
	}
	return w, events
}

func TestEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		h := newHandler(t, f, admin.Config{})
		defer h.Close()
		var others sync.WaitGroup
		defer others.Wait()
		others.Go(func() {
			for _, state := range []string{"probing", "returning", "healthy"} {
				time.Sleep(1500 * time.Millisecond)
				f.change(func(s *transport.Snapshot) { s.Services[1].Endpoints[1].State = state })
			}
			f.change(func(s *transport.Snapshot) {
				s.Services[0].Breaker = "open"
				s.Services[1].DiscoveryError = "no"
			})
		})
		w, events := stream(t, h, "/events", 5500*time.Millisecond)
		if w.Code != 200 || !strings.HasPrefix(w.Header().Get("Content-Type"), "text/event-stream") || !w.Flushed {
			t.Errorf("got %d %s", w.Code, w.Header().Get("Content-Type"))
		}
		if len(events["pulse"]) != 6 {
			t.Fatalf("got %d pulses in 5.5 s, want 6", len(events["pulse"]))
		}
		var told []string
		for _, text := range events["pulse"] {
			var p admin.Pulse
			if err := json.Unmarshal([]byte(text), &p); err != nil {
				t.Fatal(err)
			}
			for _, c := range p.Changes {
				told = append(told, fmt.Sprint(c.Seq, " ", c.Kind, " ", c.Service, " ", c.From, ">", c.To))
			}
		}
		want := "1 endpoint users ejected>probing, 2 endpoint users probing>returning, " +
			"3 breaker orders closed>open, 4 discovery users working>failing, 5 endpoint users returning>healthy"
		if got := strings.Join(told, ", "); got != want {
			t.Errorf("got %s\nwant %s", got, want)
		}
	})
}

// A pulse stays small, whatever happens at once, and so does the list of changes.
func TestPulseIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := many(10, 100)
		h := newHandler(t, f, admin.Config{})
		defer h.Close()
		var others sync.WaitGroup
		defer others.Wait()
		others.Go(func() {
			time.Sleep(500 * time.Millisecond) // between two pulses
			for i := range 5 {
				time.Sleep(time.Second)
				state := []string{"ejected", "healthy"}[i%2]
				f.change(func(s *transport.Snapshot) {
					for k := range s.Services {
						for e := range s.Services[k].Endpoints {
							s.Services[k].Endpoints[e].State = state
						}
					}
				})
			}
		})
		_, events := stream(t, h, "/events", 6500*time.Millisecond)
		most := 0
		for _, text := range events["pulse"] {
			var p admin.Pulse
			if err := json.Unmarshal([]byte(text), &p); err != nil {
				t.Fatal(err)
			}
			most = max(most, len(p.Changes))
		}
		if most != 20 {
			t.Errorf("got up to %d changes in a pulse, want 20", most)
		}
		var s admin.State
		getJSON(t, h, "/snapshot.json?limit=1", &s)
		if len(s.Changes) != 100 || s.Changes[99].Seq != 5000 {
			t.Errorf("got %d changes, the latest %+v, want 100 up to 5000", len(s.Changes), s.Changes[len(s.Changes)-1])
		}
	})
}

// Changes of the configuration are told too.
func TestConfigChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		status := admin.ConfigStatus{Version: "1"}
		set := func(s admin.ConfigStatus) {
			mu.Lock()
			defer mu.Unlock()
			status = s
		}
		h := newHandler(t, newFake(), admin.Config{ConfigStatus: func() admin.ConfigStatus {
			mu.Lock()
			defer mu.Unlock()
			return status
		}})
		var s admin.State
		for _, next := range []admin.ConfigStatus{{Version: "1"}, {Version: "2"}, {Version: "2", Error: "bad"}, {Version: "2", Error: "bad"}} {
			set(next)
			getJSON(t, h, "/snapshot.json", &s)
			time.Sleep(time.Second)
		}
		if len(s.Changes) != 2 || s.Changes[0].To != "2" || s.Changes[1].To != "refused" || s.Changes[1].Kind != admin.ConfigChange {
			t.Errorf("got %+v", s.Changes)
		}
	})
}

// The number of streams is bounded, those of both kinds together, and a slot is
// free again when its stream ends.
func TestStreamsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHandler(t, newFake(), admin.Config{MaxStreams: 2})
		defer h.Close()
		ctx, cancel := context.WithCancel(t.Context())
		var open sync.WaitGroup
		for _, path := range []string{"/events", "/hystrix.stream"} {
			open.Go(func() { ask(ctx, h, "GET", path) })
		}
		synctest.Wait()
		for _, path := range []string{"/events", "/hystrix.stream"} {
			if w := get(h, path); w.Code != 503 || w.Header().Get("Retry-After") == "" {
				t.Errorf("%s: got %d, want 503", path, w.Code)
			}
		}
		cancel()
		open.Wait()
		if w, _ := stream(t, h, "/events", time.Second); w.Code != 200 {
			t.Errorf("got %d when the others were gone", w.Code)
		}
	})
}

// Close ends streams and waits for them.
func TestCloseEndsStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHandler(t, newFake(), admin.Config{})
		ended := make(chan int, 3)
		for range 3 {
			go func() {
				w := get(h, "/events")
				ended <- w.Code
			}()
		}
		synctest.Wait()
		h.Close()
		synctest.Wait()
		if len(ended) != 3 {
			t.Errorf("got %d streams ended after Close, want 3", len(ended))
		}
	})
}

// broken fails each Write, as a connection does whose client has gone.
type broken struct{ http.ResponseWriter }

func (broken) Write([]byte) (int, error) { return 0, http.ErrAbortHandler }

// A stream whose client is gone ends, although no context says so.
func TestStreamEndsWithClient(t *testing.T) {
	h := newHandler(t, newFake(), admin.Config{})
	for _, path := range []string{"/events", "/hystrix.stream"} {
		h.ServeHTTP(broken{httptest.NewRecorder()}, httptest.NewRequest("GET", path, nil))
	}
}

// dashboard are the fields whose absence Netflix's dashboard reports as an error,
// and those of the README of hystrix-metrics-event-stream.
const dashboard = `reportingHosts type name group currentTime isCircuitBreakerOpen errorPercentage errorCount requestCount
rollingCountCollapsedRequests rollingCountExceptionsThrown rollingCountFailure rollingCountFallbackFailure
rollingCountFallbackRejection rollingCountFallbackSuccess rollingCountResponsesFromCache rollingCountSemaphoreRejected
rollingCountShortCircuited rollingCountSuccess rollingCountThreadPoolRejected rollingCountTimeout rollingCountBadRequests
currentConcurrentExecutionCount latencyExecute_mean latencyExecute latencyTotal_mean latencyTotal
propertyValue_circuitBreakerRequestVolumeThreshold propertyValue_circuitBreakerSleepWindowInMilliseconds
propertyValue_circuitBreakerErrorThresholdPercentage propertyValue_circuitBreakerForceOpen
propertyValue_circuitBreakerForceClosed propertyValue_circuitBreakerEnabled propertyValue_executionIsolationStrategy
propertyValue_executionIsolationThreadTimeoutInMilliseconds propertyValue_executionIsolationThreadInterruptOnTimeout
propertyValue_executionIsolationThreadPoolKeyOverride propertyValue_executionIsolationSemaphoreMaxConcurrentRequests
propertyValue_fallbackIsolationSemaphoreMaxConcurrentRequests propertyValue_metricsRollingStatisticalWindowInMilliseconds
propertyValue_requestCacheEnabled propertyValue_requestLogEnabled`

func TestHystrixFields(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.change(func(s *transport.Snapshot) {
			s.Services[1].Environment, s.Services[1].Breaker = "prod", "half_open"
			s.Services[1].Endpoints[0].Waiting, s.Services[1].Endpoints[1].Streaming = 3, 4
		})
		h := newHandler(t, f, admin.Config{})
		defer h.Close()
		_, events := stream(t, h, "/hystrix.stream", 1100*time.Millisecond)
		if len(events[""]) != 6 {
			t.Fatalf("got %d messages in 1.1 s of two services, want 6", len(events[""]))
		}
		var m map[string]any
		if err := json.Unmarshal([]byte(events[""][1]), &m); err != nil {
			t.Fatal(err)
		}
		for field := range strings.FieldsSeq(dashboard) {
			if _, ok := m[field]; !ok {
				t.Errorf("got no %s", field)
			}
		}
		if n := len(strings.Fields(dashboard)); len(m) != n {
			t.Errorf("got %d fields, want %d", len(m), n)
		}
		for field, want := range map[string]any{
			"type": "HystrixCommand", "name": "users@prod", "group": "users", "isCircuitBreakerOpen": true,
			"rollingCountSuccess": 99.0, "rollingCountFailure": 1.0, "requestCount": 100.0, "errorCount": 1.0, "errorPercentage": 1.0,
			"currentConcurrentExecutionCount": 7.0, "latencyExecute_mean": 6.0, "reportingHosts": 1.0,
			"propertyValue_metricsRollingStatisticalWindowInMilliseconds": 10000.0,
		} {
			if m[field] != want {
				t.Errorf("%s: got %v, want %v", field, m[field], want)
			}
		}
		want := map[string]any{"0": 1.0, "25": 3.0, "50": 5.0, "75": 8.0, "90": 12.0, "95": 15.0, "99": 40.0, "99.5": 50.0, "100": 90.0}
		if got := m["latencyExecute"]; fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("got latencies %v, want %v", got, want)
		}
	})
}

// Refusals are counted over ten seconds.
func TestHystrixWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		h := newHandler(t, f, admin.Config{})
		defer h.Close()
		var others sync.WaitGroup
		defer others.Wait()
		others.Go(func() {
			time.Sleep(700 * time.Millisecond)
			f.change(func(s *transport.Snapshot) {
				s.Services[0].BreakerRejected, s.Services[0].Limit.Refused = 30, 20
			})
		})
		_, events := stream(t, h, "/hystrix.stream", 13*time.Second)
		at := func(tick int) (short, limited, percentage float64) {
			var m map[string]any
			if err := json.Unmarshal([]byte(events[""][2*tick]), &m); err != nil {
				t.Fatal(err)
			}
			return m["rollingCountShortCircuited"].(float64), m["rollingCountSemaphoreRejected"].(float64), m["errorPercentage"].(float64)
		}
		for tick, want := range map[int]float64{0: 0, 1: 0, 2: 30, 10: 30, 20: 30, 21: 30, 22: 0, 25: 0} {
			short, limited, percentage := at(tick)
			if short != want || limited != want*2/3 {
				t.Errorf("after %v: got %v and %v, want %v and %v", time.Duration(tick)*500*time.Millisecond, short, limited, want, want*2/3)
			}
			if want > 0 && percentage != 34 { // (1 + 30 + 20) of 150
				t.Errorf("got %v %% errors, want 34", percentage)
			}
		}
	})
}

// While there is nothing to tell, the stream says that it lives, as Hystrix does.
func TestHystrixPing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHandler(t, &fake{}, admin.Config{})
		defer h.Close()
		w, events := stream(t, h, "/hystrix.stream", 700*time.Millisecond)
		if got := w.Body.String(); got != "ping: \n\nping: \n\n" || len(events) > 0 {
			t.Errorf("got %q", got)
		}
	})
}
