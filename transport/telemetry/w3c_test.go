package telemetry_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/tullemesh/tulle/transport/telemetry"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

const (
	traceID = "0123456789abcdef0123456789abcdef"
	spanID  = "0123456789abcdef"
	parent  = "00-" + traceID + "-" + spanID + "-01"
)

// extract reads headers.
func extract(h http.Header) trace.SpanContext {
	return trace.SpanContextFromContext(telemetry.W3C{}.Extract(context.Background(), propagation.HeaderCarrier(h)))
}

// The rules on traceparent, as the recommendation and its test suite have them.
func TestTraceparent(t *testing.T) {
	valid := func(flags string) string { return traceID + "-" + spanID + "-" + flags }
	tests := []struct {
		name string
		in   []string
		want string // the trace, span and flags; empty: none
	}{
		{"valid", []string{parent}, valid("01")},
		{"not sampled", []string{"00-" + valid("00")}, valid("00")},
		{"random", []string{"00-" + valid("03")}, valid("03")},
		{"flags of the future are cleared", []string{"00-" + valid("ff")}, valid("03")},
		{"spaces around", []string{" \t" + parent + "\t "}, valid("01")},
		{"none", nil, ""},
		{"empty", []string{""}, ""},
		{"two equal", []string{parent, parent}, ""},
		{"two", []string{parent, "00-" + strings.Repeat("1", 32) + "-" + spanID + "-01"}, ""},
		{"one and an empty one", []string{parent, ""}, ""},
		{"two in one line", []string{parent + "," + parent}, ""},
		{"version ff", []string{"ff-" + valid("01")}, ""},
		{"version of the future", []string{"cc-" + valid("01")}, valid("01")},
		{"the same with more", []string{"cc-" + valid("01") + "-what-the-future-will-be-like"}, valid("01")},
		{"the same without a dash", []string{"cc-" + valid("01") + ".what"}, ""},
		{"version 00 with more", []string{parent + "-x"}, ""},
		{"version 00 with a dash", []string{parent + "-"}, ""},
		{"illegal version", []string{".0-" + valid("01")}, ""},
		{"version too long", []string{"000-" + valid("01")}, ""},
		{"version too short", []string{"0-" + valid("01")}, ""},
		{"trace of zeros", []string{"00-" + strings.Repeat("0", 32) + "-" + spanID + "-01"}, ""},
		{"illegal trace", []string{"00-." + traceID[1:] + "-" + spanID + "-01"}, ""},
		{"trace in capitals", []string{"00-" + strings.ToUpper(traceID) + "-" + spanID + "-01"}, ""},
		{"trace too long", []string{"00-" + traceID + "1-" + spanID + "-01"}, ""},
		{"trace too short", []string{"00-" + traceID[1:] + "-" + spanID + "-01"}, ""},
		{"span of zeros", []string{"00-" + traceID + "-" + strings.Repeat("0", 16) + "-01"}, ""},
		{"illegal span", []string{"00-" + traceID + "-." + spanID[1:] + "-01"}, ""},
		{"span in capitals", []string{"00-" + traceID + "-" + strings.ToUpper(spanID) + "-01"}, ""},
		{"span too long", []string{"00-" + traceID + "-" + spanID + "1-01"}, ""},
		{"illegal flags", []string{"00-" + valid(".0")}, ""},
		{"flags too long", []string{"00-" + valid("001")}, ""},
		{"flags too short", []string{"00-" + valid("1")}, ""},
	}
	for _, tt := range tests {
		sc := extract(http.Header{"Traceparent": tt.in, "Tracestate": {"a=1"}})
		got := ""
		if sc.IsValid() {
			got = fmt.Sprintf("%s-%s-%s", sc.TraceID(), sc.SpanID(), sc.TraceFlags())
		}
		if got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
		if sc.IsValid() != sc.IsRemote() || (sc.TraceState().Len() > 0) != sc.IsValid() {
			t.Errorf("%s: got %+v, want remote, with a state", tt.name, sc)
		}
	}
}

// list is n members, of which number i is of the form that f gives.
func list(n int, f string) string {
	s := make([]string, n)
	for i := range s {
		s[i] = fmt.Sprintf(f, i)
	}
	return strings.Join(s, ",")
}

func TestTracestate(t *testing.T) {
	long := func(key string, n int) string { return key + "=" + strings.Repeat("v", n-len(key)-1) }
	tests := []struct {
		name string
		in   []string
		want string
	}{
		{"one line", []string{"foo=1,bar=2"}, "foo=1,bar=2"},
		{"two lines", []string{"foo=1", "bar=2"}, "foo=1,bar=2"},
		{"three lines, one empty", []string{"foo=1", "", "bar=2,baz=3"}, "foo=1,bar=2,baz=3"},
		{"an empty line", []string{""}, ""},
		{"an empty line first", []string{"", "foo=1"}, "foo=1"},
		{"empty members", []string{"foo=1,", " ,\t,bar=2"}, "foo=1,bar=2"},
		{"spaces", []string{"foo=1 \t , \t bar=2, \t baz=3"}, "foo=1,bar=2,baz=3"},
		{"a key again", []string{"foo=1,foo=2", "bar=3,foo=4"}, "foo=1,bar=3"},
		{"no value", []string{"foo=1,bar"}, ""},
		{"no key", []string{"foo=1,=2"}, ""},
		{"illegal key", []string{"foo=1,b r=2"}, ""},
		{"key in capitals", []string{"FOO=1"}, ""},
		{"illegal value", []string{"foo=b\tar"}, ""},
		{"two equal signs", []string{"foo=bar=baz"}, ""},
		{"all that a key may have", []string{"0a_-*/@x=1,t0_-*/@v=2"}, "0a_-*/@x=1,t0_-*/@v=2"},
		{"32 members", []string{list(20, "a%d=1"), list(12, "b%d=1")}, list(20, "a%d=1") + "," + list(12, "b%d=1")},
		{"33 members", []string{list(20, "a%d=1"), list(13, "b%d=1")}, ""},
		{"512 characters", []string{long("a", 128), long("b", 128), long("c", 128), long("d", 125)},
			strings.Join([]string{long("a", 128), long("b", 128), long("c", 128), long("d", 125)}, ",")},
		{"one too many", []string{long("a", 128), long("b", 128), long("c", 128), long("d", 126)},
			strings.Join([]string{long("a", 128), long("b", 128), long("c", 128)}, ",")},
		{"long members go first", []string{long("a", 200), long("b", 100), long("c", 129), long("d", 100), long("e", 100)},
			strings.Join([]string{long("a", 200), long("b", 100), long("d", 100), long("e", 100)}, ",")},
	}
	for _, tt := range tests {
		sc := extract(http.Header{"Traceparent": {parent}, "Tracestate": tt.in})
		if got := sc.TraceState().String(); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
		if !sc.IsValid() {
			t.Errorf("%s: the traceparent was dropped with the tracestate", tt.name)
		}
	}
}

func TestBaggage(t *testing.T) {
	long := strings.Repeat("v", 4000)
	tests := []struct {
		name string
		in   []string
		want []string // members, sorted
	}{
		{"one line", []string{"a=1,b=2"}, []string{"a=1", "b=2"}},
		{"two lines", []string{"a=1", "b=2;p=q;r"}, []string{"a=1", "b=2;p=q;r"}},
		{"empty", []string{"", " , ,"}, nil},
		{"spaces", []string{" a\t=\t1 ; p = q , b = 2 "}, []string{"a=1;p=q", "b=2"}},
		{"escapes", []string{"a=x%20y"}, []string{"a=x%20y"}},
		{"malformed members are left out", []string{"a=1,b,=2,c d=3,e=f g,f=%2,g=%zz,h=\"1\",i=1;=x,j=ü,k=2"}, []string{"a=1", "k=2"}},
		{"a key again", []string{"a=1,a=2", "a=3"}, []string{"a=1"}},
		{"64 members", []string{list(100, "k%02d=v")}, strings.Split(list(64, "k%02d=v"), ",")},
		{"8192 bytes", []string{"a=" + long, "b=" + long, "c=" + long, "d=1"}, []string{"a=" + long, "b=" + long, "d=1"}},
	}
	for _, tt := range tests {
		ctx := telemetry.W3C{}.Extract(context.Background(), propagation.HeaderCarrier{"Baggage": tt.in})
		out := propagation.MapCarrier{}
		telemetry.W3C{}.Inject(ctx, out)
		var got []string
		if out["baggage"] != "" {
			got = strings.Split(out["baggage"], ",")
		}
		slices.Sort(got)
		equal(t, tt.name, got, tt.want)
		if trace.SpanContextFromContext(ctx).IsValid() {
			t.Errorf("%s: got a span context from baggage", tt.name)
		}
	}
}

// A carrier that shows one header of a name only will do.
func TestW3CMapCarrier(t *testing.T) {
	in := propagation.MapCarrier{"traceparent": parent, "tracestate": "a=1", "baggage": "k=v"}
	ctx := telemetry.W3C{}.Extract(context.Background(), in)
	out := propagation.MapCarrier{}
	telemetry.W3C{}.Inject(ctx, out)
	for _, k := range (telemetry.W3C{}).Fields() {
		if out[k] != in[k] {
			t.Errorf("%s: got %q, want %q", k, out[k], in[k])
		}
	}
	if got := (telemetry.W3C{}).Extract(context.Background(), propagation.MapCarrier{}); got != context.Background() {
		t.Errorf("nothing to extract: got %v, want the context as it was", got)
	}
}

// Whatever comes in, what goes out is well-formed, within the limits, and read
// back as the same.
func FuzzW3C(f *testing.F) {
	f.Add(parent, "", "a=1,b=2", "c=3", "k=v;p=q", "l=%20")
	f.Add(parent, parent, "", "a=1", "", ",")
	f.Add("cc-"+traceID+"-"+spanID+"-ff-x", "", "a@b=1,a@b=2", " ", "k = v", "k=\xff")
	f.Add("00-"+traceID+"-"+spanID+"-ff", "", list(33, "a%d=1"), "", list(70, "a%d=1"), "a=%")
	f.Fuzz(func(t *testing.T, p1, p2, s1, s2, b1, b2 string) {
		h := propagation.HeaderCarrier{"Traceparent": {p1}, "Tracestate": {s1, s2}, "Baggage": {b1, b2}}
		if p2 != "" {
			h["Traceparent"] = append(h["Traceparent"], p2)
		}
		ctx := telemetry.W3C{}.Extract(context.Background(), h)
		sc := trace.SpanContextFromContext(ctx)
		if p2 != "" && sc.IsValid() {
			t.Fatalf("two traceparents: got %v, want none", sc)
		}
		out := propagation.HeaderCarrier{}
		telemetry.W3C{}.Inject(ctx, out)
		if n := len(out.Get("tracestate")); n > 512 {
			t.Errorf("got a tracestate of %d characters, want up to 512", n)
		}
		// Text that is no ASCII grows when it is escaped; what came in is not it.
		if n := len(out.Get("baggage")); n > 8192 {
			t.Errorf("got baggage of %d bytes, want up to 8192", n)
		}
		again := telemetry.W3C{}.Extract(context.Background(), out)
		if got := trace.SpanContextFromContext(again); !got.Equal(sc) {
			t.Errorf("read back: got %v, want %v", got, sc)
		}
		back := propagation.HeaderCarrier{}
		telemetry.W3C{}.Inject(again, back)
		if got, want := sorted(back.Get("baggage")), sorted(out.Get("baggage")); !slices.Equal(got, want) {
			t.Errorf("baggage: got %q, want %q", got, want)
		}
		// Wherever both take it, ours says what the one of package propagation says.
		if theirs := trace.SpanContextFromContext(propagation.TraceContext{}.Extract(context.Background(), h)); theirs.IsValid() && p2 == "" && !sc.IsValid() {
			t.Errorf("got none, want %v", theirs)
		}
	})
}

func sorted(list string) []string {
	s := strings.Split(list, ",")
	slices.Sort(s)
	return s
}
