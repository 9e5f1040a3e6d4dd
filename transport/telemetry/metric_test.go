package telemetry_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/transport/telemetry"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric/noop"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/semconv/v1.43.0/httpconv"
	"go.opentelemetry.io/otel/semconv/v1.43.0/rpcconv"
)

func TestCallMetrics(t *testing.T) {
	l := newLab(t, nil)
	bg := context.Background()
	get := telemetry.Facts{Method: "GET", URL: parse(t, "http://users/x")}
	l.play(bg, "users", get, step{"a:1", ok(200)})
	l.play(bg, "users", get, step{"a:1", telemetry.Result{Class: tulle.Unavailable, Status: 503, Proto: "HTTP/2.0"}}, step{"a:1", ok(200)})
	l.play(bg, "users", get, step{"a:1", telemetry.Result{Class: tulle.Unsent, Err: errors.New("refused")}})
	l.play(bg, "users:81", get, step{"a:1", ok(200)})
	l.play(bg, "users", telemetry.Facts{Method: "BREW", URL: parse(t, "https://users/")}, step{"a:1", ok(404)})
	l.play(bg, telemetry.Other, telemetry.Facts{URL: parse(t, "http://x:1/")}, step{"a:1", ok(200)})
	l.play(bg, "users", telemetry.Facts{Protocol: telemetry.GRPC, Method: "a.B/C"}, step{"a:1", telemetry.Result{Class: tulle.Answered}})
	l.play(bg, "users", telemetry.Facts{Protocol: telemetry.GRPC, Method: "a.B/C"},
		step{"a:1", telemetry.Result{Class: tulle.Unavailable, Status: 14, Err: errors.New("down")}})
	l.Service("users").Retried(bg, tulle.Unavailable)
	l.Service("users").HedgeWon(bg)
	l.Service("users").HedgeLost(bg)

	m := l.collect()
	equal(t, "http", points(m["http.client.request.duration"]), []string{
		"error.type=404 http.request.method=_OTHER http.response.status_code=404 network.protocol.version=1.1 server.address=users server.port=443: 1",
		"error.type=unsent http.request.method=GET server.address=users server.port=80: 1",
		"http.request.method=GET http.response.status_code=200 network.protocol.version=1.1 server.address=_other: 1",
		"http.request.method=GET http.response.status_code=200 network.protocol.version=1.1 server.address=users server.port=80: 2",
		"http.request.method=GET http.response.status_code=200 network.protocol.version=1.1 server.address=users server.port=81: 1",
	})
	equal(t, "rpc", points(m["rpc.client.call.duration"]), []string{
		"error.type=UNAVAILABLE rpc.method=a.B/C rpc.response.status_code=UNAVAILABLE rpc.system.name=grpc server.address=users: 1",
		"rpc.method=a.B/C rpc.response.status_code=OK rpc.system.name=grpc server.address=users: 1",
	})
	equal(t, "attempts", points(m["tulle.client.attempt.duration"]), []string{
		"tulle.outcome=answered tulle.service=_other: 1",
		"tulle.outcome=answered tulle.service=users: 4",
		"tulle.outcome=answered tulle.service=users:81: 1",
		"tulle.outcome=unavailable tulle.service=users: 2",
		"tulle.outcome=unsent tulle.service=users: 1",
	})
	equal(t, "retries", points(m["tulle.client.retries"]), []string{"tulle.reason=unavailable tulle.service=users: 1"})
	equal(t, "hedges", points(m["tulle.client.hedges"]), []string{
		"tulle.result=lost tulle.service=users: 1", "tulle.result=won tulle.service=users: 1",
	})
	h := m["http.client.request.duration"].Data.(metricdata.Histogram[float64]).DataPoints[0]
	if got, want := h.Bounds, []float64{0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10}; !slices.Equal(got, want) {
		t.Errorf("bounds: got %v, want %v", got, want)
	}
}

// Measurements carry the trace of the call, and of the attempt.
func TestExemplars(t *testing.T) {
	l := newLab(t, nil)
	l.play(context.Background(), "users", telemetry.Facts{URL: parse(t, "http://users/")}, step{"a:1", ok(200)})
	spans, m := l.spans.Ended(), l.collect()
	for i, name := range []string{"tulle.client.attempt.duration", "http.client.request.duration"} {
		p := m[name].Data.(metricdata.Histogram[float64]).DataPoints[0]
		want := spans[i].SpanContext()
		wantTrace, wantSpan := want.TraceID(), want.SpanID()
		if len(p.Exemplars) != 1 || !slices.Equal(p.Exemplars[0].TraceID, wantTrace[:]) || !slices.Equal(p.Exemplars[0].SpanID, wantSpan[:]) {
			t.Errorf("%s: got exemplars %v, want span %s of trace %s", name, p.Exemplars, wantSpan, wantTrace)
		}
	}
}

// Whatever callers and servers make up, the number of series has a bound, and
// failures stay apart from successes.
func TestCardinality(t *testing.T) {
	l := newLab(t, func(c *telemetry.Config) { c.PerEndpoint = true })
	bg := context.Background()
	for i := range 2000 {
		s := step{fmt.Sprintf("10.0.%d.%d:1", i/250, i%250), ok(100 + i%900)}
		l.play(bg, "users", telemetry.Facts{Method: fmt.Sprint("M", i), URL: parse(t, "http://users/")}, s)
		s.result.ErrorType = fmt.Sprint("error", i)
		l.play(bg, "users", telemetry.Facts{URL: parse(t, "http://users/")}, s)
		l.play(bg, "users", telemetry.Facts{Protocol: telemetry.GRPC, Method: fmt.Sprint("a.B/", i)}, step{"a:1", ok(0)})
	}
	m := l.collect()
	for name, most := range map[string]int{
		"http.client.request.duration":  2 * 66,
		"rpc.client.call.duration":      201,
		"tulle.client.attempt.duration": 1001,
	} {
		got := points(m[name])
		if len(got) > most || len(got) < most/2 {
			t.Errorf("%s: got %d series, want up to %d", name, len(got), most)
		}
		if !slices.ContainsFunc(got, func(s string) bool { return strings.Contains(s, "=_OTHER") }) {
			t.Errorf("%s: got no series for others", name)
		}
	}
	for _, p := range points(m["http.client.request.duration"]) {
		if strings.HasPrefix(p, "http.request.method=_OTHER server.address") && !strings.HasSuffix(p, ": 300") && strings.Contains(p, "error") {
			t.Errorf("got %s, want no error in the series of successes", p)
		}
	}
}

// The series of endpoints that are gone make room for new ones.
func TestPerEndpoint(t *testing.T) {
	l := newLab(t, func(c *telemetry.Config) { c.PerEndpoint = true })
	f := telemetry.Facts{URL: parse(t, "http://users/")}
	there := "0:1"
	if err := l.Observe(func(yield func(*telemetry.State) bool) {
		yield(&telemetry.State{Service: "users", Endpoints: []telemetry.EndpointState{
			{Addr: there, State: "healthy", Waiting: 1, Streaming: 2, Attempts: 7},
		}})
	}); err != nil {
		t.Fatal(err)
	}
	for i := range 1100 {
		l.play(context.Background(), "users", f, step{fmt.Sprintf("%d:1", i), ok(200)})
	}
	m := l.collect()
	for name, want := range map[string]string{
		"tulle.client.endpoint.state":           "tulle.endpoint=0:1 tulle.service=users tulle.state=healthy: 1",
		"tulle.client.endpoint.active_attempts": "tulle.endpoint=0:1 tulle.service=users: 3",
		"tulle.client.endpoint.attempts":        "tulle.endpoint=0:1 tulle.service=users: 7",
	} {
		equal(t, name, points(m[name]), []string{want})
	}
	over := "tulle.endpoint=_OTHER tulle.outcome=answered tulle.service=users: "
	if got := points(m["tulle.client.attempt.duration"]); !slices.Contains(got, over+"100") {
		t.Errorf("got %d series without %s100", len(got), over)
	}
	l.play(context.Background(), "users", f, step{"new:1", ok(200)})
	if got := points(l.collect()["tulle.client.attempt.duration"]); !slices.Contains(got, over+"100") ||
		!slices.Contains(got, "tulle.endpoint=new:1 tulle.outcome=answered tulle.service=users: 1") {
		t.Error("an endpoint that came after others had gone has no series")
	}
}

// full is a state in which everything has happened.
func full(service string) telemetry.State {
	return telemetry.State{
		Service: service, Breaker: "open", Rejected: 1, Budget: 2.5,
		Repeated: 2, Moved: 3, Denied: 4, Transparent: 5,
		Admitted: 6, Waited: 7, Refused: 8, Abandoned: 9, Unlimited: 10, Waiting: 11, Late: 12,
		DiscoveryAge: 1500 * time.Millisecond,
		Avoided:      []telemetry.Count{{Name: "tried", N: 13}, {Name: "never", N: 0}},
		Dark:         []telemetry.Count{{Name: "breaker", N: 14}},
		Endpoints: []telemetry.EndpointState{
			{Addr: "a:1", State: "healthy", Waiting: 1, Attempts: 3}, {Addr: "b:1", State: "ejected", Streaming: 2, Attempts: 4},
		},
	}
}

func TestObserve(t *testing.T) {
	l := newLab(t, nil)
	s := full("users")
	src := func(yield func(*telemetry.State) bool) { _ = yield(&s) && yield(&telemetry.State{Service: "idle"}) }
	if err := l.Observe(src); err != nil {
		t.Fatal(err)
	}
	if err := l.Observe(src); err == nil {
		t.Error("a second Observe: got no error, want one")
	}
	const u = "tulle.service=users"
	want := map[string][]string{
		"tulle.client.endpoints":            {u + " tulle.state=ejected: 1", u + " tulle.state=healthy: 1"},
		"tulle.client.active_attempts":      {"tulle.service=idle tulle.state=streaming: 0", "tulle.service=idle tulle.state=waiting: 0", u + " tulle.state=streaming: 2", u + " tulle.state=waiting: 1"},
		"tulle.client.breaker.state":        {u + " tulle.state=closed: 0", u + " tulle.state=half_open: 0", u + " tulle.state=open: 1"},
		"tulle.client.breaker.rejections":   {u + ": 1"},
		"tulle.client.retry.budget":         {"tulle.service=idle: 0", u + ": 2.5"},
		"tulle.client.retry.decisions":      {"tulle.result=denied " + u + ": 4", "tulle.result=moved " + u + ": 3", "tulle.result=repeated " + u + ": 2"},
		"tulle.client.retry.transparent":    {u + ": 5"},
		"tulle.client.picks.avoided":        {"tulle.reason=tried " + u + ": 13"},
		"tulle.client.limit.calls":          {"tulle.result=abandoned " + u + ": 9", "tulle.result=admitted " + u + ": 6", "tulle.result=refused " + u + ": 8", "tulle.result=unlimited " + u + ": 10", "tulle.result=waited " + u + ": 7"},
		"tulle.client.limit.waiting":        {"tulle.service=idle: 0", u + ": 11"},
		"tulle.client.discovery.age":        {"tulle.service=idle: 0", u + ": 1.5"},
		"tulle.client.deadline.rejections":  {u + ": 12"},
		"tulle.client.dark.decisions":       {"tulle.policy=breaker " + u + ": 14"},
		"tulle.client.endpoint.state":       nil,
		"tulle.client.ejection.transitions": nil,
	}
	m := l.collect()
	for name, lines := range want {
		equal(t, name, points(m[name]), lines)
	}
	s.Endpoints = s.Endpoints[:1]
	equal(t, "a state that is empty now", points(l.collect()["tulle.client.endpoints"]),
		[]string{u + " tulle.state=ejected: 0", u + " tulle.state=healthy: 1"})

	for range 2 {
		if err := l.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	}
	if got := l.collect(); len(got) != 0 {
		t.Errorf("after Close: got %d metrics, want none", len(got))
	}
	if err := l.Observe(src); !errors.Is(err, telemetry.ErrClosed) {
		t.Errorf("Observe after Close: got %v, want ErrClosed", err)
	}
}

// everything makes each instrument record something.
func everything(t *testing.T) *lab {
	l := newLab(t, func(c *telemetry.Config) { c.PerEndpoint = true })
	bg := context.Background()
	for _, r := range []telemetry.Result{ok(200), ok(503)} {
		l.play(bg, "users", telemetry.Facts{URL: parse(t, "http://users/")}, step{"a:1", r})
	}
	for _, f := range []telemetry.Facts{{Protocol: telemetry.GRPC, Method: "a.B/C"}} {
		l.play(bg, "users:81", f, step{"a:1", ok(0)})
		l.play(bg, "users:81", f, step{"a:1", ok(2)})
	}
	l.Service("users").Retried(bg, tulle.Lost)
	l.Service("users").HedgeWon(bg)
	for k := range telemetry.ConfigRefused + 1 {
		e := telemetry.Event{Kind: k, State: "s", Reason: "r", Service: "users"}
		if k >= telemetry.ConfigApplied {
			e.Service = ""
		}
		l.Event(bg, e)
	}
	s := full("users")
	if err := l.Observe(func(yield func(*telemetry.State) bool) { yield(&s) }); err != nil {
		t.Fatal(err)
	}
	return l
}

// instrument says what a metric is, in the words of the table.
func instrument(m metricdata.Metrics, observed bool) string {
	kind := "?"
	switch d := m.Data.(type) {
	case metricdata.Histogram[float64]:
		kind = "histogram"
	case metricdata.Sum[int64]:
		kind = "up-down counter"
		if d.IsMonotonic {
			kind = "counter"
		}
	case metricdata.Gauge[int64], metricdata.Gauge[float64]:
		kind = "gauge"
	}
	if observed {
		return "observable " + kind
	}
	return kind
}

// docs/metrics.md says what the code records: names, kinds, units, attributes.
func TestMetricsTable(t *testing.T) {
	text, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	l := everything(t)
	recorded := l.collect()
	if err := l.Close(); err != nil { // what is observed is silent from here on
		t.Fatal(err)
	}
	after := l.collect()
	seen := map[string]bool{}
	for _, line := range strings.Split(string(text), "\n") {
		cells := strings.Split(line, " | ")
		if !strings.HasPrefix(line, "| `") || len(cells) != 6 {
			continue
		}
		name := strings.Trim(cells[0], "| `")
		seen[name] = true
		m, ok := recorded[name]
		if !ok {
			t.Errorf("%s is in the table and not recorded", name)
			continue
		}
		_, counted := after[name]
		if got := instrument(m, !counted); got != cells[1] {
			t.Errorf("%s: got %s, the table says %s", name, got, cells[1])
		}
		if got := "`" + m.Unit + "`"; got != cells[2] {
			t.Errorf("%s: got unit %s, the table says %s", name, got, cells[2])
		}
		checkAttributes(t, m, cells[3])
		if m.Description == "" || len(cells[4]) < 10 || len(cells[5]) < 10 {
			t.Errorf("%s: no description, no occasion or no question", name)
		}
	}
	if got, want := slices.Sorted(maps.Keys(recorded)), slices.Sorted(maps.Keys(seen)); !slices.Equal(got, want) {
		t.Errorf("recorded: %v\nin the table: %v", got, want)
	}
}

// checkAttributes compares the attributes of all points with a cell of the table.
func checkAttributes(t *testing.T, m metricdata.Metrics, cell string) {
	t.Helper()
	all := map[string]int{}
	for _, p := range points(m) {
		for _, a := range strings.Fields(p[:strings.LastIndex(p, ":")]) {
			key, _, _ := strings.Cut(a, "=")
			all[key]++
		}
	}
	for _, want := range strings.Fields(cell) {
		key := strings.Trim(want, "[]`")
		n := all[key]
		delete(all, key)
		if n == 0 {
			t.Errorf("%s: %s is in the table and never recorded", m.Name, key)
		}
		if optional := strings.HasPrefix(want, "["); n < len(points(m)) && !optional {
			t.Errorf("%s: %s is in %d of %d points, the table says always", m.Name, key, n, len(points(m)))
		}
	}
	for key := range all {
		t.Errorf("%s: %s is recorded and not in the table", m.Name, key)
	}
}

// The names of the conventions are those of the packages that are made of them.
func TestSemconvNames(t *testing.T) {
	m := everything(t).collect()
	for _, want := range []interface {
		Name() string
		Unit() string
		Description() string
	}{httpconv.ClientRequestDuration{}, rpcconv.ClientCallDuration{}} {
		got, ok := m[want.Name()]
		if !ok || got.Unit != want.Unit() || got.Description != want.Description() {
			t.Errorf("%s: got %+v, want unit %s and description %q", want.Name(), got, want.Unit(), want.Description())
		}
	}
	known := map[attribute.Key]bool{
		semconv.ServerAddressKey: true, semconv.ServerPortKey: true, semconv.HTTPRequestMethodKey: true,
		semconv.HTTPResponseStatusCodeKey: true, semconv.NetworkProtocolVersionKey: true, semconv.ErrorTypeKey: true,
		semconv.RPCSystemNameKey: true, semconv.RPCMethodKey: true, semconv.RPCResponseStatusCodeKey: true,
	}
	for _, name := range []string{"http.client.request.duration", "rpc.client.call.duration"} {
		for _, p := range m[name].Data.(metricdata.Histogram[float64]).DataPoints {
			for _, a := range p.Attributes.ToSlice() {
				if !known[a.Key] {
					t.Errorf("%s: %s is no attribute of the conventions", name, a.Key)
				}
			}
		}
	}
}

// A provider that does nothing, and an attribute that tells Transports apart.
func TestProviders(t *testing.T) {
	tel := newTelemetry(t, telemetry.Config{MeterProvider: noop.NewMeterProvider()})
	f, r := telemetry.Facts{URL: parse(t, "http://users/")}, ok(200)
	tel.Service("users").End(context.Background(), nil, &f, &r)
	if err := tel.Observe(func(func(*telemetry.State) bool) { t.Error("the source was read") }); err != nil {
		t.Error(err)
	}

	reader := sdkmetric.NewManualReader()
	tel = newTelemetry(t, telemetry.Config{
		MeterProvider: sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader)),
		Attributes:    []attribute.KeyValue{attribute.String("transport", "a")},
	})
	tel.Service("users").End(context.Background(), nil, &f, &r)
	var rm metricdata.ResourceMetrics
	if err := reader.Collect(context.Background(), &rm); err != nil {
		t.Fatal(err)
	}
	scope := rm.ScopeMetrics[0].Scope
	if scope.SchemaURL != semconv.SchemaURL || attributes(scope.Attributes.ToSlice()) != "transport=a" {
		t.Errorf("got scope %+v, want the schema of semconv and transport=a", scope)
	}
}
