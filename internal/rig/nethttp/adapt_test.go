package main

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// moduleRoot is the folder that the command runs in.
func moduleRoot(t *testing.T) string {
	t.Helper()
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	return root
}

func TestEdits(t *testing.T) {
	for name, c := range map[string]struct {
		e    edit
		want bool
		a, b string
	}{
		"all files": {edit{"", "x", "y"}, true, "yy", "y"},
		"one file":  {edit{"b.go", "x", "y"}, true, "xx", "y"},
		"nothing":   {edit{"", "z", "y"}, false, "xx", "x"},
	} {
		sources := map[string][]byte{"a.go": []byte("xx"), "b.go": []byte("x")}
		if got := c.e.apply(sources); got != c.want || string(sources["a.go"]) != c.a || string(sources["b.go"]) != c.b {
			t.Errorf("%s: got %v, %s, %s, want %v, %s, %s", name, got, sources["a.go"], sources["b.go"], c.want, c.a, c.b)
		}
	}
}

// An edit that finds nothing is an error that names the Go version.
func TestEditsThatDoNotFit(t *testing.T) {
	s := suite{name: "x", files: []string{"net/http/main_test.go"}, edits: []edit{{"", "no such text", ""}}}
	goroot, err := goRoot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.sources(goroot); err == nil || !strings.Contains(err.Error(), goVersion) {
		t.Errorf("got %v, want an error that names %s", err, goVersion)
	}
}

func TestAdapt(t *testing.T) {
	sources := map[string][]byte{"a_test.go": []byte(`package a

import (
	"io"
	. "net/http"
	"testing"
)

func TestGood(t *testing.T) {
	tr := &Transport{}
	defer tr.CloseIdleConnections()
	c := &Client{Transport: tr}
	_ = c.Transport.(*Transport)
	_, ok := c.Transport.(*Transport)
	_, _ = tr.RoundTrip(nil)
	_ = ok
}

func noTest(tr *Transport) { tr.CloseIdleConnections() }

func TestPrivate(t *testing.T) { private() }

func private() { _ = io.EOF; notOutsideOfStd() }

func TestDropped(t *testing.T) {}

var (
	good = 1
	bad  = alsoNotOutsideOfStd
)
`)}
	s := suite{name: "a", wrap: true, drop: []string{"TestDropped"}}
	rep, err := s.adapt(t.Context(), moduleRoot(t), sources)
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(rep.pruned)
	if want := []string{"TestDropped", "TestPrivate", `import "io"`, "private", "var"}; !slices.Equal(rep.pruned, want) {
		t.Errorf("pruned: got %q, want %q", rep.pruned, want)
	}
	if rep.tests != 1 || rep.wrapped != 4 {
		t.Errorf("got %d tests and %d places, want 1 and 4", rep.tests, rep.wrapped)
	}
	text := string(sources["a_test.go"])
	for _, want := range []string{
		"package a; " + shimImport,
		"defer rigshim.Wrap(t, tr).CloseIdleConnections()",
		"&Client{Transport: rigshim.Wrap(t, tr)}",
		"_ = rigshim.Under(c.Transport)\n",
		"_, ok := c.Transport.(*Transport)\n",
		"rigshim.Wrap(t, tr).RoundTrip(nil)",
		"func noTest(tr *Transport) { tr.CloseIdleConnections() }",
		"good = 1",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("got no %q in\n%s", want, text)
		}
	}
}
