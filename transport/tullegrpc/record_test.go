package tullegrpc_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/tullemesh/tulle/breaker"
	"github.com/tullemesh/tulle/retry"
	"github.com/tullemesh/tulle/transport"
	"github.com/tullemesh/tulle/transport/telemetry"
	"github.com/tullemesh/tulle/transport/tullegrpc"
)

// ways are a unary call and a stream, and the error that each ends with.
var ways = map[string]func(context.Context, testpb.TestServiceClient, ...grpc.CallOption) error{
	"unary": func(ctx context.Context, users testpb.TestServiceClient, opts ...grpc.CallOption) error {
		_, err := users.UnaryCall(ctx, &testpb.SimpleRequest{}, opts...)
		return err
	},
	"stream": func(ctx context.Context, users testpb.TestServiceClient, opts ...grpc.CallOption) error {
		stream, err := users.FullDuplexCall(ctx, opts...)
		for err == nil {
			_, err = stream.Recv()
		}
		if err == io.EOF {
			return nil
		}
		return err
	},
}

// ends has calls of both ways end with a code, and with a pushback if that is not "".
func (s *server) ends(code codes.Code, pushback string) {
	md := metadata.MD{}
	if pushback != "" {
		md.Set("grpc-retry-pushback-ms", pushback)
	}
	duplex := func(stream testpb.TestService_FullDuplexCallServer) error {
		stream.SetTrailer(md)
		return status.Error(code, "on purpose")
	}
	s.duplex.Store(&duplex)
	s.onUnary(func(ctx context.Context, _ *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
		grpc.SetTrailer(ctx, md)
		return nil, status.Error(code, "on purpose")
	})
}

// A record says why an RPC was not repeated, as that of an HTTP call does. Of one that
// nobody would repeat nothing is said.
func TestRecordOfDenial(t *testing.T) {
	empty := retry.BudgetConfig{Ratio: -1, PerSecond: -1}
	safe := []grpc.CallOption{tullegrpc.Idempotent()}
	for _, c := range []struct {
		want     retry.Denial
		code     codes.Code
		pushback string
		policy   transport.Policy
		opts     []grpc.CallOption
	}{
		{"", codes.OK, "", transport.Policy{}, nil},
		{"", codes.NotFound, "", transport.Policy{}, safe},
		{retry.DeniedUnsafe, codes.Unavailable, "", transport.Policy{}, nil},
		{retry.DeniedAttempts, codes.Unavailable, "", transport.Policy{Retry: &retry.Config{Attempts: 1}}, safe},
		{retry.DeniedBudget, codes.Unavailable, "", transport.Policy{Retry: &retry.Config{Budget: empty}}, safe},
		{retry.DeniedSent, codes.Unavailable, "", transport.Policy{}, append(safe, tullegrpc.NoRetry())},
		{retry.DeniedNoHint, codes.ResourceExhausted, "", transport.Policy{}, safe},
		{retry.DeniedPushback, codes.Unavailable, "-1", transport.Policy{}, safe},
		{retry.DeniedLongHint, codes.Unavailable, "999999999", transport.Policy{}, safe},
		{retry.DeniedTime, codes.Unavailable, "250000", transport.Policy{}, safe}, // more than a test waits
		{retry.DeniedDark, codes.Unavailable, "", transport.Policy{Retry: &retry.Config{Dark: true}}, safe},
		{retry.DeniedBreaker, codes.Unavailable, "", transport.Policy{Breaker: &breaker.Config{Requests: 1, FailureShare: 0.01}}, safe},
	} {
		for way, call := range ways {
			s := serve(t)
			s.ends(c.code, c.pushback)
			users := connect(t, mesh(t, transport.Service{Resolver: static(s), Policy: c.policy}), "tulle:///users")
			var rec telemetry.Record
			if err := call(telemetry.WithRecord(within(t), &rec), users, c.opts...); status.Code(err) != c.code {
				t.Errorf("%s: got %v, want %v", way, err, c.code)
			}
			wantDenied(t, way, &rec, c.want)
		}
	}
}

// wantDenied looks for a reason in a record, for none if that is "".
func wantDenied(t *testing.T, way string, rec *telemetry.Record, want retry.Denial) {
	t.Helper()
	if want == "" {
		if len(rec.Repeats) > 0 {
			t.Errorf("%s: got %+v, want nothing said", way, rec.Repeats)
		}
		return
	}
	if n := len(rec.Repeats); n != 1 || rec.Repeats[0].Granted || rec.Repeats[0].Reason != string(want) {
		t.Errorf("%s: got %+v, want it denied as %q", way, rec.Repeats, want)
	}
}

// Repeats by the service config are recorded, and so is the end of them. With other
// targets gRPC repeats, and tells nobody.
func TestRecordOfRepeats(t *testing.T) {
	s := native(t)
	s.unavailable(100)
	overTargets(t, s, func(t *testing.T, users testpb.TestServiceClient) {
		for way, call := range ways {
			var rec telemetry.Record
			if err := call(telemetry.WithRecord(within(t), &rec), users); status.Code(err) != codes.Unavailable {
				t.Errorf("%s: got %v, want Unavailable", way, err)
			}
			r := rec.Repeats
			if strings.HasSuffix(t.Name(), "passthrough") {
				if len(r) != 0 || len(rec.Tries) != 1 {
					t.Errorf("%s: got %+v, want the one RPC that is gRPC's", way, rec)
				}
				continue
			}
			if len(r) != 2 || !r[0].Granted || r[0].Reason != "unavailable" || r[1].Granted || r[1].Reason != "attempts" {
				t.Errorf("%s: got %+v, want one repeat and no more attempts", way, r)
			}
		}
	})
}

// An error carries the record if somebody asked for it, the server's as well as one of
// this side, and is the server's status all the same.
func TestRecordOfError(t *testing.T) {
	s := serve(t)
	s.ends(codes.NotFound, "")
	m, err := transport.New(transport.Config{Services: map[string]transport.Service{
		"users": {Resolver: static(s)}, "nobody": {Resolver: static()},
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	users, nobody := connect(t, m, "tulle:///users"), connect(t, m, "tulle:///nobody")
	for way, call := range ways {
		plain := call(within(t), users)
		if rec := tullegrpc.RecordOf(plain); rec != nil {
			t.Errorf("%s: got %+v, want no record that nobody asked for", way, rec)
		}
		var into telemetry.Record
		err := call(telemetry.WithRecord(within(t), &into), users)
		rec := tullegrpc.RecordOf(err)
		if rec == nil || len(rec.Tries) != 1 || rec.Tries[0].Outcome != "answered" || len(rec.Picks) != 1 {
			t.Errorf("%s: got the record %+v, want one try", way, rec)
		}
		st, ok := status.FromError(err)
		if !ok || st.Code() != codes.NotFound || st.Message() != "on purpose" || err.Error() != plain.Error() {
			t.Errorf("%s: got %v, want %v as it is", way, err, plain)
		}
		var own *transport.Error
		if errors.As(err, &own) {
			t.Errorf("%s: got %v, want no error of this side's making", way, own)
		}
		err = call(telemetry.WithTrace(within(t), &telemetry.Trace{}), nobody)
		if !errors.As(err, &own) || own.Record == nil || tullegrpc.RecordOf(err) != own.Record {
			t.Errorf("%s: got %v, want the record of transport.Error", way, err)
		}
	}
	if rec := tullegrpc.RecordOf(nil); rec != nil {
		t.Errorf("got %+v of nil", rec)
	}
}
