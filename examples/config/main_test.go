package main

import (
	"context"
	"strings"
	"testing"

	"github.com/tullemesh/tulle/internal/leak"
	"github.com/tullemesh/tulle/transport/config"
)

func TestMain(m *testing.M) { leak.Main(m) }

// One line runs a service on the laptop, and everything else in staging.
func TestRun(t *testing.T) {
	var out strings.Builder
	if err := run(t.Context(), "tulle.yaml", &out); err != nil {
		t.Fatal(err)
	}
	const want = "users is answered by laptop\nnow without the line environment: local\nusers is answered by staging\n"
	if out.String() != want {
		t.Errorf("got\n%swant\n%s", out.String(), want)
	}
}

func TestRunStops(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := run(ctx, "tulle.yaml", new(strings.Builder)); err == nil {
		t.Error("got no error with a context that has ended")
	}
	if err := run(t.Context(), "nowhere.yaml", new(strings.Builder)); err == nil {
		t.Error("got no error without a file")
	}
}

// The file has nothing to warn of, and names each variable that it needs.
func TestFile(t *testing.T) {
	r, err := config.Load("tulle.yaml", config.Options{LookupEnv: func(name string) (string, bool) {
		return "127.0.0.1:80", name == "STAGING" || name == "LAPTOP" || name == "ZONE"
	}})
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range r.Warnings {
		// That a section takes the place of the one in the defaults is what the
		// file shows.
		if !strings.Contains(w.Message, "takes the place of") {
			t.Errorf("got warning %v", w)
		}
	}
}
