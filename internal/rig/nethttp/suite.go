package main

import (
	"bytes"
	"context"
	"fmt"
	"go/format"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

// module is the import path of the folder that the rig lies in.
const module = "github.com/tullemesh/tulle/internal/rig"

// genDir is where copies go, below the module's folder. Git ignores it, and
// the underscore hides it from ./... patterns.
const genDir = "_gen"

// goVersion is the Go minor version that the edits below were written for.
const goVersion = "go1.26"

// A suite is a set of files of GOROOT that becomes one package of tests.
type suite struct {
	name  string
	files []string // below GOROOT/src
	edits []edit
	drop  []string // declarations that cannot work with what stands for private parts
	wrap  bool     // put calls of the shim where the tests use an *http.Transport

	// Fewer test functions after pruning, or fewer requests through the
	// wrapper, mean that the result says nothing.
	atLeast, requests int
}

// An edit replaces text in one file, or in all when file is empty. It must
// apply at least once, else the file is not the one that it was written for.
type edit struct {
	file, from, to string
}

// helpers are packages that the tests import and only the standard library may.
var helpers = map[string]string{
	"net/http/internal/testcert": "testcert",
	"net/http/internal/ascii":    "ascii",
}

// suites are the tests of Go itself that run through the library.
func suites() []suite {
	return []suite{{
		name: "client",
		files: []string{
			"net/http/async_test.go", "net/http/client_test.go", "net/http/clientserver_test.go",
			"net/http/main_test.go", "net/http/netconn_test.go", "net/http/transport_test.go",
		},
		edits: []edit{
			{"", `"internal/synctest"`, `"testing/synctest"`},
			{"", `"internal/testenv"`, ``},
			{"", `"internal/nettrace"`, `"` + module + `/nethttp/testdata/nettrace"`},
			{"", `"net/http/internal/testcert"`, `"` + module + "/" + genDir + `/testcert"`},
			{"", `.WithT(t)`, ``}, // only names the test in traces
			{"main_test.go", `http.CondSkipHTTP2(`, `CondSkipHTTP2(`},
			{"main_test.go", `func TestMain(`, `func replacedTestMain(`},
			// The server's log names the package of the handler.
			{"clientserver_test.go", `net/http_test.`, module + "/" + genDir + `/client_test.`},
			{"", `tr.IdleConnKeysForTesting()`, `idleConnKeys(tr)`},
			{"", `tr.IdleConnCountForTesting(`, `idleConnCount(tr, `},
			{"", `tr.NumPendingRequestsForTesting()`, `pendingRequests(tr)`},
			// Cleanups run last to first: the wrapper is closed after the
			// server, as a client outlives what it calls.
			{
				"clientserver_test.go", "\tt.Cleanup(func() {\n\t\tcst.close()",
				"\tcst.c.Transport = rigshim.Wrap(t, cst.tr)\n\tt.Cleanup(func() {\n\t\tcst.close()",
			},
		},
		// It cancels in a private hook, without which it waits for ever.
		drop:    []string{"testTransportMaxConnsPerHostDialCancellation"},
		wrap:    true,
		atLeast: 180, requests: 2000, // of 222 and 2,800 with go1.26.8
	}, {
		name:  "reverseproxy",
		files: []string{"net/http/httputil/reverseproxy.go", "net/http/httputil/reverseproxy_test.go"},
		edits: []edit{
			{"", `"net/http/internal/ascii"`, `"` + module + "/" + genDir + `/ascii"`},
			{"reverseproxy.go", `"internal/godebug"`, ``},
			{"reverseproxy.go", `godebug.New("urlmaxqueryparams")`, `setting{}`},
			{"reverseproxy.go", "transport = http.DefaultTransport\n\t}\n", "transport = http.DefaultTransport\n\t}\n\ttransport = rigshim.Front(transport)\n"},
		},
		atLeast: 38, requests: 50, // of 42 and 63 with go1.26.8
	}}
}

// sources reads the files of a suite and applies its edits.
func (s *suite) sources(goroot string) (map[string][]byte, error) {
	sources := map[string][]byte{}
	for _, path := range s.files {
		text, err := os.ReadFile(filepath.Join(goroot, "src", path))
		if err != nil {
			return nil, err
		}
		sources[filepath.Base(path)] = text
	}
	for _, e := range s.edits {
		if !e.apply(sources) {
			return nil, fmt.Errorf("nothing to replace for %q %s: the edits are for %s, this is %s",
				e.from, e.file, goVersion, runtime.Version())
		}
	}
	return sources, nil
}

// apply reports whether it found something to replace.
func (e *edit) apply(sources map[string][]byte) bool {
	found := false
	for name, text := range sources {
		if e.file != "" && e.file != name || !bytes.Contains(text, []byte(e.from)) {
			continue
		}
		found = true
		sources[name] = bytes.ReplaceAll(text, []byte(e.from), []byte(e.to))
	}
	return found
}

// goRoot is where the go command finds the standard library, which
// runtime.GOROOT does not say for every way of building.
func goRoot(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "env", "GOROOT").Output()
	if err != nil {
		return "", fmt.Errorf("go env GOROOT: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
}

// generate writes the package of a suite below root and reports what it has
// pruned.
func (s *suite) generate(ctx context.Context, root, goroot string) (*report, error) {
	sources, err := s.sources(goroot)
	if err != nil {
		return nil, err
	}
	own, err := filepath.Glob(filepath.Join(root, "nethttp", "testdata", s.name, "*.go"))
	if err != nil {
		return nil, err
	}
	for _, path := range own {
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		sources[filepath.Base(path)] = text
	}
	if err := copyHelpers(root, goroot); err != nil {
		return nil, err
	}
	rep, err := s.adapt(ctx, root, sources)
	if err != nil {
		return nil, err
	}
	return rep, writeAll(filepath.Join(root, genDir, s.name), sources)
}

// copyHelpers copies the packages that nobody outside may import.
func copyHelpers(root, goroot string) error {
	for path, name := range helpers {
		files, err := filepath.Glob(filepath.Join(goroot, "src", path, "*.go"))
		if err != nil {
			return err
		}
		files = slices.DeleteFunc(files, func(f string) bool { return strings.HasSuffix(f, "_test.go") })
		sources := map[string][]byte{}
		for _, f := range files {
			if sources[filepath.Base(f)], err = os.ReadFile(f); err != nil {
				return err
			}
		}
		if err := writeAll(filepath.Join(root, genDir, name), sources); err != nil {
			return err
		}
	}
	return nil
}

// writeAll makes dir hold exactly these files.
func writeAll(dir string, sources map[string][]byte) error {
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for name, text := range sources {
		neat, err := format.Source(text) // checks of the whole tree find nothing to say
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, name), neat, 0o644); err != nil {
			return err
		}
	}
	return nil
}
