package otelrig_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetrichttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/metric"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	testpb "google.golang.org/grpc/interop/grpc_testing"

	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/discovery"
	"github.com/tullemesh/tulle/transport"
	"github.com/tullemesh/tulle/transport/telemetry"
	"github.com/tullemesh/tulle/transport/tullegrpc"
)

// An HTTP call and an RPC of one trace, each with an attempt that fails, join the
// spans of the servers in another process into one tree, as the collector has them.
func TestTree(t *testing.T) {
	c := collect(t)
	server := exec.Command(os.Args[0])
	server.Env = append(os.Environ(), serverEnv+"="+c.url)
	servers := start(t, server)
	var web, rpc string
	eventually(t, "the servers", func() bool {
		n, _ := fmt.Sscan(servers.out.String(), &web, &rpc)
		return n == 2
	})
	provider, err := tracing(t.Context(), c.url, "client")
	if err != nil {
		t.Fatal(err)
	}
	exporter, err := otlpmetrichttp.New(t.Context(), otlpmetrichttp.WithEndpointURL(c.url+"/v1/metrics"))
	if err != nil {
		t.Fatal(err)
	}
	meters := metric.NewMeterProvider(metric.WithReader(metric.NewPeriodicReader(exporter)), metric.WithResource(named("client")))
	mesh, err := transport.New(transport.Config{
		Services: map[string]transport.Service{
			"web": {Resolver: discovery.Static{tulle.Endpoint{Addr: web}}},
			"rpc": {Resolver: discovery.Static{tulle.Endpoint{Addr: rpc}}},
		},
		Telemetry: telemetry.Config{TracerProvider: provider, MeterProvider: meters, Propagator: propagation.TraceContext{}},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, root := provider.Tracer("test").Start(t.Context(), "root")
	req, _ := http.NewRequestWithContext(ctx, http.MethodGet, "http://web/path", nil)
	resp, err := mesh.RoundTrip(req)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("got %v, %v", resp, err)
	}
	io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
	cc, err := grpc.NewClient("tulle:///rpc", append(tullegrpc.DialOptions(mesh), grpc.WithTransportCredentials(insecure.NewCredentials()))...)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := testpb.NewTestServiceClient(cc).EmptyCall(ctx, &testpb.Empty{}, tullegrpc.Idempotent()); err != nil {
		t.Fatal(err)
	}
	cc.Close()
	root.End()
	if err := meters.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if err := provider.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	mesh.Close()
	servers.stop(t)
	c.stop(t)
	got := read(t, c.file)
	want := `client root
  client GET internal
    client GET client 503
      server GET server 503
    client GET client 200 resend 1
      server GET server 200
  client grpc.testing.TestService/EmptyCall internal
    client grpc.testing.TestService/EmptyCall client UNAVAILABLE
      server grpc.testing.TestService/EmptyCall server UNAVAILABLE
    client grpc.testing.TestService/EmptyCall client OK
      server grpc.testing.TestService/EmptyCall server OK
`
	if tree := got.tree(); tree != want {
		t.Errorf("got\n%s\nwant\n%s", tree, want)
	}
	got.checkAttributes(t, web)
	for name, want := range map[string]int{
		"http.client.request.duration server.address=web":                           1,
		"rpc.client.call.duration server.address=rpc":                               1,
		"tulle.client.attempt.duration tulle.service=web tulle.outcome=answered":    1,
		"tulle.client.attempt.duration tulle.service=web tulle.outcome=unavailable": 1,
		"tulle.client.attempt.duration tulle.service=rpc tulle.outcome=unavailable": 1,
		"tulle.client.endpoints tulle.service=web tulle.state=healthy":              1,
		"tulle.client.retries tulle.service=web tulle.reason=unavailable":           1,
		"tulle.client.retries tulle.service=rpc tulle.reason=unavailable":           1,
		"tulle.client.retry.decisions tulle.service=web tulle.result=repeated":      1,
		"tulle.client.breaker.state tulle.service=web tulle.state=closed":           1,
		"tulle.client.breaker.state tulle.service=web tulle.state=open":             0,
	} {
		if n, ok := got.metrics.value(name); !ok || n != want {
			t.Errorf("%s: got %d (there: %v), want %d", name, n, ok, want)
		}
	}
}

// checkAttributes looks at the client's spans of the HTTP call, of which the first
// attempt failed.
func (r *received) checkAttributes(t *testing.T, addr string) {
	t.Helper()
	host, port, _ := strings.Cut(addr, ":")
	shared := map[string]string{"server.address": "web", "http.request.method": "GET"}
	attempt := map[string]string{
		"network.peer.address": host, "network.peer.port": port, "server.port": "80", "url.full": "http://web/path",
		"network.protocol.version": "1.1",
	}
	var want []map[string]string
	want = append(want, map[string]string{"tulle.attempts": "2", "http.response.status_code": "200", "error.type": ""},
		map[string]string{"error.type": "503", "http.response.status_code": "503", "http.request.resend_count": "", "tulle.outcome": "unavailable"},
		map[string]string{"error.type": "", "http.response.status_code": "200", "http.request.resend_count": "1", "tulle.outcome": ""})
	n := 0
	for _, s := range r.spans { // in the order of their start
		if s.process != "client" || s.Name != "GET" {
			continue
		}
		if n == len(want) {
			t.Fatal("got more client spans of the HTTP call than three")
		}
		all := []map[string]string{shared, want[n]}
		if n > 0 {
			all = append(all, attempt)
		}
		for _, attributes := range all {
			for key, want := range attributes {
				if got := value(s.Attributes, key); got != want {
					t.Errorf("span %d of the HTTP call: got %s %q, want %q", n, key, got, want)
				}
			}
		}
		if failed := s.Status.Code == 2; failed != (n == 1) {
			t.Errorf("span %d of the HTTP call: got an error: %v", n, failed)
		}
		n++
	}
	if n != len(want) {
		t.Errorf("got %d client spans of the HTTP call, want %d", n, len(want))
	}
}

// received is what a collector wrote.
type received struct {
	spans   []span
	metrics metrics
}

// metrics are the latest values of all points, of histograms the counts.
type metrics map[string][]point

// point is a number point or one of a histogram in OTLP's JSON.
type point struct {
	Attributes []keyed
	AsInt      string
	Count      string
}

// value is the sum of the points of a metric that have attributes: "name key=value".
func (m metrics) value(query string) (sum int, there bool) {
	name, rest, _ := strings.Cut(query, " ")
	for _, p := range m[name] {
		fits := true
		for want := range strings.FieldsSeq(rest) {
			key, text, _ := strings.Cut(want, "=")
			fits = fits && value(p.Attributes, key) == text
		}
		if n, err := strconv.Atoi(p.AsInt + p.Count); fits && err == nil {
			sum, there = sum+n, true
		}
	}
	return sum, there
}

// span is a span in OTLP's JSON.
type span struct {
	process      string
	SpanID       string `json:"spanId"`
	ParentSpanID string `json:"parentSpanId"`
	Name         string
	Kind         int
	Start        string `json:"startTimeUnixNano"`
	Status       struct{ Code int }
	Attributes   []keyed
}

// keyed is an attribute in OTLP's JSON.
type keyed struct {
	Key   string
	Value struct{ StringValue, IntValue string }
}

// read reads the collector's file.
func read(t *testing.T, file string) (all received) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	all.metrics = metrics{}
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var line struct {
			ResourceSpans []struct {
				Resource   struct{ Attributes []keyed }
				ScopeSpans []struct{ Spans []span }
			}
			ResourceMetrics []struct {
				ScopeMetrics []struct {
					Metrics []struct {
						Name                  string
						Sum, Gauge, Histogram struct{ DataPoints []point }
					}
				}
			}
		}
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			t.Fatal(err)
		}
		for _, r := range line.ResourceSpans {
			for _, scope := range r.ScopeSpans {
				for _, s := range scope.Spans {
					s.process = value(r.Resource.Attributes, "service.name")
					all.spans = append(all.spans, s)
				}
			}
		}
		for _, r := range line.ResourceMetrics {
			for _, scope := range r.ScopeMetrics {
				for _, m := range scope.Metrics {
					all.metrics[m.Name] = slices.Concat(m.Sum.DataPoints, m.Gauge.DataPoints, m.Histogram.DataPoints)
				}
			}
		}
	}
	return all
}

// value is an attribute as text.
func value(all []keyed, key string) string {
	for _, a := range all {
		if a.Key == key {
			return a.Value.StringValue + a.Value.IntValue
		}
	}
	return ""
}

// tree writes the spans, each below its parent, in the order of their start.
func (r *received) tree() string {
	var b strings.Builder
	slices.SortFunc(r.spans, func(x, y span) int { return strings.Compare(x.Start, y.Start) })
	r.below(&b, "", "")
	return b.String()
}

// below writes the spans of one parent.
func (r *received) below(b *strings.Builder, parent, indent string) {
	kinds := [...]string{1: "internal", 2: "server", 3: "client"}
	for _, s := range r.spans {
		if s.ParentSpanID != parent {
			continue
		}
		fmt.Fprintf(b, "%s%s %s", indent, s.process, s.Name)
		if parent != "" {
			fmt.Fprintf(b, " %s", kinds[s.Kind])
		}
		if s.Kind != 1 {
			for _, key := range []string{"http.response.status_code", "rpc.response.status_code"} {
				if v := value(s.Attributes, key); v != "" {
					fmt.Fprintf(b, " %s", v)
				}
			}
			if v := value(s.Attributes, "http.request.resend_count"); v != "" {
				fmt.Fprintf(b, " resend %s", v)
			}
		}
		b.WriteString("\n")
		r.below(b, s.SpanID, indent+"  ")
	}
}
