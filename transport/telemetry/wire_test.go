package telemetry_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/transport/telemetry"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/trace"
)

// client is a RoundTripper that tells a Telemetry of its calls, and repeats one
// that got 503.
type client struct {
	tel  *telemetry.Telemetry
	base http.RoundTripper
}

func (c *client) RoundTrip(req *http.Request) (resp *http.Response, err error) {
	svc, begin := c.tel.Service("users"), time.Now()
	f := telemetry.Facts{Method: req.Method, URL: req.URL}
	ctx, call := svc.Start(req.Context(), &f)
	r := telemetry.Result{}
	for n := 1; n < 4; n++ {
		e := &tulle.Endpoint{Addr: req.URL.Host}
		actx, att := call.Attempt(ctx, e, n)
		out := req.Clone(actx)
		out.Header = c.tel.Header(actx, att, req.Header)
		if resp, err = c.base.RoundTrip(out); err != nil {
			return nil, err
		}
		r = telemetry.Result{Class: tulle.Answered, Status: resp.StatusCode, Proto: resp.Proto, Attempts: n, Elapsed: time.Since(begin)}
		if resp.StatusCode == 503 {
			r.Class = tulle.Unavailable
		}
		svc.EndAttempt(actx, att, e, &r)
		if r.Class == tulle.Answered {
			break
		}
		svc.Retried(ctx, r.Class)
		_ = resp.Body.Close()
	}
	svc.End(ctx, call, &f, &r)
	return resp, err
}

// Over a real connection, the server's spans are below those of the attempts that
// reached it, in the trace of the caller, and its baggage is there.
func TestOverHTTP(t *testing.T) {
	server := newLab(t, nil)
	client := newLab(t, func(c *telemetry.Config) { c.Propagator = telemetry.W3C{} })
	var mu sync.Mutex
	var baggage []string
	n := 0
	ts := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		ctx := telemetry.W3C{}.Extract(req.Context(), propagation.HeaderCarrier(req.Header))
		_, span := server.tracer.Tracer("server").Start(ctx, "serve", trace.WithSpanKind(trace.SpanKindServer))
		defer span.End()
		out := propagation.MapCarrier{}
		propagation.Baggage{}.Inject(ctx, out)
		mu.Lock()
		defer mu.Unlock()
		baggage = append(baggage, out["baggage"])
		if n++; n < 3 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	defer ts.Close()
	base := &http.Transport{}
	defer base.CloseIdleConnections()

	root, app := client.tracer.Tracer("app").Start(withBaggage(context.Background(), "tenant=7"), "handler")
	req, err := http.NewRequestWithContext(root, http.MethodGet, ts.URL+"/x", nil)
	if err != nil {
		t.Fatal(err)
	}
	rt := newClient(client.Telemetry, base)
	resp, err := rt.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	app.End()
	ts.Close() // waits for the handlers

	if len(req.Header) != 0 {
		t.Errorf("the caller's request has header %v, want none", req.Header)
	}
	mu.Lock()
	equal(t, "baggage", baggage, []string{"tenant=7", "tenant=7", "tenant=7"})
	mu.Unlock()
	sent, served := client.spans.Ended(), server.spans.Ended()
	if len(sent) != 5 || len(served) != 3 {
		t.Fatalf("got %d and %d spans, want 5 and 3", len(sent), len(served))
	}
	call := sent[3]
	for i, s := range served {
		if got, want := s.Parent().SpanID(), sent[i].SpanContext().SpanID(); got != want || !s.Parent().IsRemote() {
			t.Errorf("server span %d: got parent %s, want the attempt %s", i, got, want)
		}
		if got, want := sent[i].Parent().SpanID(), call.SpanContext().SpanID(); got != want {
			t.Errorf("attempt %d: got parent %s, want the call %s", i, got, want)
		}
		if got, want := s.SpanContext().TraceID(), app.SpanContext().TraceID(); got != want {
			t.Errorf("server span %d: got trace %s, want %s", i, got, want)
		}
	}
	m := client.collect()
	equal(t, "retries", points(m["tulle.client.retries"]), []string{"tulle.reason=unavailable tulle.service=users: 2"})
	if got := points(m["http.client.request.duration"]); len(got) != 1 || !strings.Contains(got[0], "status_code=200") {
		t.Errorf("calls: got %v, want one of 200", got)
	}
}

// newClient returns a RoundTripper that tells tel of its calls.
func newClient(tel *telemetry.Telemetry, base http.RoundTripper) http.RoundTripper {
	return &client{tel, base}
}

// Everything may be used at once: nothing is lost, whatever mode it is in.
func TestConcurrent(t *testing.T) {
	const workers, calls = 8, 300
	l := newLab(t, func(c *telemetry.Config) {
		c.PerEndpoint, c.Sample, c.Propagator = true, 1000, telemetry.W3C{}
	})
	s := full("s0")
	if err := l.Observe(func(yield func(*telemetry.State) bool) {
		state := s
		yield(&state)
	}); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := range calls {
				name := fmt.Sprint("s", i%7)
				f := telemetry.Facts{Method: http.MethodGet, URL: parse(t, "http://"+name+"/")}
				if i%2 == 1 {
					f = telemetry.Facts{Protocol: telemetry.GRPC, Method: fmt.Sprint("a.B/", i%11)}
				}
				svc, r, e := l.Service(name), ok(0), &tulle.Endpoint{Addr: fmt.Sprintf("e%d:1", i%5)}
				ctx, call := svc.Start(context.Background(), &f)
				actx, att := call.Attempt(ctx, e, 1)
				if h := l.Header(actx, att, nil); h.Get("Traceparent") == "" {
					t.Error("got no traceparent")
				}
				svc.EndAttempt(actx, att, e, &r)
				svc.Retried(ctx, tulle.Class(i%10+1))
				svc.End(ctx, call, &f, &r)
				if w == 0 && i%50 == 0 {
					l.collect()
				}
			}
		})
	}
	wg.Wait()
	m := l.collect()
	for _, names := range [][]string{
		{"http.client.request.duration", "rpc.client.call.duration"},
		{"tulle.client.attempt.duration"},
	} {
		if got := count(m, names...); got != workers*calls {
			t.Errorf("%v: got %d, want %d", names, got, workers*calls)
		}
	}
	var retries int64
	for _, p := range m["tulle.client.retries"].Data.(metricdata.Sum[int64]).DataPoints {
		retries += p.Value
	}
	if retries != workers*calls {
		t.Errorf("retries: got %d, want %d", retries, workers*calls)
	}
	if got := len(l.spans.Ended()); got != 2*workers*calls {
		t.Errorf("spans: got %d, want %d", got, 2*workers*calls)
	}
}

// count is the number of measurements in histograms.
func count(m map[string]metricdata.Metrics, names ...string) int {
	n := uint64(0)
	for _, name := range names {
		for _, p := range m[name].Data.(metricdata.Histogram[float64]).DataPoints {
			n += p.Count
		}
	}
	return int(n)
}

// The headers that are joined mean the same as those of one line, in whatever way
// the members are spread over lines.
func TestW3CLinesMeanTheSame(t *testing.T) {
	state := strings.Split(list(12, "k%d=v"), ",")
	bag := strings.Split(list(12, "b%d=v"), ",")
	want := extract(http.Header{"Traceparent": {parent}, "Tracestate": {strings.Join(state, ",")}})
	for cut := 0; cut <= len(state); cut++ {
		for second := cut; second <= len(state); second++ {
			lines := func(m []string) []string {
				return []string{strings.Join(m[:cut], ","), strings.Join(m[cut:second], " , "), strings.Join(m[second:], ",\t")}
			}
			if got := extract(http.Header{"Traceparent": {parent}, "Tracestate": lines(state)}); !got.Equal(want) {
				t.Fatalf("tracestate cut at %d and %d: got %v, want %v", cut, second, got, want)
			}
			out := propagation.MapCarrier{}
			telemetry.W3C{}.Inject(telemetry.W3C{}.Extract(context.Background(), propagation.HeaderCarrier{"Baggage": lines(bag)}), out)
			if got := sorted(out["baggage"]); !slices.Equal(got, sorted(strings.Join(bag, ","))) {
				t.Fatalf("baggage cut at %d and %d: got %v, want %v", cut, second, got, bag)
			}
		}
	}
}
