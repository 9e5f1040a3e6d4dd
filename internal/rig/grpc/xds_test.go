package grpc_test

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	clusterpb "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corepb "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointpb "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerpb "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routepb "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	routerpb "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	managerpb "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	discoverypb "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/types"
	"github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	controlplane "github.com/envoyproxy/go-control-plane/pkg/server/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/xds"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/tullemesh/tulle/transport"
	"github.com/tullemesh/tulle/transport/tullegrpc"
)

// A target of the scheme xds keeps its control plane, its resolver and its balancer
// under DialOptions: calls reach all endpoints that a real control plane names, and are
// repeated as its route says.
func TestXDS(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	seen := make(map[string]bool)
	var addrs []string
	var failing atomic.Int64
	for range 3 {
		addrs = append(addrs, named(t, &failing))
	}
	builder, err := xds.NewXDSResolverWithConfigForTesting(fmt.Appendf(nil,
		`{"xds_servers":[{"server_uri":%q,"channel_creds":[{"type":"insecure"}],"server_features":["xds_v3"]}],"node":{"id":"test"}}`,
		controlPlane(ctx, t, addrs)))
	if err != nil {
		t.Fatal(err)
	}
	mesh, err := transport.New(transport.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer mesh.Close()
	cc, err := grpc.NewClient("xds:///users", append(tullegrpc.DialOptions(mesh),
		grpc.WithResolvers(builder), grpc.WithTransportCredentials(insecure.NewCredentials()))...)
	if err != nil {
		t.Fatal(err)
	}
	defer cc.Close()
	users := testpb.NewTestServiceClient(cc)
	for len(seen) < len(addrs) {
		reply, err := users.UnaryCall(ctx, &testpb.SimpleRequest{}, grpc.WaitForReady(true))
		if err != nil {
			t.Fatalf("got %v after the servers %v", err, seen)
		}
		seen[reply.Hostname] = true
	}
	failing.Store(2)
	if _, err := users.UnaryCall(ctx, &testpb.SimpleRequest{}); err != nil || failing.Load() != 0 {
		t.Errorf("got %v with %d failures left, want the answer to the third attempt", err, failing.Load())
	}
	stream, err := users.FullDuplexCall(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.CloseSend(); err != nil {
		t.Error(err)
	}
}

// namedServer answers with its address, or fails while failing is over 0.
type namedServer struct {
	testpb.UnimplementedTestServiceServer
	addr    string
	failing *atomic.Int64
}

// UnaryCall answers a call.
func (s *namedServer) UnaryCall(context.Context, *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
	if s.failing.Load() > 0 {
		s.failing.Add(-1)
		return nil, status.Error(codes.Unavailable, "on purpose")
	}
	return &testpb.SimpleResponse{Hostname: s.addr}, nil
}

// named starts a server and returns its address.
func named(t *testing.T, failing *atomic.Int64) string {
	l := loopback(t)
	server := grpc.NewServer()
	testpb.RegisterTestServiceServer(server, &namedServer{addr: l.Addr().String(), failing: failing})
	go server.Serve(l)
	t.Cleanup(server.Stop)
	return l.Addr().String()
}

// loopback listens on loopback.
func loopback(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// packed is a message in an Any.
func packed(t *testing.T, m proto.Message) *anypb.Any {
	t.Helper()
	a, err := anypb.New(m)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// controlPlane starts a control plane that names the endpoints of the service users,
// and returns its address.
func controlPlane(ctx context.Context, t *testing.T, addrs []string) string {
	t.Helper()
	ads := &corepb.ConfigSource{
		ResourceApiVersion:    corepb.ApiVersion_V3,
		ConfigSourceSpecifier: &corepb.ConfigSource_Ads{Ads: &corepb.AggregatedConfigSource{}},
	}
	manager := packed(t, &managerpb.HttpConnectionManager{
		RouteSpecifier: &managerpb.HttpConnectionManager_Rds{Rds: &managerpb.Rds{ConfigSource: ads, RouteConfigName: "routes"}},
		HttpFilters: []*managerpb.HttpFilter{{
			Name: "router", ConfigType: &managerpb.HttpFilter_TypedConfig{TypedConfig: packed(t, &routerpb.Router{})},
		}},
	})
	routes := &routepb.RouteConfiguration{Name: "routes", VirtualHosts: []*routepb.VirtualHost{{
		Name: "all", Domains: []string{"*"},
		Routes: []*routepb.Route{{
			Match: &routepb.RouteMatch{PathSpecifier: &routepb.RouteMatch_Prefix{Prefix: ""}},
			Action: &routepb.Route_Route{Route: &routepb.RouteAction{
				ClusterSpecifier: &routepb.RouteAction_Cluster{Cluster: "users"},
				RetryPolicy:      &routepb.RetryPolicy{RetryOn: "unavailable", NumRetries: wrapperspb.UInt32(2)},
			}},
		}},
	}}}
	cluster := &clusterpb.Cluster{
		Name:                 "users",
		ClusterDiscoveryType: &clusterpb.Cluster_Type{Type: clusterpb.Cluster_EDS},
		EdsClusterConfig:     &clusterpb.Cluster_EdsClusterConfig{EdsConfig: ads},
	}
	snapshot, err := cache.NewSnapshot("1", map[resource.Type][]types.Resource{
		resource.ListenerType: {&listenerpb.Listener{Name: "users", ApiListener: &listenerpb.ApiListener{ApiListener: manager}}},
		resource.RouteType:    {routes},
		resource.ClusterType:  {cluster},
		resource.EndpointType: {assignment(t, addrs)},
	})
	if err != nil {
		t.Fatal(err)
	}
	all := cache.NewSnapshotCache(true, cache.IDHash{}, nil)
	if err := all.SetSnapshot(ctx, "test", snapshot); err != nil {
		t.Fatal(err)
	}
	l, server := loopback(t), grpc.NewServer()
	discoverypb.RegisterAggregatedDiscoveryServiceServer(server, controlplane.NewServer(ctx, all, nil))
	go server.Serve(l)
	t.Cleanup(server.Stop)
	return l.Addr().String()
}

// assignment is the endpoints of the service.
func assignment(t *testing.T, addrs []string) *endpointpb.ClusterLoadAssignment {
	t.Helper()
	var endpoints []*endpointpb.LbEndpoint
	for _, addr := range addrs {
		host, port, err := net.SplitHostPort(addr)
		if err != nil {
			t.Fatal(err)
		}
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil {
			t.Fatal(err)
		}
		socket := &corepb.SocketAddress{Address: host, PortSpecifier: &corepb.SocketAddress_PortValue{PortValue: uint32(n)}}
		endpoints = append(endpoints, &endpointpb.LbEndpoint{HostIdentifier: &endpointpb.LbEndpoint_Endpoint{
			Endpoint: &endpointpb.Endpoint{Address: &corepb.Address{Address: &corepb.Address_SocketAddress{SocketAddress: socket}}},
		}})
	}
	return &endpointpb.ClusterLoadAssignment{ClusterName: "users", Endpoints: []*endpointpb.LocalityLbEndpoints{{
		Locality: &corepb.Locality{Zone: "a"}, LoadBalancingWeight: wrapperspb.UInt32(1), LbEndpoints: endpoints,
	}}}
}
