package otelrig_test

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// output collects what a process writes.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer // guarded by mu
}

// Write implements io.Writer.
func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

// String is what was written so far.
func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// process is a program that runs beside the test.
type process struct {
	cmd *exec.Cmd
	out *output
}

// start runs a program until the test ends.
func start(t *testing.T, cmd *exec.Cmd) *process {
	t.Helper()
	p := &process{cmd: cmd, out: new(output)}
	cmd.Stdout, cmd.Stderr = p.out, p.out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.stop(t) })
	return p
}

// stop asks the program to end, and waits for it.
func (p *process) stop(t *testing.T) {
	t.Helper()
	if p.cmd.ProcessState != nil {
		return
	}
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	err := p.cmd.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Errorf("%s: %v", p.cmd.Path, err)
	}
	if t.Failed() {
		t.Logf("%s:\n%s", p.cmd.Path, p.out)
	}
}

// free are addresses on loopback that nobody listens on.
func free(t *testing.T, n int) (addrs []string) {
	t.Helper()
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		addrs = append(addrs, l.Addr().String())
	}
	return addrs
}

// patience bounds what a test waits for.
const patience = 60 * time.Second

// eventually waits until a condition holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for !holds() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("%s did not come about", what)
		}
	}
}

// collector is a running OpenTelemetry Collector.
type collector struct {
	*process
	url  string // of OTLP over HTTP
	file string // what it received, a JSON object on each line
}

// collect builds and starts a collector.
func collect(t *testing.T) *collector {
	t.Helper()
	dir := t.TempDir()
	program := filepath.Join(dir, "otelcol")
	build := exec.Command("go", "build", "-o", program, ".")
	build.Dir = filepath.Join("..", "otelcol")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building the collector: %v\n%s", err, out)
	}
	addr := free(t, 1)[0]
	c := &collector{url: "http://" + addr, file: filepath.Join(dir, "out.jsonl")}
	config := filepath.Join(dir, "config.yaml")
	text := strings.NewReplacer("ADDR", addr, "FILE", c.file).Replace(`
receivers:
  otlp: {protocols: {http: {endpoint: ADDR}}}
exporters:
  file: {path: FILE, flush_interval: 100ms}
service:
  telemetry: {metrics: {level: none}}
  pipelines:
    traces: {receivers: [otlp], exporters: [file]}
    metrics: {receivers: [otlp], exporters: [file]}
`)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c.process = start(t, exec.Command(program, "--config", config))
	eventually(t, "the collector", func() bool {
		resp, err := http.Post(c.url+"/v1/traces", "application/json", strings.NewReader("{}"))
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
	return c
}
