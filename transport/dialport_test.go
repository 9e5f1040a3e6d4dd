package transport_test

import (
	"net"
	"testing"

	"github.com/tullemesh/tulle/transport"
	"github.com/tullemesh/tulle/transport/route"
)

// A connection obeys rules for the port that it is made to, and no others of ports.
func TestDialPort(t *testing.T) {
	listen := func() net.Listener {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = l.Close() })
		return l
	}
	own, other := listen(), listen()
	rt := newTransport(t, transport.Config{Services: map[string]transport.Service{
		"db": {
			Target: "static://" + own.Addr().String(),
			Rules:  []route.Rule{{Ports: []int{5432}, Backends: []route.Backend{{Service: "other"}}}},
		},
		"other": {Target: "static://" + other.Addr().String()},
	}})
	for addr, want := range map[string]net.Listener{"db:5432": other, "db:5433": own} {
		conn, err := rt.DialContext(t.Context(), "tcp", addr)
		if err != nil || conn.RemoteAddr().String() != want.Addr().String() {
			t.Errorf("%s: got %v, %v, want %v", addr, conn, err, want.Addr())
			continue
		}
		_ = conn.Close()
	}
}
