package tulle_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tullemesh/tulle"
)

var update = flag.Bool("update", false, "rewrite docs/outcomes.golden")

// A fact is one line of the golden file.
type fact struct {
	name string
	f    tulle.HTTPFacts
}

// A section is a part of the golden file.
type section struct {
	title string
	facts []fact
}

// TestOutcomesGolden holds what each fact comes to in docs/outcomes.golden,
// which is reviewed against the outcome table of the design.
func TestOutcomesGolden(t *testing.T) {
	const name = "docs/outcomes.golden"
	var b strings.Builder
	b.WriteString("# What happened: class | latency sample | success window, ejector | service breaker | repeats\n" +
		"# Rewritten by go test . -run TestOutcomesGolden -update\n")
	for _, s := range []section{
		{"status", statusFacts()},
		{"Retry-After", hintFacts()},
		{"refused, unreachable, DNS, dial timeout", dialFacts(t)},
		{"connections that break", brokenFacts(t)},
		{"TLS", tlsFacts(t)},
		{"HTTP/2 streams", streamFacts(t)},
		{"deadlines and cancellation", endedFacts(t)},
		{"the request's own fault", requestFacts(t)},
		{"errors by reach", reachFacts()},
		{"a deadline by wait and mean", deadlineFacts()},
		{"odd combinations", oddFacts()},
	} {
		fmt.Fprintf(&b, "\n## %s\n", s.title)
		for _, f := range s.facts {
			o := tulle.ClassifyHTTP(f.f)
			if f.f.Err != nil && !errors.Is(o.Err, f.f.Err) {
				t.Errorf("%s: got Err %v, want %v", f.name, o.Err, f.f.Err)
			}
			if o.Elapsed != f.f.Elapsed {
				t.Errorf("%s: got Elapsed %v, want %v", f.name, o.Elapsed, f.f.Elapsed)
			}
			fmt.Fprintf(&b, "%s: %s\n", f.name, describe(o))
		}
	}
	for _, s := range []grpcSection{
		{"gRPC: status by how far it got", codeFacts()},
		{"gRPC: whose time was up", endFacts()},
		{"gRPC: grpc-retry-pushback-ms", pushbackFacts()},
		{"gRPC: work that had expired", expiredFacts()},
	} {
		fmt.Fprintf(&b, "\n## %s\n", s.title)
		for _, f := range s.facts {
			fmt.Fprintf(&b, "%s: %s\n", f.name, describe(tulle.ClassifyGRPC(f.f)))
		}
	}
	if *update {
		if err := os.WriteFile(name, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	golden, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	got, want := strings.Split(b.String(), "\n"), strings.Split(string(golden), "\n")
	for i := range max(len(got), len(want)) {
		if line(got, i) != line(want, i) {
			t.Errorf("%s:%d:\n got %q\nwant %q", name, i+1, line(got, i), line(want, i))
		}
	}
}

// line is lines[i], or "" past the end.
func line(lines []string, i int) string {
	if i < len(lines) {
		return lines[i]
	}
	return ""
}

// describe is an outcome as it stands in the golden file.
func describe(o tulle.Outcome) string {
	text := fmt.Sprintf("%v | %s", o.Class, columns(o.Class))
	if o.Hinted {
		text += fmt.Sprintf(" (hint %v)", o.RetryAfter)
	}
	if o.Final {
		text += " (final)"
	}
	return text
}

// columns are the four columns of the outcome table for a class.
func columns(c tulle.Class) string {
	return strings.Join([]string{
		map[tulle.Sampling]string{tulle.NoSample: "-", tulle.FullSample: "sample", tulle.CensoredSample: "censored"}[c.Sampling()],
		map[tulle.Verdict]string{tulle.Neither: "-", tulle.Success: "success", tulle.Failure: "failure"}[c.Endpoint()],
		map[tulle.Verdict]string{tulle.Neither: "-", tulle.Success: "success", tulle.Failure: "failure"}[c.Service()],
		map[tulle.Repetition]string{
			tulle.NoRepeat: "no", tulle.RepeatHinted: "hinted", tulle.RepeatSafe: "safe", tulle.RepeatHealthy: "healthy",
			tulle.RepeatMoved: "moved", tulle.RepeatElsewhere: "elsewhere",
		}[c.Repetition()],
	}, " | ")
}

// respond is a response with a status and, if given, a Retry-After.
func respond(status int, retryAfter ...string) *http.Response {
	h := http.Header{}
	for _, v := range retryAfter {
		h.Add("Retry-After", v)
	}
	return &http.Response{StatusCode: status, Header: h, Body: http.NoBody}
}

// statusFacts are all statuses, and numbers that are none.
func statusFacts() []fact {
	var facts []fact
	for _, s := range []int{-1, 0, 1, 99} {
		facts = append(facts, fact{fmt.Sprint(s), tulle.HTTPFacts{Response: respond(s)}})
	}
	for s := 100; s < 600; s++ {
		if http.StatusText(s) != "" || s%100 == 99 {
			facts = append(facts, fact{fmt.Sprint(s), tulle.HTTPFacts{Response: respond(s)}})
		}
	}
	for _, s := range []int{420, 430, 498, 520, 521, 522, 523, 524, 525, 526, 527, 530, 561, 600, 999, 1429, 5030} {
		facts = append(facts, fact{fmt.Sprintf("%d, that nobody registered", s), tulle.HTTPFacts{Response: respond(s)}})
	}
	return facts
}

// hintFacts are forms of Retry-After on statuses that heed it and on others.
func hintFacts() []fact {
	var facts []fact
	for _, s := range []int{200, 202, 301, 400, 408, 413, 421, 425, 429, 500, 501, 502, 503, 504, 599} {
		for _, v := range []string{
			"0", "1", " 120 ", "99999999999999999999", "Wed, 04 Mar 2026 12:01:00 GMT", "Wed, 04 Mar 2026 11:00:00 GMT",
			"", "soon", "-1", "1.5",
		} {
			if v != "1" && s != 429 && s != 503 {
				continue // one form shows that the others do nothing either
			}
			facts = append(facts, fact{fmt.Sprintf("%d, Retry-After %q", s, v), tulle.HTTPFacts{Response: respond(s, v), Now: noon}})
		}
	}
	return append(facts,
		fact{"503, two Retry-After, the first counts", tulle.HTTPFacts{Response: respond(503, "1", "2")}},
		fact{"503, two Retry-After, the first garbage", tulle.HTTPFacts{Response: respond(503, "soon", "2")}},
		fact{"429 without headers", tulle.HTTPFacts{Response: &http.Response{StatusCode: 429}}},
		fact{"503 without headers", tulle.HTTPFacts{Response: &http.Response{StatusCode: 503}}},
	)
}

// requestFacts are requests that no endpoint could be sent.
func requestFacts(t *testing.T) []fact {
	addr := listen(t, answer("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"))
	made := func(change func(*http.Request)) tulle.HTTPFacts {
		req := get(t.Context(), "http://"+addr+"/")
		change(req)
		f := send(new(http.Transport), req)
		f.Elapsed = 0 // of a real clock
		if f.Err == nil {
			t.Errorf("got %v, want an error", f.Response.Status)
		}
		return f
	}
	body := func(err error) func(*http.Request) {
		return func(req *http.Request) {
			req.Method, req.Body = http.MethodPost, io.NopCloser(io.MultiReader(strings.NewReader("x"), failing{err}))
		}
	}
	failed := made(body(errors.New("disk on fire")))
	failed.RequestBody = true
	expired := made(body(context.DeadlineExceeded))
	expired.RequestBody = true
	return []fact{
		{"header name with a space", made(func(r *http.Request) { r.Header["a b"] = []string{"c"} })},
		{"header value with a line end", made(func(r *http.Request) { r.Header["A"] = []string{"b\nc"} })},
		{"trailer name with a space", made(func(r *http.Request) { r.Trailer = http.Header{"a b": nil} })},
		{"method with a space", made(func(r *http.Request) { r.Method = "G T" })},
		{"unknown scheme", made(func(r *http.Request) { r.URL.Scheme = "gopher" })},
		{"no host", made(func(r *http.Request) { r.URL.Host = "" })},
		{"no URL", made(func(r *http.Request) { r.URL = nil })},
		{"no header map", made(func(r *http.Request) { r.Header = nil })},
		{"its body fails", failed},
		{"its body fails with an expired deadline of its own", expired},
	}
}

// failing is a reader that fails.
type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// h2Refused has the shape of net/http's error of an HTTP/2 stream, as the errors
// of other implementations may.
type h2Refused struct{ code uint32 }

func (e h2Refused) Error() string { return "stream error" }

func (e h2Refused) As(target any) bool {
	// The target is a struct that is not exported; its fields are.
	return fill(target, map[string]any{"StreamID": uint32(1), "Code": e.code})
}

// reaches are all of them by name.
var reaches = []struct {
	name  string
	reach tulle.Reach
}{
	{"unknown", tulle.ReachUnknown}, {"no connection", tulle.NoConnection},
	{"dial failed", tulle.DialFailed}, {"had connection", tulle.HadConnection},
}

// reachFacts are errors with each reach: what is known of the way changes what
// an error means.
func reachFacts() []fact {
	op := func(op string, err error) error { return &net.OpError{Op: op, Net: "tcp", Err: err} }
	var facts []fact
	for _, e := range []struct {
		name string
		err  error
	}{
		{"dial refused", op("dial", os.NewSyscallError("connect", syscall.ECONNREFUSED))},
		{"dial through a proxy refused", op("proxyconnect", op("dial", syscall.ECONNREFUSED))},
		{"dial timeout", op("dial", os.ErrDeadlineExceeded)},
		{"dial of an expired context", op("dial", context.DeadlineExceeded)},
		{"unknown host", &net.DNSError{Err: "no such host", Name: "x", IsNotFound: true}},
		{"refused without words", syscall.ECONNREFUSED},
		{"read reset", op("read", os.NewSyscallError("read", syscall.ECONNRESET))},
		{"write to a broken pipe", op("write", os.NewSyscallError("write", syscall.EPIPE))},
		{"EOF", io.EOF},
		{"unexpected EOF", io.ErrUnexpectedEOF},
		{"closed connection", op("read", net.ErrClosed)},
		{"read timeout of the connection", op("read", os.ErrDeadlineExceeded)},
		{"TLS alert", op("remote error", errors.New("tls: handshake failure"))},
		{"TLS alert of ours", op("local error", errors.New("tls: bad record MAC"))},
		{"scheme mismatch", http.ErrSchemeMismatch},
		{"HTTP/2 stream refused", fmt.Errorf("sent: %w", h2Refused{7})},
		{"HTTP/2 stream failed", h2Refused{2}},
		{"an error without a type", errors.New("no")},
		{"an expired deadline of somebody's", context.DeadlineExceeded},
		{"a cancellation of somebody's", context.Canceled},
	} {
		for _, r := range reaches {
			facts = append(facts, fact{e.name + ", " + r.name, tulle.HTTPFacts{Err: e.err, Reach: r.reach}})
		}
		facts = append(facts,
			fact{e.name + ", in the body", tulle.HTTPFacts{Err: e.err, InBody: true, Reach: tulle.HadConnection}},
			fact{e.name + ", cancelled", tulle.HTTPFacts{Err: e.err, Ended: context.Canceled}},
			fact{e.name + ", attempt timeout", tulle.HTTPFacts{Err: e.err, Ended: context.DeadlineExceeded, AttemptTimeout: true}},
		)
	}
	return facts
}

// deadlineFacts are expired deadlines by how long the attempt waited and how
// long the destination usually takes.
func deadlineFacts() []fact {
	var facts []fact
	for _, mean := range []time.Duration{0, 10 * time.Millisecond, 50 * time.Millisecond, 500 * time.Millisecond} {
		for _, waited := range []time.Duration{0, 99, 100, 101, 999, 1000, 5000} {
			f := tulle.HTTPFacts{
				Err: context.DeadlineExceeded, Ended: context.DeadlineExceeded, Reach: tulle.HadConnection,
				Elapsed: waited * time.Millisecond, Mean: mean,
			}
			facts = append(facts, fact{fmt.Sprintf("waited %v, mean %v", f.Elapsed, mean), f})
		}
	}
	for _, r := range reaches {
		facts = append(facts,
			fact{"attempt timeout after 1 ms, " + r.name, tulle.HTTPFacts{
				Err: context.Canceled, Ended: context.DeadlineExceeded, AttemptTimeout: true, Reach: r.reach,
				Elapsed: time.Millisecond, Mean: time.Second,
			}},
			fact{"the caller's deadline after 10 s, " + r.name, tulle.HTTPFacts{
				Err: errors.New("any"), Ended: context.DeadlineExceeded, Reach: r.reach, Elapsed: 10 * time.Second, Mean: time.Second,
			}},
		)
	}
	return facts
}

// oddFacts are combinations where the order of the questions matters.
func oddFacts() []fact {
	failed := errors.New("no")
	expired := func(status int) tulle.HTTPFacts {
		return tulle.HTTPFacts{Response: &http.Response{StatusCode: status, Header: http.Header{tulle.ExpiredHeader: {"1"}}}}
	}
	return []fact{
		{"a 504 that says that the request's time was up", expired(504)},
		{"a 503 that says that the request's time was up", expired(503)},
		{"nothing at all", tulle.HTTPFacts{}},
		{"a body read to its end", tulle.HTTPFacts{InBody: true}},
		{"a response and an error", tulle.HTTPFacts{Response: respond(200), Err: failed}},
		{"a response whose body broke", tulle.HTTPFacts{Response: respond(200), Err: io.ErrUnexpectedEOF, InBody: true}},
		{"a 503 whose body broke", tulle.HTTPFacts{Response: respond(503, "1"), Err: io.ErrUnexpectedEOF, InBody: true}},
		{"a response after the caller cancelled", tulle.HTTPFacts{Response: respond(500), Ended: context.Canceled}},
		{"the caller's body failed and its deadline expired", tulle.HTTPFacts{
			Err: failed, RequestBody: true, Ended: context.DeadlineExceeded, Elapsed: time.Hour,
		}},
		{"the caller's body failed and the attempt timeout ended it", tulle.HTTPFacts{Err: failed, RequestBody: true, AttemptTimeout: true}},
		{"the caller cancelled when the attempt timeout had ended it", tulle.HTTPFacts{
			Err: failed, AttemptTimeout: true, Ended: context.Canceled, Reach: tulle.HadConnection,
		}},
		{"cancelled with a cause", tulle.HTTPFacts{Err: failed, Ended: context.Canceled, Reach: tulle.HadConnection}},
		{"expired with a cause", tulle.HTTPFacts{Err: failed, Ended: context.DeadlineExceeded, Elapsed: time.Second}},
		{"an error that says cancelled, and a deadline that expired", tulle.HTTPFacts{
			Err: context.Canceled, Ended: context.DeadlineExceeded, Elapsed: time.Second,
		}},
	}
}
