package tulle_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/tullemesh/tulle"
)

// A grpcFact is one line of the golden file on gRPC.
type grpcFact struct {
	name string
	f    tulle.GRPCFacts
}

// A grpcSection is a part of the golden file on gRPC.
type grpcSection struct {
	title string
	facts []grpcFact
}

// grpcCodes are the codes of the protocol in their order, by its names for them.
var grpcCodes = []string{
	"OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
	"PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED",
	"INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED", "17, which is none",
}

// errGRPC is the error of attempts that have one.
var errGRPC = errors.New("on purpose")

// ended is an attempt with a code that ended in some way.
func ended(code int, change func(*tulle.GRPCFacts)) tulle.GRPCFacts {
	f := tulle.GRPCFacts{Code: tulle.GRPCCode(code), Sent: true, Received: true, Elapsed: 7 * time.Millisecond}
	if code != 0 {
		f.Err = errGRPC
	}
	change(&f)
	return f
}

// ways are how far an attempt got, and the place of each in the tables below.
var ways = []struct {
	name   string
	change func(*tulle.GRPCFacts)
}{
	{"from the server", func(*tulle.GRPCFacts) {}},
	{"after the answer began", func(f *tulle.GRPCFacts) { f.Began = true }},
	{"sent, and nothing came", func(f *tulle.GRPCFacts) { f.Received = false }},
	{"not sent", func(f *tulle.GRPCFacts) { f.Sent, f.Received = false, false }},
}

// What each code means by how far the attempt got. It is the design's table on
// gRPC, written out by hand.
func TestClassifyGRPCCodes(t *testing.T) {
	const (
		answered, throttled, failed, unavailable = tulle.Answered, tulle.Throttled, tulle.Failed, tulle.Unavailable
		unsent, lost, truncated, ignored         = tulle.Unsent, tulle.Lost, tulle.Truncated, tulle.Ignored
	)
	theirs := [4]tulle.Class{answered, answered, ignored, ignored} // of the caller's making
	broken := [4]tulle.Class{failed, failed, ignored, ignored}     // of the server's
	reset := [4]tulle.Class{failed, failed, lost, ignored}
	for code, want := range [][4]tulle.Class{
		0:  {answered, answered, answered, answered},
		1:  {failed, truncated, failed, failed},
		2:  broken,
		3:  theirs,
		4:  {unavailable, truncated, unavailable, unavailable},
		5:  theirs,
		6:  theirs,
		7:  theirs,
		8:  {throttled, throttled, ignored, ignored},
		9:  theirs,
		10: theirs,
		11: theirs,
		12: theirs,
		13: reset,
		14: {unavailable, truncated, lost, unsent},
		15: broken,
		16: theirs,
		17: broken,
	} {
		for i, w := range ways {
			f := ended(code, w.change)
			o := tulle.ClassifyGRPC(f)
			if o.Class != want[i] {
				t.Errorf("%s, %s: got %v, want %v", grpcCodes[code], w.name, o.Class, want[i])
			}
			if o.Status != code || o.Err != f.Err || o.Elapsed != f.Elapsed || o.Hinted || o.Final || o.Down {
				t.Errorf("%s, %s: got %+v, want the facts and no hint", grpcCodes[code], w.name, o)
			}
		}
	}
}

// Whose time was up decides before the code does, but OK is OK.
func TestClassifyGRPCEnded(t *testing.T) {
	for _, c := range []struct {
		name string
		f    tulle.GRPCFacts
		want tulle.Class
	}{
		{"cancelled", tulle.GRPCFacts{Ended: context.Canceled, Sent: true, Elapsed: time.Hour}, tulle.Ignored},
		{"cancelled with words", tulle.GRPCFacts{Ended: fmt.Errorf("bye: %w", context.Canceled), Sent: true, Elapsed: time.Hour}, tulle.Ignored},
		{"deadline, short", tulle.GRPCFacts{Ended: context.DeadlineExceeded, Sent: true, Elapsed: 99 * time.Millisecond}, tulle.Ignored},
		{"deadline, long", tulle.GRPCFacts{Ended: context.DeadlineExceeded, Sent: true, Elapsed: 100 * time.Millisecond}, tulle.TimedOut},
		{"deadline, long but usual", tulle.GRPCFacts{Ended: context.DeadlineExceeded, Sent: true, Elapsed: 199 * time.Millisecond, Mean: 100 * time.Millisecond}, tulle.Ignored},
		{"deadline, twice the usual", tulle.GRPCFacts{Ended: context.DeadlineExceeded, Sent: true, Elapsed: 200 * time.Millisecond, Mean: 100 * time.Millisecond}, tulle.TimedOut},
		{"deadline with words", tulle.GRPCFacts{Ended: fmt.Errorf("bye: %w", context.DeadlineExceeded), Sent: true, Elapsed: time.Second}, tulle.TimedOut},
		{"deadline in a stream that had begun", tulle.GRPCFacts{Ended: context.DeadlineExceeded, Sent: true, Received: true, Began: true, Elapsed: time.Millisecond}, tulle.Ignored},
		{"attempt timeout", tulle.GRPCFacts{Ended: context.DeadlineExceeded, AttemptTimeout: true, Sent: true}, tulle.TimedOut},
		{"attempt timeout without a connection", tulle.GRPCFacts{Ended: context.DeadlineExceeded, AttemptTimeout: true}, tulle.Unsent},
		{"attempt timeout, then cancelled", tulle.GRPCFacts{Ended: context.Canceled, AttemptTimeout: true, Sent: true}, tulle.TimedOut},
	} {
		for code := range grpcCodes {
			c.f.Code = tulle.GRPCCode(code)
			want := c.want
			if code == 0 {
				want = tulle.Answered
			}
			if got := tulle.ClassifyGRPC(c.f).Class; got != want {
				t.Errorf("%s, %s: got %v, want %v", c.name, grpcCodes[code], got, want)
			}
		}
	}
}

// A server that names a time asks for less, whatever its code; one that says no is
// not asked again. What was nobody's failure, or ours to time, has no hint.
func TestClassifyGRPCPushback(t *testing.T) {
	for code := range grpcCodes {
		for _, after := range []time.Duration{0, time.Millisecond, time.Hour} {
			f := ended(code, func(f *tulle.GRPCFacts) { f.Pushback, f.RetryAfter = true, after })
			o := tulle.ClassifyGRPC(f)
			plain := tulle.ClassifyGRPC(ended(code, func(*tulle.GRPCFacts) {})).Class
			if plain == tulle.Answered {
				if o.Class != plain || o.Hinted || o.Final {
					t.Errorf("%s, pushback %v: got %+v, want no hint", grpcCodes[code], after, o)
				}
				continue
			}
			if o.Class != tulle.Throttled || !o.Hinted || o.RetryAfter != after || o.Final {
				t.Errorf("%s, pushback %v: got %+v, want throttled with it", grpcCodes[code], after, o)
			}
		}
		no := ended(code, func(f *tulle.GRPCFacts) { f.Pushback, f.RetryAfter = true, -1 })
		o, plain := tulle.ClassifyGRPC(no), tulle.ClassifyGRPC(ended(code, func(*tulle.GRPCFacts) {}))
		if o.Class != plain.Class || o.Hinted || o.Final != (plain.Class != tulle.Answered) {
			t.Errorf("%s, pushback -1: got %+v, want %v and final", grpcCodes[code], o, plain.Class)
		}
	}
	for name, f := range map[string]tulle.GRPCFacts{
		"cancelled":       {Code: 1, Ended: context.Canceled, Sent: true},
		"attempt timeout": {Code: 4, Ended: context.DeadlineExceeded, AttemptTimeout: true, Sent: true},
		"deadline":        {Code: 4, Ended: context.DeadlineExceeded, Sent: true, Elapsed: time.Second},
	} {
		want := tulle.ClassifyGRPC(f)
		f.Pushback, f.RetryAfter = true, time.Second
		if got := tulle.ClassifyGRPC(f); got != want {
			t.Errorf("%s with pushback: got %+v, want %+v", name, got, want)
		}
	}
}

// Work that expired in the server's queue is nobody's failure. The mark counts with
// its code only, as over HTTP it does with 504 only.
func TestClassifyGRPCExpired(t *testing.T) {
	for code := range grpcCodes {
		plain := tulle.ClassifyGRPC(ended(code, func(*tulle.GRPCFacts) {})).Class
		want := plain
		if grpcCodes[code] == "DEADLINE_EXCEEDED" {
			want = tulle.Ignored
		}
		if got := tulle.ClassifyGRPC(ended(code, func(f *tulle.GRPCFacts) { f.Expired = true })).Class; got != want {
			t.Errorf("%s, marked: got %v, want %v", grpcCodes[code], got, want)
		}
	}
}

// codeFacts are all codes by how far the attempt got.
func codeFacts() (facts []grpcFact) {
	for code, name := range grpcCodes {
		for _, w := range ways {
			facts = append(facts, grpcFact{name + ", " + w.name, ended(code, w.change)})
		}
	}
	return facts
}

// endFacts are attempts whose time was up.
func endFacts() (facts []grpcFact) {
	for _, code := range []int{0, 1, 4, 13, 14} {
		for _, c := range []struct {
			name string
			f    tulle.GRPCFacts
		}{
			{"the caller cancelled", tulle.GRPCFacts{Ended: context.Canceled, Sent: true, Elapsed: time.Second}},
			{"deadline of 99 ms", tulle.GRPCFacts{Ended: context.DeadlineExceeded, Sent: true, Elapsed: 99 * time.Millisecond}},
			{"deadline of 1 s", tulle.GRPCFacts{Ended: context.DeadlineExceeded, Sent: true, Elapsed: time.Second}},
			{"deadline of 1 s, mean 600 ms", tulle.GRPCFacts{Ended: context.DeadlineExceeded, Sent: true, Elapsed: time.Second, Mean: 600 * time.Millisecond}},
			{"deadline of 1 s, not sent", tulle.GRPCFacts{Ended: context.DeadlineExceeded, Elapsed: time.Second}},
			{"deadline of a stream that had begun", tulle.GRPCFacts{Ended: context.DeadlineExceeded, Sent: true, Received: true, Began: true, Elapsed: time.Millisecond}},
			{"attempt timeout", tulle.GRPCFacts{Ended: context.DeadlineExceeded, AttemptTimeout: true, Sent: true, Elapsed: time.Millisecond}},
			{"attempt timeout, not sent", tulle.GRPCFacts{Ended: context.DeadlineExceeded, AttemptTimeout: true, Elapsed: time.Millisecond}},
		} {
			c.f.Code = tulle.GRPCCode(code)
			facts = append(facts, grpcFact{grpcCodes[code] + ", " + c.name, c.f})
		}
	}
	return facts
}

// pushbackFacts are servers that say when to come back.
func pushbackFacts() (facts []grpcFact) {
	for code, name := range grpcCodes {
		for _, after := range []time.Duration{time.Second, -1} {
			text := fmt.Sprint(after)
			if after < 0 {
				text = "never"
			}
			facts = append(facts, grpcFact{name + ", " + text, ended(code, func(f *tulle.GRPCFacts) { f.Pushback, f.RetryAfter = true, after })})
		}
	}
	return append(facts, grpcFact{"UNAVAILABLE, 1s, after the answer began", ended(14, func(f *tulle.GRPCFacts) {
		f.Pushback, f.RetryAfter, f.Began = true, time.Second, true
	})}, grpcFact{"UNAVAILABLE, 1s, the caller cancelled", ended(14, func(f *tulle.GRPCFacts) {
		f.Pushback, f.RetryAfter, f.Ended = true, time.Second, context.Canceled
	})})
}

// expiredFacts are answers with the mark of work that was not run.
func expiredFacts() (facts []grpcFact) {
	for _, code := range []int{0, 4, 8, 13, 14} {
		facts = append(facts, grpcFact{grpcCodes[code] + ", marked", ended(code, func(f *tulle.GRPCFacts) { f.Expired = true })})
	}
	return facts
}

func ExampleClassifyGRPC() {
	o := tulle.ClassifyGRPC(tulle.GRPCFacts{Code: 14, Sent: true, Received: true})
	fmt.Println(o.Class, o.Class.Endpoint() == tulle.Failure, o.Class.Repetition() == tulle.RepeatSafe)
	o = tulle.ClassifyGRPC(tulle.GRPCFacts{Code: 8, Sent: true, Received: true, Pushback: true, RetryAfter: time.Second})
	fmt.Println(o.Class, o.Hinted, o.RetryAfter)
	// Output:
	// unavailable true true
	// throttled true 1s
}

func BenchmarkClassifyGRPC(b *testing.B) {
	b.ReportAllocs()
	ok, failed := ended(0, func(*tulle.GRPCFacts) {}), ended(14, func(*tulle.GRPCFacts) {})
	for b.Loop() {
		tulle.ClassifyGRPC(ok)
		tulle.ClassifyGRPC(failed)
	}
}
