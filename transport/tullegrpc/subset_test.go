package tullegrpc_test

import (
	"fmt"
	"net"
	"sync"
	"testing"

	"google.golang.org/grpc"
	testpb "google.golang.org/grpc/interop/grpc_testing"

	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/discovery"
	"github.com/tullemesh/tulle/transport"
)

// dialled is a listener that notes at which addresses it was connected to.
type dialled struct {
	net.Listener
	mu    sync.Mutex
	addrs map[string]bool // guarded by mu
}

// Accept implements net.Listener.
func (d *dialled) Accept() (net.Conn, error) {
	c, err := d.Listener.Accept()
	if err == nil {
		d.mu.Lock()
		d.addrs[c.LocalAddr().String()] = true
		d.mu.Unlock()
	}
	return c, err
}

// Of a large set only the endpoints of the subset are connected to.
func TestSubset(t *testing.T) {
	l, err := net.Listen("tcp4", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	d := &dialled{Listener: l, addrs: make(map[string]bool)}
	s := &server{grpc: grpc.NewServer(), addr: "any"}
	testpb.RegisterTestServiceServer(s.grpc, s)
	go s.grpc.Serve(d)
	t.Cleanup(s.grpc.Stop)
	var set discovery.Static
	for i := range 2000 {
		addr := fmt.Sprintf("127.1.%d.%d:%d", i/250, i%250+1, l.Addr().(*net.TCPAddr).Port)
		set = append(set, tulle.Endpoint{Addr: addr})
	}
	const size = 10
	m := mesh(t, transport.Service{Resolver: discovery.Subset{Resolver: set, Size: size}})
	users := connect(t, m, "tulle:///users")
	for range 300 {
		if _, err := users.UnaryCall(within(t), &testpb.SimpleRequest{}); err != nil {
			t.Fatal(err)
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if n := len(d.addrs); n == 0 || n > size {
		t.Errorf("got connections to %d of %d endpoints, want at most the %d of the subset", n, len(set), size)
	}
}
