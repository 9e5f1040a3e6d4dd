package main

import (
	"context"
	"strings"
	"testing"

	"github.com/tullemesh/tulle/internal/leak"
)

func TestMain(m *testing.M) { leak.Main(m) }

// One line runs users on the laptop and leaves the rest in staging; a request can
// ask for staging, and staging answers when the laptop does not.
func TestRun(t *testing.T) {
	var out strings.Builder
	if err := run(t.Context(), &out); err != nil {
		t.Fatal(err)
	}
	const want = `Everything in staging:
  http://users    is answered by users in staging
  http://orders   is answered by orders in staging
  http://billing  is answered by billing in staging
With one line more, local: {target: "static://${LAPTOP}"}:
  http://users    is answered by users on the laptop
  http://orders   is answered by orders in staging
  http://billing  is answered by billing in staging
One request with the header Tulle-Route: users=staging:
  http://users    is answered by users in staging
  http://orders   is answered by orders in staging
  http://billing  is answered by billing in staging
The server on the laptop stops:
  http://users    is answered by users in staging
  http://orders   is answered by orders in staging
  http://billing  is answered by billing in staging
`
	if out.String() != want {
		t.Errorf("got\n%swant\n%s", out.String(), want)
	}
}

// The difference is one line, and there is one only.
func TestOneLine(t *testing.T) {
	if n := len(oneLine.FindAllString(file, -1)); n != 1 {
		t.Errorf("got %d lines that run something on the laptop, want 1", n)
	}
	without := oneLine.ReplaceAllString(file, "")
	if got := strings.Count(file, "\n") - strings.Count(without, "\n"); got != 1 || strings.Contains(without, "LAPTOP") {
		t.Errorf("got %d lines of difference, and\n%s", got, without)
	}
}

func TestRunStops(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := run(ctx, new(strings.Builder)); err == nil {
		t.Error("got no error with a context that has ended")
	}
}
