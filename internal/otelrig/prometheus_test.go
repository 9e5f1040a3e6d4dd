package otelrig_test

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	otelprom "go.opentelemetry.io/otel/exporters/prometheus"
	"go.opentelemetry.io/otel/sdk/metric"

	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/breaker"
	"github.com/tullemesh/tulle/discovery"
	"github.com/tullemesh/tulle/retry"
	"github.com/tullemesh/tulle/transport"
	"github.com/tullemesh/tulle/transport/telemetry"
)

// ledger is what the test itself saw of the calls to a service.
type ledger struct {
	mu    sync.Mutex
	times []time.Duration // guarded by mu
	bad   int             // guarded by mu
}

// note writes a call down.
func (l *ledger) note(took time.Duration, bad bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.times = append(l.times, took)
	if bad {
		l.bad++
	}
}

// around are the times a hundredth of the calls below and above the 99th percentile.
// The two clocks are not one: where the machine stands still between them, a call or
// two change their rank.
func (l *ledger) around() (below, above time.Duration) {
	slices.Sort(l.times)
	return l.times[len(l.times)*98/100], l.times[len(l.times)-1]
}

// What a real Prometheus makes of the metrics is what the test saw: success rate and
// 99th percentile of each service. Promtool finds nothing wrong with them.
func TestPrometheus(t *testing.T) {
	for _, tool := range []string{"prometheus", "promtool"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("SKIPPED: THERE IS NO %s ON THIS MACHINE (internal/rig/tools.sh installs it)", strings.ToUpper(tool))
		}
	}
	registry := prometheus.NewRegistry()
	exporter, err := otelprom.New(otelprom.WithRegisterer(registry))
	if err != nil {
		t.Fatal(err)
	}
	meters := metric.NewMeterProvider(metric.WithReader(exporter))
	scraped := httptest.NewServer(promhttp.HandlerFor(registry, promhttp.HandlerOpts{EnableOpenMetrics: true}))
	defer scraped.Close()

	services := map[string]transport.Service{}
	for name, every := range map[string]int64{"good": 0, "bad": 4} {
		services[name] = transport.Service{
			Resolver: discovery.Static{tulle.Endpoint{Addr: failing(t, every)}},
			Policy:   transport.Policy{Retry: &retry.Config{Attempts: 1}, Breaker: &breaker.Config{Off: true}, Ejection: &breaker.OutlierConfig{Off: true}},
		}
	}
	mesh, err := transport.New(transport.Config{Services: services, Telemetry: telemetry.Config{MeterProvider: meters}})
	if err != nil {
		t.Fatal(err)
	}
	defer mesh.Close()
	server := scrape(t, scraped.Listener.Addr().String())

	// Prometheus takes no notice of what a counter begins with.
	books := map[string]*ledger{"good": new(ledger), "bad": new(ledger)}
	for name := range books {
		call(t, mesh, name, new(ledger), 1)
	}
	server.wait(t, `count(http_client_request_duration_seconds_count)`, func(v float64) bool { return v >= 2 })
	first := map[string]float64{}
	for name := range books {
		first[name] = server.value(t, `sum(http_client_request_duration_seconds_count{server_address="`+name+`"})`)
	}
	for name, book := range books {
		call(t, mesh, name, book, 400)
	}
	for name, book := range books {
		of := `{server_address="` + name + `"}`
		server.wait(t, `sum(http_client_request_duration_seconds_count`+of+`)`, func(v float64) bool { return v == first[name]+400 })
		good := server.value(t, `sum(http_client_request_duration_seconds_count{server_address="`+name+`",http_response_status_code="200"})`)
		want := 1 - float64(book.bad)/400
		if got := (good - 1) / 400; math.Abs(got-want) > 0.01 {
			t.Errorf("%s: got a success rate of %.3f, want %.3f", name, got, want)
		}
		got := server.value(t, `histogram_quantile(0.99, sum by (le) (http_client_request_duration_seconds_bucket`+of+`))`)
		below, above := book.around()
		low, _ := bucket(below.Seconds())
		_, high := bucket(above.Seconds())
		if got < low || got > high || below < slow {
			t.Errorf("%s: got a 99th percentile of %.4f s, want it in the buckets of %v to %v, %v to %v s", name, got, below, above, low, high)
		}
	}
	lint(t, scraped.URL)
}

// slow is how long a twentieth of the answers takes, so that the 99th percentile is
// theirs.
const slow = 60 * time.Millisecond

// failing starts a server that fails every so many requests; 0 is never.
func failing(t *testing.T, every int64) string {
	var n atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		i := n.Add(1)
		if i%20 == 0 {
			timer := time.NewTimer(slow)
			<-timer.C
		}
		if every > 0 && i%every == 0 {
			w.WriteHeader(http.StatusInternalServerError)
		}
	}))
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// call makes n calls to a service.
func call(t *testing.T, mesh *transport.Transport, name string, book *ledger, n int) {
	t.Helper()
	for range n {
		began := time.Now()
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+name+"/", nil)
		resp, err := mesh.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		book.note(time.Since(began), resp.StatusCode >= 500)
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
	}
}

// bucket are the bounds of the histogram around a value, in seconds. Times at a
// bound may fall on either side of it.
func bucket(v float64) (low, high float64) {
	bounds := []float64{0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10}
	for _, high := range bounds {
		if v*1.2 <= high {
			return max(0, low*0.8), high * 1.2
		}
		low = high
	}
	return low, math.Inf(1)
}

// prometheusServer is a running Prometheus.
type prometheusServer struct{ url string }

// scrape starts a Prometheus that scrapes target.
func scrape(t *testing.T, target string) *prometheusServer {
	t.Helper()
	dir := t.TempDir()
	config := filepath.Join(dir, "prometheus.yml")
	text := fmt.Sprintf("global: {scrape_interval: 1s, scrape_timeout: 1s}\nscrape_configs: [{job_name: tulle, static_configs: [{targets: [%q]}]}]\n", target)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	addr := free(t, 1)[0]
	start(t, exec.Command("prometheus", "--config.file="+config, "--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+addr))
	s := &prometheusServer{url: "http://" + addr}
	eventually(t, "Prometheus", func() bool {
		resp, err := http.Get(s.url + "/-/ready")
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
	return s
}

// value is the result of a query, once there is one: between a scrape that came too
// late and the next one there is none.
func (s *prometheusServer) value(t *testing.T, query string) (v float64) {
	t.Helper()
	eventually(t, query, func() bool {
		v = s.ask(t, query)
		return v >= 0
	})
	return v
}

// ask is the result of a query, -1 without one.
func (s *prometheusServer) ask(t *testing.T, query string) float64 {
	t.Helper()
	resp, err := http.Get(s.url + "/api/v1/query?query=" + url.QueryEscape(query))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var answer struct {
		Error string
		Data  struct{ Result []struct{ Value [2]any } }
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil || answer.Error != "" {
		t.Fatalf("%s: %v %s", query, err, answer.Error)
	}
	if len(answer.Data.Result) == 0 {
		return -1
	}
	v, err := strconv.ParseFloat(fmt.Sprint(answer.Data.Result[0].Value[1]), 64)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// wait waits until a query has the value.
func (s *prometheusServer) wait(t *testing.T, query string, is func(float64) bool) {
	t.Helper()
	eventually(t, query, func() bool { return is(s.ask(t, query)) })
}

// lint has promtool look at the metrics.
func lint(t *testing.T, url string) {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	cmd := exec.Command("promtool", "check", "metrics")
	cmd.Stdin = resp.Body
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("promtool: %v\n%s", err, out)
	}
}
