package telemetry_test

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/tullemesh/tulle/transport/telemetry"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// custom is a propagator that we know nothing of.
type custom struct{ fields []string } // cannot be compared

func (custom) Inject(_ context.Context, c propagation.TextMapCarrier) {
	c.Set("x-one", "1")
	c.Set("x-two", fmt.Sprint(c.Get("accept"), "+", len(c.Keys())))
}
func (custom) Extract(ctx context.Context, _ propagation.TextMapCarrier) context.Context { return ctx }
func (custom) Fields() []string                                                          { return nil }

// withBaggage returns ctx with baggage.
func withBaggage(ctx context.Context, list string) context.Context {
	return propagation.Baggage{}.Extract(ctx, propagation.MapCarrier{"baggage": list})
}

// show is a header as text.
func show(h map[string][]string) string {
	var s []string
	for _, k := range slices.Sorted(maps.Keys(h)) {
		s = append(s, k+"="+strings.Join(h[k], "&"))
	}
	return strings.Join(s, " ")
}

// What we write is what the propagator would have written, and the caller's
// header stays as it is.
func TestHeader(t *testing.T) {
	plain := context.Background()
	traced := trace.ContextWithRemoteSpanContext(plain, remote(t))
	const parent = "00-01020300000000000000000000000000-0405060000000000-01"
	composite := propagation.NewCompositeTextMapPropagator(propagation.Baggage{}, propagation.TraceContext{})
	stale := http.Header{"Accept": {"*/*"}, "Traceparent": {"old", "older"}, "Tracestate": {"old=1"}}
	tests := []struct {
		name       string
		propagator propagation.TextMapPropagator
		ctx        context.Context
		header     http.Header
		want       string
		md         string
	}{
		{"no span", propagation.TraceContext{}, plain, http.Header{"A": {"b"}}, "A=b", "A=b"},
		{"trace", propagation.TraceContext{}, traced, nil,
			"Traceparent=" + parent + " Tracestate=a=1,b=2", "traceparent=" + parent + " tracestate=a=1,b=2"},
		{"no baggage asked for", propagation.TraceContext{}, withBaggage(traced, "k=v"), nil,
			"Traceparent=" + parent + " Tracestate=a=1,b=2", "traceparent=" + parent + " tracestate=a=1,b=2"},
		{"composite", composite, withBaggage(traced, "k=v"), nil,
			"Baggage=k=v Traceparent=" + parent + " Tracestate=a=1,b=2",
			"baggage=k=v traceparent=" + parent + " tracestate=a=1,b=2"},
		{"ours", telemetry.W3C{}, withBaggage(plain, "k=v"), http.Header{"A": {"b"}}, "A=b Baggage=k=v", "A=b baggage=k=v"},
		{"baggage", propagation.Baggage{}, withBaggage(traced, "k=v"), nil, "Baggage=k=v", "baggage=k=v"},
		{"nothing at all", propagation.NewCompositeTextMapPropagator(), traced, http.Header{"A": {"b"}}, "A=b", "A=b"},
		{"custom", custom{[]string{"x"}}, plain, http.Header{"Accept": {"y"}}, "Accept=y X-One=1 X-Two=y+2", "Accept=y x-one=1 x-two=+2"},
		{"stale", propagation.TraceContext{}, trace.ContextWithSpanContext(plain, remote(t).WithTraceState(trace.TraceState{})), stale,
			"Accept=*/* Traceparent=" + parent,
			"Accept=*/* Traceparent=old&older Tracestate=old=1 traceparent=" + parent},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tel := newTelemetry(t, telemetry.Config{Propagator: tt.propagator})
			before := show(tt.header)
			for range 2 { // the second time it is known what the propagator is
				if got := show(tel.Header(tt.ctx, nil, tt.header)); got != tt.want {
					t.Errorf("got\n%s\nwant\n%s", got, tt.want)
				}
				if got := show(tel.Metadata(tt.ctx, nil, tt.header)); got != tt.md {
					t.Errorf("metadata: got\n%s\nwant\n%s", got, tt.md)
				}
			}
			if got := show(tt.header); got != before {
				t.Errorf("the caller's header: got %s, want %s", got, before)
			}
		})
	}
}

// The header of an attempt names its span, for each kind of propagator.
func TestHeaderOfAttempt(t *testing.T) {
	for _, p := range []propagation.TextMapPropagator{
		propagation.TraceContext{}, telemetry.W3C{}, custom2{propagation.TraceContext{}},
	} {
		l := newLab(t, func(c *telemetry.Config) { c.Propagator = p })
		svc, f := l.Service("users"), telemetry.Facts{URL: parse(t, "http://users/x?y")}
		ctx, call := svc.Start(withBaggage(context.Background(), "k=v"), &f)
		var headers []http.Header
		for n := range 2 {
			actx, att := call.Attempt(ctx, nil, n+1)
			headers = append(headers, l.Header(actx, att, http.Header{}))
			r := ok(200)
			svc.EndAttempt(actx, att, nil, &r)
		}
		for i, s := range l.spans.Ended() {
			want := fmt.Sprintf("00-%s-%s-01", s.SpanContext().TraceID(), s.SpanContext().SpanID())
			if got := headers[i].Get("Traceparent"); got != want {
				t.Errorf("%T: attempt %d: got %s, want %s", p, i+1, got, want)
			}
			if got := attributes(s.Attributes()); !strings.Contains(got, "url.full=http://users/x?y") {
				t.Errorf("%T: attempt %d: got %s, want the whole URL", p, i+1, got)
			}
		}
	}
}

// custom2 hides a propagator.
type custom2 struct{ propagation.TextMapPropagator }

// URLs show where a call went, and nothing that lets others act for the caller.
func TestFullURL(t *testing.T) {
	tests := []struct{ url, want string }{
		{"http://users", "http://users"},
		{"http://users/a%2Fb?x=1#frag%20ment", "http://users/a%2Fb?x=1#frag%20ment"},
		{"http://me@users/?", "http://REDACTED:REDACTED@users/?"},
		{"https://u:p@[::1]:8443/x", "https://REDACTED:REDACTED@[::1]:8443/x"},
		{"http://s3/?AWSAccessKeyId=a&Signature=b&sig=c&X-Goog-Signature=d&e=f&sig", "http://s3/?AWSAccessKeyId=REDACTED&Signature=REDACTED&sig=REDACTED&X-Goog-Signature=REDACTED&e=f&sig"},
		{"http://s3/?X-Amz-Signature=1&X-Amz-Credential=2&X-Amz-Security-Token=3", "http://s3/?X-Amz-Signature=REDACTED&X-Amz-Credential=REDACTED&X-Amz-Security-Token=REDACTED"},
		{"http://users/?a=1&&b=2&", "http://users/?a=1&&b=2&"},
		{"mailto:me@example.com?sig=x", "mailto:me@example.com?sig=REDACTED"},
		{"/only/path", "/only/path"},
		{"http://users/" + strings.Repeat("long", 300), "http://users/" + strings.Repeat("long", 300)},
	}
	for _, tt := range tests {
		l := newLab(t, nil)
		svc, f := l.Service("users"), telemetry.Facts{URL: parse(t, tt.url)}
		ctx, call := svc.Start(context.Background(), &f)
		actx, att := call.Attempt(ctx, nil, 1)
		h := l.Header(actx, att, nil)
		r := ok(200)
		svc.EndAttempt(actx, att, nil, &r)
		if got := attributes(l.spans.Ended()[0].Attributes()); !strings.Contains(got+" ", "url.full="+tt.want+" ") {
			t.Errorf("%s: got %s, want url.full=%s", tt.url, got, tt.want)
		}
		if got := len(h.Get("Traceparent")); got != 55 {
			t.Errorf("%s: got a traceparent of %d characters, want 55", tt.url, got)
		}
	}
}

// Whatever the URL, no password of it is shown, and the rest is as net/url has it.
func FuzzFullURL(f *testing.F) {
	for _, s := range []string{"http://a:secret@b/c?d=e#f", "//x", "a:b", "http://b/?sig=secret", "http:///p", "?", "http://h?&=&sig="} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		u, err := http.NewRequest(http.MethodGet, s, nil)
		if err != nil {
			return
		}
		hasSignature := false
		for _, pair := range strings.Split(u.URL.RawQuery, "&") {
			name, _, ok := strings.Cut(pair, "=")
			hasSignature = hasSignature || ok && slices.Contains([]string{"AWSAccessKeyId", "Signature", "sig", "X-Goog-Signature",
				"X-Amz-Signature", "X-Amz-Credential", "X-Amz-Security-Token"}, name)
		}
		got := telemetry.FullURL(u.URL)
		if u.URL.User == nil && !hasSignature && u.URL.Host != "" && got != strings.ToValidUTF8(u.URL.String(), "\uFFFD") {
			t.Errorf("got %q, want %q", got, u.URL)
		}
		if !utf8.ValidString(got) {
			t.Errorf("got %q, want valid UTF-8", got)
		}
		if pw, _ := u.URL.User.Password(); len(pw) > 8 && strings.Contains(got, ":"+pw+"@") {
			t.Errorf("got %q, want no password", got)
		}
	})
}
