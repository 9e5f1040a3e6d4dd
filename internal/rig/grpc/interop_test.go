package grpc_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/interop"
	testpb "google.golang.org/grpc/interop/grpc_testing"
)

// An interopCase is one of gRPC's interop cases. Its func ends the process when it
// fails.
type interopCase struct {
	name string
	run  func(context.Context, *link)
	rpcs int64 // least number that the servers must see

	// policy is the balancer that the case needs. It brings that itself, so it
	// is run with the targets only that keep their own.
	policy string
}

// A link is what a case works with.
type link struct {
	cc      *grpc.ClientConn
	connect func() (cc *grpc.ClientConn, done func() error, err error) // another one
}

// client makes calls over the link.
func (l *link) client() testpb.TestServiceClient { return testpb.NewTestServiceClient(l.cc) }

// callCase makes a case of one of the many funcs that take call options.
func callCase(name string, rpcs int64, do func(context.Context, testpb.TestServiceClient, ...grpc.CallOption)) interopCase {
	return interopCase{name: name, rpcs: rpcs, run: func(ctx context.Context, l *link) { do(ctx, l.client()) }}
}

// interopCases are all cases of gRPC's interop client, but those that need
// credentials of Google's, and orca_oob: gRPC's server sends load reports out of
// band every 30 s at most unless its own internals are changed, and the case ends
// after 30 s.
func interopCases() []interopCase {
	return []interopCase{
		callCase("empty_unary", 1, interop.DoEmptyUnaryCall),
		callCase("large_unary", 1, interop.DoLargeUnaryCall),
		callCase("client_streaming", 1, interop.DoClientStreaming),
		callCase("server_streaming", 1, interop.DoServerStreaming),
		callCase("ping_pong", 1, interop.DoPingPong),
		callCase("empty_stream", 1, interop.DoEmptyStream),
		callCase("timeout_on_sleeping_server", 0, interop.DoTimeoutOnSleepingServer), // it may end before it is sent
		callCase("cancel_after_begin", 0, interop.DoCancelAfterBegin),
		callCase("cancel_after_first_response", 1, interop.DoCancelAfterFirstResponse),
		callCase("status_code_and_message", 2, interop.DoStatusCodeAndMessage),
		callCase("special_status_message", 1, interop.DoSpecialStatusMessage),
		callCase("custom_metadata", 2, interop.DoCustomMetadata),
		{name: "unimplemented_method", rpcs: 1, run: func(ctx context.Context, l *link) {
			interop.DoUnimplementedMethod(ctx, l.cc)
		}},
		{name: "unimplemented_service", rpcs: 1, run: func(ctx context.Context, l *link) {
			interop.DoUnimplementedService(ctx, testpb.NewUnimplementedServiceClient(l.cc))
		}},
		{name: "rpc_soak", rpcs: soakRPCs, run: func(ctx context.Context, l *link) {
			soak(ctx, func() (*grpc.ClientConn, func()) { return l.cc, func() {} })
		}},
		{name: "channel_soak", rpcs: soakRPCs, run: channelSoak},
		{name: "pick_first_unary", policy: "pick_first", rpcs: 100, run: func(ctx context.Context, l *link) {
			interop.DoPickFirstUnary(ctx, l.client())
		}},
		{name: "orca_per_rpc", policy: "test_backend_metrics_load_balancer", rpcs: 1, run: func(ctx context.Context, l *link) {
			interop.DoORCAPerRPCTest(ctx, l.client())
		}},
	}
}

// soakRPCs is the number of calls of the soak cases.
const soakRPCs = 40

// soak makes calls from several goroutines, on the connections that it is given.
func soak(ctx context.Context, channel func() (*grpc.ClientConn, func())) {
	interop.DoSoakTest(ctx, interop.SoakTestConfig{
		RequestSize: 27182, ResponseSize: 31415, ChannelForTest: channel,
		NumWorkers: 4, Iterations: soakRPCs, OverallTimeout: caseTime, PerIterationMaxAcceptableLatency: caseTime,
	})
}

// channelSoak has a new connection for each call.
func channelSoak(ctx context.Context, l *link) {
	soak(ctx, func() (*grpc.ClientConn, func()) {
		cc, done, err := l.connect()
		if err != nil {
			log.Fatal(err)
		}
		return cc, func() {
			if err := done(); err != nil {
				log.Fatal(err)
			}
		}
	})
}

// caseTime is the longest that a case may take.
const caseTime = 60 * time.Second

// What the parent tells the process of a case.
const (
	caseVar  = "TULLE_RIG_CASE"
	wayVar   = "TULLE_RIG_WAY"
	addrsVar = "TULLE_RIG_ADDRS"
	rootsVar = "TULLE_RIG_ROOTS"
)

// TestInterop runs every case in each way, in a process of its own.
func TestInterop(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	g := newGroup(t)
	for _, w := range ways() {
		t.Run(w.name, func(t *testing.T) {
			for _, c := range interopCases() {
				if c.policy != "" && !w.foreign {
					continue
				}
				t.Run(c.name, func(t *testing.T) { runProcess(t, self, g, &w, &c) })
			}
		})
	}
}

// runProcess runs a case and holds its end against what the servers saw.
func runProcess(t *testing.T, self string, g *group, w *way, c *interopCase) {
	t.Helper()
	addrs := g.plain
	if w.secure {
		addrs = g.secure
	}
	before := g.rpcs.Load()
	out, err := process(t, self, caseVar+"="+c.name, wayVar+"="+w.name, addrsVar+"="+addrs, rootsVar+"="+g.roots)
	if err != nil {
		t.Fatalf("%v, want success; output:\n%s", err, out)
	}
	// The servers of a bufconn are in the other process.
	if got := g.rpcs.Load() - before; !w.own && got < c.rpcs {
		t.Errorf("got %d RPCs at the servers, want at least %d; output:\n%s", got, c.rpcs, out)
	}
}

// process runs the test binary once more with an environment.
func process(t *testing.T, self string, env ...string) ([]byte, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), caseTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, self)
	// With the race detector a process would wait for a second at its end.
	cmd.Env = append(append(os.Environ(), "GORACE=atexit_sleep_ms=0 "+os.Getenv("GORACE")), env...)
	return cmd.CombinedOutput()
}

// A case that fails is seen to fail, with its reason: one without a server, one that
// is not there, and a way that is not there.
func TestFailingCase(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ name, way, want string }{
		{"empty_unary", "plain", "connection refused"},
		{"empty_unary", "tulle", "connection refused"},
		{"nonsense", "plain", "no such case"},
		{"empty_unary", "nonsense", "no way"},
	} {
		out, err := process(t, self, caseVar+"="+tt.name, wayVar+"="+tt.way, addrsVar+"=127.0.0.1:1")
		if exit := new(exec.ExitError); !errors.As(err, &exit) || !strings.Contains(string(out), tt.want) {
			t.Errorf("%s, %s: got %v and %q, want a failure with %q", tt.name, tt.way, err, out, tt.want)
		}
	}
}

// runCase is the process of a case.
func runCase(name string) (code int) {
	ctx, cancel := context.WithTimeout(context.Background(), caseTime)
	defer cancel()
	if err := tryCase(ctx, name); err != nil {
		fmt.Fprintln(os.Stderr, name+":", err)
		return 1
	}
	return 0
}

// tryCase finds the case and its way, connects and runs it.
func tryCase(ctx context.Context, name string) (err error) {
	all, cases := ways(), interopCases()
	w := slices.IndexFunc(all, func(w way) bool { return w.name == os.Getenv(wayVar) })
	c := slices.IndexFunc(cases, func(c interopCase) bool { return c.name == name })
	if w < 0 || c < 0 {
		return fmt.Errorf("there is no such case, or no way %q", os.Getenv(wayVar))
	}
	p := peers{
		addrs: strings.Split(os.Getenv(addrsVar), ","), roots: os.Getenv(rootsVar), policy: cases[c].policy,
	}
	connect := func() (*grpc.ClientConn, func() error, error) { return all[w].connect(p) }
	cc, done, err := connect()
	if err != nil {
		return err
	}
	cases[c].run(ctx, &link{cc, connect})
	return errors.Join(done(), ctx.Err())
}
