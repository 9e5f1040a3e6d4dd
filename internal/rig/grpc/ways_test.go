package grpc_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"maps"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"
	"google.golang.org/grpc/test/bufconn"

	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/discovery"
	"github.com/tullemesh/tulle/transport"
	"github.com/tullemesh/tulle/transport/tullegrpc"
)

// A way is how a program gets its connection. All but the first have
// tullegrpc.DialOptions.
type way struct {
	name    string
	connect func(peers) (cc *grpc.ClientConn, done func() error, err error)
	foreign bool // the target keeps its own resolver and balancer
	secure  bool // the servers are those with TLS
	own     bool // the server is the connection's own, in its process
}

// peers are whom a connection is for.
type peers struct {
	addrs  []string
	roots  string // of their certificates, as PEM
	policy string // the balancer that is wanted, "" for any
}

// ways are all ways. The first is the measure: what fails without tulle says
// nothing of it.
func ways() []way {
	return []way{
		{name: "plain", foreign: true, connect: func(p peers) (*grpc.ClientConn, func() error, error) {
			cc, err := grpc.NewClient("passthrough:///"+p.addrs[0], p.serviceConfig(), insecurely())
			return cc, func() error { return cc.Close() }, err
		}},
		{name: "tulle", connect: func(p peers) (*grpc.ClientConn, func() error, error) {
			return p.through(transport.Service{}, "tulle:///users", insecurely())
		}},
		{name: "tulle-tls", secure: true, connect: func(p peers) (*grpc.ClientConn, func() error, error) {
			roots := x509.NewCertPool()
			if !roots.AppendCertsFromPEM([]byte(p.roots)) {
				return nil, nil, errors.New("there is no certificate")
			}
			s := transport.Service{TLS: &tls.Config{RootCAs: roots}, TLSServerName: certificateName}
			creds := tullegrpc.Credentials(insecure.NewCredentials())
			return p.through(s, "tulle:///users", grpc.WithTransportCredentials(creds))
		}},
		{name: "dns", foreign: true, connect: func(p peers) (*grpc.ClientConn, func() error, error) {
			return p.through(transport.Service{}, "dns:///"+p.addrs[0], p.serviceConfig(), insecurely())
		}},
		{name: "passthrough", foreign: true, connect: func(p peers) (*grpc.ClientConn, func() error, error) {
			return p.through(transport.Service{}, "passthrough:///"+p.addrs[0], p.serviceConfig(), insecurely())
		}},
		{name: "bufconn", foreign: true, own: true, connect: bufconnected},
	}
}

// insecurely is the option of a connection without TLS.
func insecurely() grpc.DialOption {
	return grpc.WithTransportCredentials(insecure.NewCredentials())
}

// serviceConfig names the balancer that is wanted.
func (p peers) serviceConfig() grpc.DialOption {
	if p.policy == "" {
		return grpc.EmptyDialOption{}
	}
	return grpc.WithDefaultServiceConfig(`{"loadBalancingConfig":[{"` + p.policy + `":{}}]}`)
}

// through connects to target with the options of a Transport that has the peers
// as its service "users".
func (p peers) through(s transport.Service, target string, options ...grpc.DialOption) (*grpc.ClientConn, func() error, error) {
	var set discovery.Static
	for _, addr := range p.addrs {
		set = append(set, tulle.Endpoint{Addr: addr})
	}
	s.Resolver = set
	t, err := transport.New(transport.Config{Services: map[string]transport.Service{"users": s}})
	if err != nil {
		return nil, nil, err
	}
	cc, err := grpc.NewClient(target, append(tullegrpc.DialOptions(t), options...)...)
	if err != nil {
		return nil, nil, errors.Join(err, t.Close())
	}
	return cc, func() error { return errors.Join(cc.Close(), t.Close()) }, nil
}

// bufconnected connects to a server in the same process, by a dialer of its own.
func bufconnected(p peers) (*grpc.ClientConn, func() error, error) {
	l := bufconn.Listen(1 << 20)
	server := newInteropServer("buf", new(atomic.Int64))
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	cc, done, err := p.through(transport.Service{}, "passthrough:///bufnet", p.serviceConfig(), insecurely(),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return l.DialContext(ctx) }))
	if err != nil {
		server.Stop()
		return nil, nil, errors.Join(err, <-served)
	}
	return cc, func() error {
		err := done()
		server.Stop()
		return errors.Join(err, <-served)
	}, nil
}

// The balancer of a target that is not tulle's goes on as before: round_robin gives
// each server its turn.
func TestForeignBalancer(t *testing.T) {
	var rpcs atomic.Int64
	var state resolver.State
	for _, name := range []string{"a", "b", "c"} {
		addr := listen(t, newInteropServer(name, &rpcs))
		state.Endpoints = append(state.Endpoints, resolver.Endpoint{Addresses: []resolver.Address{{Addr: addr}}})
	}
	list := manual.NewBuilderWithScheme("foreign")
	list.InitialState(state)
	cc, done, err := peers{policy: "round_robin"}.through(transport.Service{}, "foreign:///users",
		peers{policy: "round_robin"}.serviceConfig(), grpc.WithResolvers(list), insecurely())
	if err != nil {
		t.Fatal(err)
	}
	defer done()
	turn := func() map[string]int {
		names := make(map[string]int)
		for range groupSize {
			out, err := testpb.NewTestServiceClient(cc).UnaryCall(t.Context(), &testpb.SimpleRequest{FillServerId: true})
			if err != nil {
				t.Fatal(err)
			}
			names[out.ServerId]++
		}
		return names
	}
	for len(turn()) < groupSize { // until all are connected
		if t.Context().Err() != nil {
			t.Fatal("not all servers were called")
		}
	}
	for range 10 {
		if got := turn(); len(got) != groupSize {
			t.Errorf("got calls at %v, want one at each", slices.Collect(maps.Keys(got)))
		}
	}
}

// What a server reports of its load with a call (the interop case orca_per_rpc) is
// kept with its endpoint.
func TestLoadReport(t *testing.T) {
	g := newGroup(t)
	mesh := newMesh(t, strings.Split(g.plain, ","))
	cc, err := grpc.NewClient("tulle:///users", append(tullegrpc.DialOptions(mesh), insecurely())...)
	if err != nil {
		t.Fatal(err)
	}
	defer cc.Close()
	var info transport.Info
	_, err = testpb.NewTestServiceClient(cc).UnaryCall(t.Context(), &testpb.SimpleRequest{
		OrcaPerQueryReport: &testpb.TestOrcaReport{
			CpuUtilization: 0.8210, MemoryUtilization: 0.5847, Utilization: map[string]float64{"util": 0.30499},
		},
	}, tullegrpc.AttemptInfo(&info))
	if err != nil {
		t.Fatal(err)
	}
	want := tulle.Load{CPU: 0.8210, Memory: 0.5847, Utilization: map[string]float64{"util": 0.30499}}
	for _, e := range mesh.Snapshot().Services[0].Endpoints {
		switch {
		case e.Addr != info.Endpoint.Addr:
			if e.Load != nil {
				t.Errorf("%s: got %+v, want no report of an endpoint without calls", e.Addr, e.Load)
			}
		case e.Load == nil || e.Load.CPU != want.CPU || e.Load.Memory != want.Memory || !maps.Equal(e.Load.Utilization, want.Utilization):
			t.Errorf("%s: got %+v, want %+v", e.Addr, e.Load, want)
		}
	}
}
