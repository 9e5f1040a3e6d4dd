package grpc_test

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/balancer/roundrobin"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"
	"google.golang.org/grpc/status"

	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/discovery"
	"github.com/tullemesh/tulle/transport"
	"github.com/tullemesh/tulle/transport/tullegrpc"
)

// A probe does a call over one channel.
type probe struct {
	sightings
	t       *testing.T
	cc      *grpc.ClientConn
	client  testpb.TestServiceClient
	servers *scripted
	arrive  func() // starts the servers of a call that is late
}

// A channel connects to servers with a service config. The policy is its own.
type channel func(t *testing.T, addrs []string, config string) (target string, options []grpc.DialOption)

// channels are those that are compared with the plain one.
func channels() map[string]channel {
	return map[string]channel{"tulle": tulleChannel, "foreign": foreignChannel}
}

// plainChannel has gRPC's own round_robin, and gRPC's own retries where the config
// asks for them.
func plainChannel(_ *testing.T, addrs []string, config string) (string, []grpc.DialOption) {
	r := manual.NewBuilderWithScheme("plain")
	var state resolver.State
	for _, addr := range addrs {
		state.Endpoints = append(state.Endpoints, resolver.Endpoint{Addresses: []resolver.Address{{Addr: addr}}})
	}
	r.InitialState(state)
	all := `{"loadBalancingConfig":[{"` + roundrobin.Name + `":{}}]`
	if config != "" {
		all += "," + config
	}
	return "plain:///users", []grpc.DialOption{grpc.WithResolvers(r), grpc.WithDefaultServiceConfig(all + "}")}
}

// foreignChannel is plainChannel with the options of tulle.
func foreignChannel(t *testing.T, addrs []string, config string) (string, []grpc.DialOption) {
	target, options := plainChannel(t, addrs, config)
	return target, append(tullegrpc.DialOptions(newMesh(t, nil)), options...)
}

// tulleChannel goes through a Transport with the default policy.
func tulleChannel(t *testing.T, addrs []string, config string) (string, []grpc.DialOption) {
	var options []tullegrpc.Option
	if config != "" {
		options = append(options, tullegrpc.ServiceConfig("{"+config+"}"))
	}
	return "tulle:///users", tullegrpc.DialOptions(newMesh(t, addrs), options...)
}

// newMesh is a Transport with the service "users", until the test ends.
func newMesh(t *testing.T, addrs []string) *transport.Transport {
	t.Helper()
	set := discovery.Static{}
	for _, addr := range addrs {
		set = append(set, tulle.Endpoint{Addr: addr})
	}
	mesh, err := transport.New(transport.Config{Services: map[string]transport.Service{"users": {Resolver: set}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := mesh.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return mesh
}

// over does the call over a channel to servers of its own.
func (c *call) over(t *testing.T, dial channel) *sightings {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), callTime)
	defer cancel()
	s := &scripted{}
	if c.server != nil {
		s.script = c.server()
	}
	p := &probe{t: t, servers: s}
	listeners := make([]net.Listener, groupSize)
	addrs := make([]string, groupSize)
	for i := range listeners {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		listeners[i], addrs[i] = l, l.Addr().String()
		if c.late {
			l.Close()
		}
	}
	p.arrive = sync.OnceFunc(func() { s.start(t, listeners, addrs) })
	if !c.late {
		p.arrive()
	}
	target, options := dial(t, addrs, c.config)
	cc, err := grpc.NewClient(target, append(options, insecurely())...)
	if err != nil {
		t.Fatal(err)
	}
	defer cc.Close()
	p.cc, p.client = cc, testpb.NewTestServiceClient(cc)
	c.do(ctx, p)
	s.tell(&p.sightings)
	var texts []string
	for _, addr := range addrs {
		texts = append(texts, addr, "ADDRESS")
	}
	return p.done(strings.NewReplacer(texts...))
}

// start serves on the listeners, or once more on the addresses of closed ones.
func (s *scripted) start(t *testing.T, listeners []net.Listener, addrs []string) {
	for i, l := range listeners {
		again, err := net.Listen("tcp", addrs[i])
		if err != nil {
			again = l // it is open still
		}
		g := grpc.NewServer(grpc.MaxRecvMsgSize(serverLimit))
		testpb.RegisterTestServiceServer(g, s)
		s.mu.Lock()
		s.all = append(s.all, g)
		s.mu.Unlock()
		serveOn(t, g, again)
	}
}

// serverLimit is the largest message that servers accept.
const serverLimit = 5 << 20

// A script is what servers do. What is nil they do as gRPC's test server would.
type script struct {
	unary  func(context.Context, *testpb.SimpleRequest) (*testpb.SimpleResponse, error)
	input  func(testpb.TestService_StreamingInputCallServer) error
	output func(*testpb.StreamingOutputCallRequest, testpb.TestService_StreamingOutputCallServer) error
	duplex func(testpb.TestService_FullDuplexCallServer) error
}

// scripted is the servers of a channel, and what they saw.
type scripted struct {
	testpb.UnimplementedTestServiceServer
	script *script

	mu   sync.Mutex
	all  []*grpc.Server // guarded by mu
	rpcs []string       // guarded by mu: the metadata of each
}

// stop breaks all connections.
func (s *scripted) stop() {
	s.mu.Lock()
	all := s.all
	s.mu.Unlock()
	for _, g := range all {
		go g.Stop() // it waits for the handlers, one of which may be the caller
	}
}

// came takes note of an RPC. The mesh headers of tulle are for servers that know
// them, and are not compared.
func (s *scripted) came(ctx context.Context) {
	md, _ := metadata.FromIncomingContext(ctx)
	maps.DeleteFunc(md, func(key string, _ []string) bool { return strings.HasPrefix(key, "tulle-") })
	_, limited := ctx.Deadline()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rpcs = append(s.rpcs, fmt.Sprintf("%s deadline=%v", text(md), limited))
}

// tell says what the servers saw.
func (s *scripted) tell(to *sightings) {
	s.mu.Lock()
	defer s.mu.Unlock()
	to.see("rpcs", "%d", len(s.rpcs))
	for _, rpc := range s.rpcs {
		to.see("request", "%s", rpc)
	}
}

// UnaryCall implements testpb.TestServiceServer.
func (s *scripted) UnaryCall(ctx context.Context, in *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
	s.came(ctx)
	if s.script != nil && s.script.unary != nil {
		return s.script.unary(ctx, in)
	}
	return &testpb.SimpleResponse{Payload: in.Payload}, nil
}

// StreamingInputCall implements testpb.TestServiceServer.
func (s *scripted) StreamingInputCall(stream testpb.TestService_StreamingInputCallServer) error {
	s.came(stream.Context())
	if s.script != nil && s.script.input != nil {
		return s.script.input(stream)
	}
	sum := int32(0)
	for {
		in, err := stream.Recv()
		if err == io.EOF {
			return stream.SendAndClose(&testpb.StreamingInputCallResponse{AggregatedPayloadSize: sum})
		}
		if err != nil {
			return err
		}
		sum += int32(len(in.Payload.GetBody()))
	}
}

// StreamingOutputCall implements testpb.TestServiceServer.
func (s *scripted) StreamingOutputCall(in *testpb.StreamingOutputCallRequest, stream testpb.TestService_StreamingOutputCallServer) error {
	s.came(stream.Context())
	if s.script != nil && s.script.output != nil {
		return s.script.output(in, stream)
	}
	for _, p := range in.ResponseParameters {
		if err := stream.Send(&testpb.StreamingOutputCallResponse{Payload: body(int(p.Size))}); err != nil {
			return err
		}
	}
	return nil
}

// FullDuplexCall implements testpb.TestServiceServer.
func (s *scripted) FullDuplexCall(stream testpb.TestService_FullDuplexCallServer) error {
	s.came(stream.Context())
	if s.script != nil && s.script.duplex != nil {
		return s.script.duplex(stream)
	}
	for {
		in, err := stream.Recv()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if err := stream.Send(&testpb.StreamingOutputCallResponse{Payload: in.Payload}); err != nil {
			return err
		}
	}
}

// body is a payload of n bytes.
func body(n int) *testpb.Payload { return &testpb.Payload{Body: make([]byte, n)} }

// ended takes note of how a call ended. The text of an error is seen only where it
// says something else than its status.
func (p *probe) ended(key string, err error) {
	if err == nil || err == io.EOF {
		p.see(key, "%v", err)
		return
	}
	st := status.Convert(err)
	details := make([]string, 0, len(st.Details()))
	for _, d := range st.Details() {
		details = append(details, fmt.Sprintf("%T(%v)", d, d))
	}
	p.see(key, "%v %q %q", st.Code(), st.Message(), details)
	if text := err.Error(); !strings.HasSuffix(text, st.Message()) {
		p.see(key+"-text", "%q", text)
	}
}

// metadata takes note of headers or trailers.
func (p *probe) metadata(key string, md metadata.MD) { p.see(key, "%s", text(md)) }

// text is metadata in order.
func text(md metadata.MD) string {
	var b strings.Builder
	for _, key := range slices.Sorted(maps.Keys(md)) {
		fmt.Fprintf(&b, "%s=%q ", key, md[key])
	}
	return b.String()
}

// peer takes note of whether the peer is known.
func (p *probe) peer(from *peer.Peer) {
	p.see("peer", "%v %v %v", from.Addr != nil, from.LocalAddr != nil, from.AuthInfo != nil)
}

// unary makes a unary call with all that gRPC can tell of it.
func (p *probe) unary(ctx context.Context, in *testpb.SimpleRequest, options ...grpc.CallOption) *testpb.SimpleResponse {
	var header, trailer metadata.MD
	var from peer.Peer
	options = append(options, grpc.Header(&header), grpc.Trailer(&trailer), grpc.Peer(&from))
	out, err := p.client.UnaryCall(ctx, in, options...)
	p.ended("status", err)
	p.see("response", "%d bytes, name %q", len(out.GetPayload().GetBody()), out.GetUsername())
	p.metadata("header", header)
	p.metadata("trailer", trailer)
	p.peer(&from)
	return out
}
