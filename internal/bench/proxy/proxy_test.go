package proxy_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/tullemesh/tulle/internal/bench/measure"
	"github.com/tullemesh/tulle/internal/bench/proxy"
	"github.com/tullemesh/tulle/internal/leak"
)

func TestMain(m *testing.M) { leak.Main(m) }

// need skips the test where a program is not installed.
func need(t *testing.T, err error) {
	t.Helper()
	if errors.Is(err, proxy.ErrMissing) {
		t.Skipf("SKIPPED, THIS IS NOT TESTED: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// Each proxy hands calls on to all its servers, over connections that are kept,
// and tells which processes it has.
func TestProxy(t *testing.T) {
	for _, k := range proxy.Kinds() {
		t.Run(k.Name, func(t *testing.T) {
			var hits [3]atomic.Int64
			var addrs []string
			for i := range hits {
				srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
					hits[i].Add(1)
					_, _ = io.Copy(w, req.Body) // the client sees what is missing
				}))
				defer srv.Close()
				addrs = append(addrs, srv.Listener.Addr().String())
			}
			p, err := k.Start(context.Background(), addrs)
			need(t, err)
			rt := &http.Transport{}
			const calls = 60
			for range calls {
				echo(t, rt, p.Addr)
			}
			rt.CloseIdleConnections()
			total := int64(0)
			for i := range hits {
				if n := hits[i].Load(); n == 0 {
					t.Errorf("server %d got no call", i)
				} else {
					total += n
				}
			}
			if total != calls {
				t.Errorf("the servers got %d calls, want %d", total, calls)
			}
			if measure.ProcessCPU(p.PIDs()...) == 0 {
				t.Errorf("its processes %v used no processor time", p.PIDs())
			}
			if err := p.Close(); err != nil {
				t.Errorf("the end of it: %v", err)
			}
		})
	}
}

// echo makes one call and checks the answer.
func echo(t *testing.T, rt http.RoundTripper, addr string) {
	t.Helper()
	req, err := http.NewRequest(http.MethodPost, "http://"+addr+"/", strings.NewReader("hello"))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := rt.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close() // read to its end
	if err != nil || resp.StatusCode != 200 || !bytes.Equal(body, []byte("hello")) {
		t.Fatalf("got %d, %q, %v, want what was sent", resp.StatusCode, body, err)
	}
}

func TestVersion(t *testing.T) {
	for _, k := range proxy.Kinds() {
		t.Run(k.Name, func(t *testing.T) {
			got, err := k.Version()
			need(t, err)
			if !strings.Contains(strings.ToLower(got), k.Name) || strings.Contains(got, "\n") {
				t.Errorf("got %q, want one line with the name", got)
			}
		})
	}
}

// A program that is not there is told apart from one that does not start.
func TestMissing(t *testing.T) {
	k := proxy.Kind{Name: "no-such-proxy"}
	if _, err := k.Start(context.Background(), nil); !errors.Is(err, proxy.ErrMissing) || !strings.Contains(err.Error(), "no-such-proxy") {
		t.Errorf("got %v, want ErrMissing with the name", err)
	}
	if _, err := k.Version(); !errors.Is(err, proxy.ErrMissing) {
		t.Errorf("got %v, want ErrMissing", err)
	}
}

// A configuration that the program refuses is an error with what it said.
func TestRefused(t *testing.T) {
	for _, k := range proxy.Kinds() {
		t.Run(k.Name, func(t *testing.T) {
			_, err := k.Version()
			need(t, err)
			ctx, stop := context.WithCancel(context.Background())
			stop()
			p, err := k.Start(ctx, []string{"not an address"})
			if err == nil {
				t.Fatal(p.Close(), "it started with a server that has no address")
			}
			var exit *exec.ExitError
			if !errors.As(err, &exit) && !errors.Is(err, context.Canceled) {
				t.Errorf("got %v, want that it ended or does not listen", err)
			}
		})
	}
}
