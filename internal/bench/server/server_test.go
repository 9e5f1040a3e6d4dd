package server_test

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/tullemesh/tulle/internal/bench/server"
	"github.com/tullemesh/tulle/internal/leak"
)

func TestMain(m *testing.M) {
	server.Main()
	leak.Main(m)
}

// start starts a server that ends with the test.
func start(t *testing.T) *server.Process {
	t.Helper()
	p, err := server.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Errorf("the end of the server: %v", err)
		}
	})
	return p
}

func TestHTTP(t *testing.T) {
	p := start(t)
	if p.PID() == os.Getpid() {
		t.Error("the server is this process, want one of its own")
	}
	rt := &http.Transport{}
	defer rt.CloseIdleConnections()
	c := &http.Client{Transport: rt}
	for _, addr := range p.HTTP(3) {
		resp, err := c.Post("http://"+addr+"/", "text/plain", strings.NewReader("hello"))
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close() // read to its end
		if err != nil || resp.StatusCode != 200 || !bytes.Equal(body, server.Body) {
			t.Errorf("%s: got %d, %q, %v, want the body", addr, resp.StatusCode, body, err)
		}
	}
	count(t, p, 3)
}

// count wants the server to have answered that many calls.
func count(t *testing.T, p *server.Process, want int64) {
	t.Helper()
	got, err := p.Count()
	http.DefaultClient.CloseIdleConnections()
	if err != nil || got != want {
		t.Errorf("got a count of %d and %v, want %d", got, err, want)
	}
}

func TestGRPC(t *testing.T) {
	p := start(t)
	conn, err := grpc.NewClient(p.GRPC(1)[0], grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close() // nothing to be lost
	out := new(wrapperspb.BytesValue)
	if err := conn.Invoke(context.Background(), server.EchoMethod, wrapperspb.Bytes([]byte("x")), out); err != nil || string(out.GetValue()) != "x" {
		t.Errorf("got %q and %v, want what was sent", out.GetValue(), err)
	}
	err = conn.Invoke(context.Background(), server.EchoMethod, wrapperspb.Bytes(nil), out)
	if status.Code(err) != codes.InvalidArgument {
		t.Errorf("nothing sent: got %v, want InvalidArgument", err)
	}
	count(t, p, 1)
}

func TestAddrs(t *testing.T) {
	got := server.Addrs(70000, 80)
	seen := map[string]bool{}
	for _, addr := range got {
		if seen[addr] || !strings.HasPrefix(addr, "127.") || !strings.HasSuffix(addr, ":80") {
			t.Fatalf("got %s, want loopback addresses that differ", addr)
		}
		seen[addr] = true
	}
	if got[0] != "127.0.1.0:80" || got[65535] != "127.1.0.255:80" {
		t.Errorf("got %s and %s, want 127.0.1.0:80 and 127.1.0.255:80", got[0], got[65535])
	}
	p := start(t)
	web, rpc := p.Ports()
	if p.HTTP(1)[0] != server.Addrs(1, web)[0] || p.GRPC(1)[0] != server.Addrs(1, rpc)[0] || web == rpc {
		t.Errorf("got the ports %d and %d for %s and %s", web, rpc, p.HTTP(1)[0], p.GRPC(1)[0])
	}
}

// A server whose parent is gone ends, too: Close does no more than close a pipe.
func TestClose(t *testing.T) {
	p, err := server.Start()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := (&http.Transport{}).RoundTrip(must(http.NewRequest(http.MethodGet, "http://"+p.HTTP(1)[0]+"/", nil))); err == nil {
		t.Error("the server answers after its end")
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
