package http2_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tullemesh/tulle/internal/rig/http2/badserver"
)

const (
	concurrency = 16
	perKind     = 200 // calls of each kind

	// slow is what no call may take: all servers are near, and at least one
	// of them works. It leaves room for a machine that is busy with other
	// things, and none for the 15 s until a ping. A call that hangs is ended a
	// little later.
	slow      = 14 * time.Second
	callLimit = 15 * time.Second
)

// A kind is a way to send a request.
type kind string

const (
	get    kind = "GET"
	post   kind = "POST"        // its body can be rewound
	stream kind = "POST stream" // its body cannot
)

// A call is one call of the load and what it came to.
type call struct {
	id   string
	kind kind
	body string

	begun, ended chan struct{} // closed when the load comes to the call, and at its end

	err    error
	inBody bool // the error came after the response's headers
	took   time.Duration
}

// calls makes the load: the kinds in turn, a few bodies long enough to need many
// frames.
func calls(kinds ...kind) []*call {
	var list []*call
	for i := range perKind {
		for _, k := range kinds {
			c := &call{id: fmt.Sprintf("%s-%d", strings.ReplaceAll(string(k), " ", "-"), i), kind: k}
			if k != get {
				c.body = strings.Repeat("x", 100+i)
			}
			if k != get && i%20 == 0 {
				c.body = strings.Repeat("y", 100_000)
			}
			list = append(list, c)
		}
	}
	return list
}

// run sends the load and waits for the end.
func run(t testing.TB, client *http.Client, url string, list []*call) {
	t.Helper()
	runWhile(t, client, url, list, nil)
}

// pace is how many calls lie between two ticks of runWhile.
const pace = 40

// runWhile is run with something else going on, which is told by a tick each
// time that some calls have begun, and by a closed channel when all are done.
func runWhile(t testing.TB, client *http.Client, url string, list []*call, meanwhile func(ticks <-chan struct{})) {
	t.Helper()
	work, ticks := make(chan *call), make(chan struct{}, 1)
	var other sync.WaitGroup
	if meanwhile != nil {
		other.Go(func() { meanwhile(ticks) })
	}
	var wg sync.WaitGroup
	for range concurrency {
		wg.Go(func() {
			for c := range work {
				c.send(t, client, url)
				close(c.ended)
			}
		})
	}
	for _, c := range list {
		c.begun, c.ended = make(chan struct{}), make(chan struct{})
	}
	for i, c := range list {
		close(c.begun)
		work <- c
		if i%pace == pace-1 {
			select {
			case ticks <- struct{}{}:
			default: // the last one has not been noticed yet
			}
		}
	}
	close(work)
	wg.Wait()
	close(ticks)
	other.Wait()
}

// settle waits for the calls that have begun by now.
func settle(list []*call) {
	n := 0
	for n < len(list) && list[n].hasBegun() {
		n++
	}
	for _, c := range list[:n] {
		<-c.ended
	}
}

// hasBegun says whether the load has come to the call.
func (c *call) hasBegun() bool {
	select {
	case <-c.begun:
		return true
	default:
		return false
	}
}

// send sends one call.
func (c *call) send(t testing.TB, client *http.Client, url string) {
	ctx, cancel := context.WithTimeout(t.Context(), callLimit)
	defer cancel()
	req, err := c.request(ctx, url)
	if err != nil {
		c.err = err
		return
	}
	began := time.Now()
	defer func() { c.took = time.Since(began) }()
	resp, err := client.Do(req)
	if err != nil {
		c.err = err
		return
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	c.inBody = true
	c.err = c.check(resp, string(answer), err)
}

// check compares the answer with what the server must have seen.
func (c *call) check(resp *http.Response, answer string, err error) error {
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("got status %s, want 200", resp.Status)
	}
	if err != nil {
		return err
	}
	want := fmt.Sprintf("%d %x ", len(c.body), sha256.Sum256([]byte(c.body)))
	if !strings.HasPrefix(answer, want) || len(answer) != answerSize {
		return fmt.Errorf("got an answer of %d bytes: %.80q, want %d: %q", len(answer), answer, answerSize, want)
	}
	return nil
}

// answerSize is the length of the answers of all servers here.
const answerSize = 1000

// request makes the call's request.
func (c *call) request(ctx context.Context, url string) (*http.Request, error) {
	method := http.MethodPost
	var body io.Reader = strings.NewReader(c.body)
	switch c.kind {
	case get:
		method, body = http.MethodGet, nil
	case stream:
		body = io.MultiReader(body) // hides that it could be rewound
	}
	req, err := http.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		return nil, err
	}
	req.Header.Set(badserver.IDHeader, c.id)
	return req, nil
}

// A verdict says what the calls of a load may come to.
type verdict struct {
	ledger *badserver.Ledger

	// postMayFail allows calls that are not safe to fail, as nobody can prove
	// that they were not processed. They must not be executed twice all the
	// same.
	postMayFail bool

	// streamMayFail allows it for bodies that cannot be rewound.
	streamMayFail bool

	// cutMayShow allows a response to break off in its body: it was in the
	// caller's hands already.
	cutMayShow bool

	// slowest is what the slowest call may take.
	slowest time.Duration
}

// judge fails the test for every call that broke a promise, up to a few.
func (v *verdict) judge(t testing.TB, list []*call) {
	t.Helper()
	var bad []string
	failed := map[kind]int{}
	var slowest time.Duration
	for _, c := range list {
		if c.err != nil {
			failed[c.kind]++
		}
		slowest = max(slowest, c.took)
		if problem := v.problem(c); problem != "" {
			bad = append(bad, problem)
		}
	}
	touched, refused := v.ledger.Totals()
	t.Logf("%d calls: failed %v; slowest %v; %d requests were processed, %d refused", len(list), failed, slowest.Round(time.Millisecond), touched, refused)
	for _, problem := range bad[:min(len(bad), 5)] {
		t.Error(problem)
	}
	if len(bad) > 5 {
		t.Errorf("and %d more calls", len(bad)-5)
	}
}

// problem is the promise that a call broke, or empty.
func (v *verdict) problem(c *call) string {
	touched := v.ledger.Touched(c.id)
	switch {
	case c.kind != get && touched > 1:
		return fmt.Sprintf("%s: was executed %d times, want at most once; it came to error %v", c.id, touched, c.err)
	case c.took > v.slowest:
		return fmt.Sprintf("%s: took %v, want at most %v; refused %d times; error %v", c.id, c.took.Round(time.Millisecond), v.slowest, v.ledger.Refused(c.id), c.err)
	case c.err == nil && touched == 0:
		return fmt.Sprintf("%s: succeeded, and no server has processed it", c.id)
	case c.err == nil || v.mayFail(c):
		return ""
	}
	return fmt.Sprintf("%s: got %v, want success; processed %d times, refused %d times", c.id, c.err, touched, v.ledger.Refused(c.id))
}

// mayFail says whether the call's error is one that cannot be helped.
func (v *verdict) mayFail(c *call) bool {
	if errors.Is(c.err, context.DeadlineExceeded) {
		return false
	}
	if c.inBody {
		return v.cutMayShow
	}
	return c.kind != get && v.postMayFail || c.kind == stream && v.streamMayFail
}

// protocols runs a test over each of the protocols.
func protocols(t *testing.T, list []protocol, f func(t *testing.T, p protocol)) {
	for _, p := range list {
		t.Run(string(p), func(t *testing.T) { f(t, p) })
	}
}

var allHTTP2 = []protocol{h2, h2c}

var allProtocols = slices.Concat([]protocol{http1, https1}, allHTTP2)
