package archtest_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// A confined tree of packages is linked into programs that import one of its
// homes, and into no others.
type confined struct {
	tree, why string
	homes     []string // from the root of the module
}

var confinedTrees = []confined{
	{
		tree: "google.golang.org/grpc/...", why: "an HTTP-only program must not link gRPC",
		homes: []string{"transport/tullegrpc", "discovery/xds", "examples/..."},
	},
	{
		tree: "google.golang.org/protobuf/...", why: "an HTTP-only program must not link protocol buffers",
		homes: []string{"transport/tullegrpc", "discovery/xds", "examples/..."},
	},
	{
		tree: "go.yaml.in/yaml/...", why: "only programs with a configuration file pay for YAML",
		homes: []string{"transport/config/...", "transport/sim/cmd/...", "examples/..."},
	},
	{
		tree: "gopkg.in/...", why: "modules there have successors elsewhere, YAML among them",
	},
	{
		tree: "go.opentelemetry.io/otel/sdk/...", why: "the SDK is the application's choice",
		homes: []string{"examples/..."},
	},
	{
		tree: "k8s.io/...", why: "client-go would cost every user 26 MB; discovery/kubernetes speaks HTTP itself",
	},
}

// checkReach returns which packages of ours reach a confined tree, however
// many imports away, from outside its homes.
func checkReach(trees []confined, pkgs []*listed) []string {
	var bad []string
	for _, p := range pkgs {
		pkg := strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/")
		for _, c := range trees {
			if underAny(pkg, c.homes) {
				continue
			}
			for _, dep := range p.Deps {
				if under(dep, c.tree) {
					bad = append(bad, fmt.Sprintf("%s reaches %s: %s (go mod why %[2]s)", p.ImportPath, dep, c.why))
					break
				}
			}
		}
	}
	return bad
}

func TestReach(t *testing.T) {
	pkgs := goList(t, "-json=ImportPath,Deps", "./...")
	if len(pkgs) < 3 {
		t.Fatalf("got %d packages, want the whole module", len(pkgs))
	}
	for _, bad := range checkReach(confinedTrees, pkgs) {
		t.Error(bad)
	}
}

func TestReachFires(t *testing.T) {
	tests := []struct {
		pkg, dep string
		want     bool
	}{
		{"", "google.golang.org/grpc", true},
		{"/transport", "google.golang.org/grpc/codes", true},
		{"/transport/tullegrpc", "google.golang.org/grpc/codes", false},
		{"/transport/tullegrpc", "go.yaml.in/yaml/v3", true},
		{"/transport/config", "go.yaml.in/yaml/v3", false},
		{"/examples/grpc", "google.golang.org/grpc", false},
		{"/discovery/kubernetes", "k8s.io/client-go/kubernetes", true},
		{"/transport/telemetry", "go.opentelemetry.io/otel/sdk/trace", true},
		{"/transport/telemetry", "go.opentelemetry.io/otel/trace", false},
	}
	for _, tt := range tests {
		in := []*listed{{ImportPath: module + tt.pkg, Deps: []string{"fmt", tt.dep}}}
		if got := checkReach(confinedTrees, in); (len(got) > 0) != tt.want {
			t.Errorf("%s reaching %s: got %q, want a message: %v", tt.pkg, tt.dep, got, tt.want)
		}
	}
}

// maxProgram is the most that a stripped program with the whole HTTP stack may
// weigh. net/http alone is 5.9 MB of it, the API of OpenTelemetry 0.9 MB
// (docs/adr/0017-telemetry.md).
const maxProgram = 8_600_000

// tinyProgram is the least that makes the linker keep the whole stack.
const tinyProgram = `package main

import (
	"fmt"
	"net/http"

	"` + module + `/transport"
)

func main() {
	t, err := transport.New(transport.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer t.Close()
	client := &http.Client{Transport: t}
	fmt.Println(client.Get("http://users/"))
}
`

// TestProgramSize builds for one platform, so that the number means the same
// wherever it is measured.
func TestProgramSize(t *testing.T) {
	if testing.Short() {
		t.Skip("links a program")
	}
	if !hasPackage(t, "transport") {
		t.Skip("SKIPPED: THERE IS NO PACKAGE transport YET, SO THE SIZE OF A PROGRAM THAT USES IT WAS NOT MEASURED")
	}
	dir := t.TempDir()
	src, bin := filepath.Join(dir, "main.go"), filepath.Join(dir, "program")
	if err := os.WriteFile(src, []byte(tinyProgram), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("go", "build", "-ldflags=-s -w", "-o", bin, src)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	info, err := os.Stat(bin)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("a program with the HTTP stack is %.2f MB", float64(info.Size())/1e6)
	if info.Size() > maxProgram {
		t.Errorf("a stripped program with the HTTP stack: got %d bytes, want at most %d; "+
			"go version -m and go tool nm -size -sort size tell what grew", info.Size(), maxProgram)
	}
}

// hasPackage says whether a package has source.
func hasPackage(t *testing.T, path string) bool {
	for _, p := range packages(t) {
		if p.path == path {
			return len(p.source(false)) > 0
		}
	}
	return false
}
