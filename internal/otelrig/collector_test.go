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
	for _, name := range []string{"http.client.request.duration", "rpc.client.call.duration", "tulle.client.attempt.duration",
		"tulle.client.endpoints", "tulle.client.retries"} {
		if !slices.Contains(got.metrics, name) {
			t.Errorf("got no metric %s among %q", name, got.metrics)
		}
	}
}

// received is what a collector wrote.
type received struct {
	spans   []span
	metrics []string
}

// span is a span in OTLP's JSON.
type span struct {
	process      string
	SpanID       string `json:"spanId"`
	ParentSpanID string `json:"parentSpanId"`
	Name         string
	Kind         int
	Start        string `json:"startTimeUnixNano"`
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
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var line struct {
			ResourceSpans []struct {
				Resource   struct{ Attributes []keyed }
				ScopeSpans []struct{ Spans []span }
			}
			ResourceMetrics []struct {
				ScopeMetrics []struct{ Metrics []struct{ Name string } }
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
					all.metrics = append(all.metrics, m.Name)
				}
			}
		}
	}
	slices.Sort(all.metrics)
	all.metrics = slices.Compact(all.metrics)
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
