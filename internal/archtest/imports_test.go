package archtest_test

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// A row says what one package may import besides the standard library. All
// paths of ours are from the root of the module, "" is the root package; a
// path that ends in "/..." is a whole tree.
type row struct {
	pkg   string
	ours  []string
	third []string

	// testThird is what the tests of the package may import besides that,
	// besides the package itself and besides the test kits. A requirement of
	// tests is one that every user downloads, so this stays short.
	testThird []string
}

// leaves are the layers that can each be used alone. They never import each
// other: what they share is in the root package, what joins them is above.
var leaves = []string{
	"discovery", "balancer", "breaker", "retry",
	"transport/limit", "transport/deadline", "transport/route", "transport/telemetry",
}

// helpers import the standard library only; any package may import them.
var helpers = []string{"internal/eob", "internal/setting"}

// testKits may import package testing, and only tests and each other may
// import them.
var testKits = []string{"internal/leak", "internal/dnstest", "discovery/discoverytest", "balancer/balancertest"}

// importTable is the direction of imports. A row may be there before its
// package. Whoever adds a package adds its row here, and whoever widens a row
// argues it in docs/adr.
var importTable = []row{
	// The vocabulary.
	{pkg: ""},

	// The leaves, each with the one library that it stands on.
	{pkg: "discovery", ours: []string{""}},
	{pkg: "balancer", ours: []string{""}},
	{pkg: "breaker", ours: []string{""}, third: []string{"github.com/sony/gobreaker/v2"}},
	{pkg: "retry", ours: []string{""}, third: []string{"github.com/hashicorp/go-retryablehttp"}},
	{pkg: "transport/limit", ours: []string{""}, third: []string{"golang.org/x/time/rate"}},
	{pkg: "transport/deadline", ours: []string{""}},
	{pkg: "transport/route", ours: []string{""}},
	{
		// The API only. The SDK is the application's choice; a test needs one
		// to see what was recorded.
		pkg: "transport/telemetry", ours: []string{""},
		third: []string{
			"go.opentelemetry.io/otel", "go.opentelemetry.io/otel/attribute/...", "go.opentelemetry.io/otel/baggage", "go.opentelemetry.io/otel/codes",
			"go.opentelemetry.io/otel/metric/...", "go.opentelemetry.io/otel/propagation",
			"go.opentelemetry.io/otel/semconv/...", "go.opentelemetry.io/otel/trace/...",
		},
		testThird: []string{"go.opentelemetry.io/otel/sdk/..."},
	},

	// Sources of endpoints that need more than the standard resolver, and the
	// conformance suites: they know their leaf.
	{pkg: "discovery/kubernetes", ours: []string{"", "discovery"}},
	{pkg: "discovery/consul", ours: []string{"", "discovery"}},
	{
		pkg: "discovery/xds", ours: []string{"", "discovery"},
		third: []string{"google.golang.org/grpc/...", "google.golang.org/protobuf/..."},
	},
	{pkg: "discovery/discoverytest", ours: []string{"", "discovery"}},
	{pkg: "balancer/balancertest", ours: []string{"", "balancer"}},

	// The engine, which knows neither HTTP nor gRPC, and the assembly.
	{pkg: "internal/cluster", ours: []string{"", "balancer", "breaker", "retry", "transport/limit"}},
	{pkg: "internal/destination", ours: []string{"", "internal/cluster", "retry", "transport/deadline", "transport/limit", "transport/telemetry"}},
	{
		pkg: "transport", ours: append([]string{"", "internal/cluster", "internal/destination"}, leaves...),
		testThird: []string{"go.opentelemetry.io/otel/...", "go.opentelemetry.io/otel/sdk/..."},
	},

	// What stands on the assembly.
	{
		pkg: "transport/tullegrpc", ours: append([]string{"", "internal/cluster", "internal/destination", "transport"}, leaves...),
		third:     []string{"google.golang.org/grpc/...", "google.golang.org/protobuf/..."},
		testThird: []string{"go.opentelemetry.io/otel/..."},
	},
	{
		pkg: "transport/config", ours: append([]string{"", "transport"}, leaves...),
		third: []string{"go.yaml.in/yaml/..."},
	},
	{pkg: "transport/config/cmd/tulle-config", ours: []string{"transport", "transport/config", "transport/route"}},
	{
		// Discovery is for the tests, which make a whole Transport.
		pkg: "transport/admin", ours: []string{"", "transport", "transport/telemetry", "discovery"},
	},
	{pkg: "transport/sim", ours: append([]string{"", "internal/cluster", "transport", "transport/sim/peers"}, leaves...)},
	{pkg: "transport/sim/peers", ours: []string{"", "balancer"}},
	{pkg: "transport/sim/cmd/tulle-sim", ours: []string{"transport/sim"}, third: []string{"go.yaml.in/yaml/..."}},

	// Programs that show the library. They see what a user sees.
	{
		pkg: "examples/...",
		ours: append([]string{
			"", "examples/...", "discovery/...", "transport", "transport/tullegrpc", "transport/config",
			"transport/admin", "transport/sim",
		}, leaves...),
		third: []string{"google.golang.org/grpc/...", "google.golang.org/protobuf/..."},
	},

	// The repository's own tools.
	{pkg: "internal/leak"},
	{pkg: "internal/dnstest"},
	{pkg: "internal/archtest"},
}

// rowOf finds the row of a package. An exact row wins over a tree.
func rowOf(table []row, pkg string) *row {
	var found *row
	for i := range table {
		if table[i].pkg == pkg {
			return &table[i]
		}
		if under(pkg, table[i].pkg) {
			found = &table[i]
		}
	}
	return found
}

// checkImports returns what p imports against the table.
func checkImports(table []row, p *srcPkg) []string {
	r := rowOf(table, p.path)
	if r == nil {
		return []string{fmt.Sprintf("%s has no row: add one to importTable in internal/archtest/imports_test.go, "+
			"or list it in helpers there if it imports the standard library only", p.name())}
	}
	var bad []string
	for _, f := range p.files {
		for _, spec := range f.ast.Imports {
			name, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				continue // the parser has refused it already
			}
			if why := r.forbids(p, name, f.test); why != "" {
				bad = append(bad, fmt.Sprintf("%s: %s must not import %q: %s", f.at(spec.Pos()), p.name(), name, why))
			}
		}
	}
	return bad
}

// forbids says why the row does not allow an import, or "".
func (r *row) forbids(p *srcPkg, name string, test bool) string {
	ours, isOurs := strings.CutPrefix(name+"/", module+"/")
	ours = strings.TrimSuffix(ours, "/")
	switch {
	case isOurs:
		return r.forbidsOurs(p, ours, test)
	case !strings.Contains(strings.Split(name, "/")[0], "."):
		return "" // the standard library; calls_test.go has the exceptions
	case underAny(name, r.third), test && underAny(name, r.testThird):
		return ""
	}
	return "third-party modules have one home each, see importTable in internal/archtest/imports_test.go"
}

// forbidsOurs is forbids for a package of the module.
func (r *row) forbidsOurs(p *srcPkg, name string, test bool) string {
	kit := slices.Contains(testKits, name)
	switch {
	case kit && (test || slices.Contains(testKits, p.path)):
		return ""
	case kit:
		return "it is a test kit, for tests only"
	case underAny(name, r.ours), slices.Contains(helpers, name):
		return ""
	case test && name == p.path:
		return ""
	case slices.Contains(leaves, p.path) && slices.Contains(leaves, name):
		return "leaves never import each other; what they share belongs into the root package"
	}
	return "imports point down only, see importTable in internal/archtest/imports_test.go"
}

// fullTable is the table with the rows of the helpers.
func fullTable() []row {
	table := slices.Clone(importTable)
	for _, h := range helpers {
		table = append(table, row{pkg: h})
	}
	return table
}

func TestImports(t *testing.T) {
	table := fullTable()
	for _, p := range packages(t) {
		for _, bad := range checkImports(table, p) {
			t.Error(bad)
		}
	}
}

func TestTableHasEachPackageOnce(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range fullTable() {
		if seen[r.pkg] {
			t.Errorf("package %q has two rows", r.pkg)
		}
		seen[r.pkg] = true
	}
	for _, kit := range testKits {
		if rowOf(fullTable(), kit) == nil {
			t.Errorf("test kit %q has no row", kit)
		}
	}
}

// TestTablePointsDown proves that the rows have no cycle and that no row lets
// one leaf import another.
func TestTablePointsDown(t *testing.T) {
	table := fullTable()
	var visit func(pkg string, path []string)
	visit = func(pkg string, path []string) {
		if slices.Contains(path, pkg) {
			t.Fatalf("imports in a circle: %s -> %s", strings.Join(path, " -> "), pkg)
		}
		r := rowOf(table, pkg)
		if r == nil {
			return
		}
		for _, next := range r.ours {
			if slices.Contains(leaves, pkg) && next != "" {
				t.Errorf("leaf %q may import %q, want the root only", pkg, next)
			}
			if !strings.HasSuffix(next, "/...") {
				visit(next, append(slices.Clone(path), pkg))
			}
		}
	}
	for _, r := range table {
		visit(r.pkg, nil)
	}
}

func TestImportsFires(t *testing.T) {
	tests := []struct {
		file, imports string
		want          string // part of the message, "" for none
	}{
		{"x.go", "net/http", ""},
		{"x.go", "golang.org/x/sync/errgroup", "third-party"},
		{"x.go", module + "/retry", "point down only"},
		{"x_test.go", module, ""},
		{"x_test.go", module + "/internal/leak", ""},
		{"balancer/x.go", module, ""},
		{"balancer/x.go", module + "/retry", "leaves never import each other"},
		{"balancer/x_test.go", module + "/retry", "leaves never import each other"},
		{"balancer/x.go", module + "/transport", "point down only"},
		{"balancer/x.go", module + "/internal/leak", "test kit"},
		{"balancer/x.go", module + "/balancer/balancertest", "test kit"},
		{"balancer/x_test.go", module + "/balancer/balancertest", ""},
		{"balancer/balancertest/x.go", module + "/balancer", ""},
		{"retry/x.go", "github.com/hashicorp/go-retryablehttp", ""},
		{"transport/x.go", "github.com/hashicorp/go-retryablehttp", "third-party"},
		{"transport/x.go", module + "/internal/cluster", ""},
		{"transport/x.go", module + "/transport/tullegrpc", "point down only"},
		{"transport/telemetry/x.go", "go.opentelemetry.io/otel/sdk/metric", "third-party"},
		{"transport/telemetry/x_test.go", "go.opentelemetry.io/otel/sdk/metric", ""},
		{"internal/cluster/x.go", module + "/transport", "point down only"},
		{"transport/tullegrpc/x.go", "google.golang.org/grpc/codes", ""},
		{"transport/x.go", "google.golang.org/grpc/codes", "third-party"},
		{"transport/x.go", "google.golang.org/grpcx", "third-party"},
		{"examples/quickstart/x.go", module + "/transport", ""},
		{"examples/quickstart/x.go", module + "/internal/cluster", "point down only"},
		{"nobody/knows/x.go", "net/http", "has no row: add one to importTable"},
	}
	for _, tt := range tests {
		p := onePkg(t, tt.file, fmt.Sprintf("package x\n\nimport _ %q\n", tt.imports))
		got := strings.Join(checkImports(fullTable(), p), "\n")
		if tt.want == "" && got != "" || !strings.Contains(got, tt.want) {
			t.Errorf("%s importing %s: got %q, want %q", tt.file, tt.imports, got, tt.want)
		}
	}
}
