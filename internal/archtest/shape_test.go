package archtest_test

import (
	"fmt"
	"go/ast"
	"slices"
	"strings"
	"testing"
)

// The hard limits. The other numbers of the house are printed (go test -v) and
// left to review, as a short function that hides something is worse than a long
// one.
const (
	maxFuncLines = 100
	maxFileLines = 600
)

// A shape is what was measured on some source.
type shape struct {
	funcs, files         []int // lines of each
	code, comments, test int   // lines that are not empty; comments are part of neither
	exported             int   // names on package level
	methods              int   // of the largest exported interface
}

// measure adds a file. Generated files and tests have no shape of their own.
func (s *shape) measure(f *srcFile) {
	code, comments := countLines(f)
	if f.test {
		s.test += code + comments
		return
	}
	if f.generated() {
		return
	}
	s.code += code
	s.comments += comments
	s.files = append(s.files, strings.Count(string(f.src), "\n"))
	for _, d := range f.ast.Decls {
		if fn, ok := d.(*ast.FuncDecl); ok {
			s.funcs = append(s.funcs, funcLines(f, fn))
		}
	}
	for _, typ := range exportedNames(f) {
		s.exported++
		if i, ok := typ.(*ast.InterfaceType); ok {
			s.methods = max(s.methods, len(i.Methods.List))
		}
	}
}

// add puts two shapes together.
func (s *shape) add(o *shape) {
	s.funcs = append(s.funcs, o.funcs...)
	s.files = append(s.files, o.files...)
	s.code, s.comments, s.test = s.code+o.code, s.comments+o.comments, s.test+o.test
	s.exported += o.exported
	s.methods = max(s.methods, o.methods)
}

// String is one row of the table.
func (s *shape) String() string {
	share := func(a, b int) float64 { return float64(a) / float64(max(b, 1)) }
	return fmt.Sprintf("%6d %4d %4d %4d %6d %5d %6d %9.0f%% %9.2f %6d %8d",
		s.code+s.comments, quantile(s.funcs, 50), quantile(s.funcs, 95), quantile(s.funcs, 100),
		quantile(s.files, 50), quantile(s.files, 95), quantile(s.files, 100),
		100*share(s.comments, s.code+s.comments), share(s.test, s.code+s.comments), s.exported, s.methods)
}

// quantile is the p-th percentile, 0 of nothing.
func quantile(values []int, p int) int {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	return sorted[(len(sorted)-1)*p/100]
}

// funcLines is how many lines a function takes, braces included.
func funcLines(f *srcFile, fn *ast.FuncDecl) int { return f.line(fn.End()) - f.line(fn.Pos()) + 1 }

// countLines counts lines with code, and lines with a comment and nothing else.
func countLines(f *srcFile) (code, comments int) {
	full := map[int]bool{}
	for _, group := range f.ast.Comments {
		for _, c := range group.List {
			for n := f.line(c.Pos()); n <= f.line(c.End()); n++ {
				full[n] = true
			}
		}
	}
	for i, line := range strings.Split(string(f.src), "\n") {
		line = strings.TrimSpace(line)
		switch {
		case line == "":
		case full[i+1] && (strings.HasPrefix(line, "//") || strings.HasPrefix(line, "/*")):
			comments++
		default:
			code++
		}
	}
	return code, comments
}

// exportedNames are the names on package level that users see, methods not
// counted; the value is the type's expression, or nil.
func exportedNames(f *srcFile) map[string]ast.Expr {
	names := map[string]ast.Expr{}
	for _, d := range f.ast.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			if d.Recv == nil && d.Name.IsExported() {
				names[d.Name.Name] = nil
			}
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				switch spec := spec.(type) {
				case *ast.TypeSpec:
					if spec.Name.IsExported() {
						names[spec.Name.Name] = spec.Type
					}
				case *ast.ValueSpec:
					for _, n := range spec.Names {
						if n.IsExported() {
							names[n.Name] = nil
						}
					}
				}
			}
		}
	}
	return names
}

// tooLong returns what is over a hard limit.
func tooLong(f *srcFile) []string {
	if f.test || f.generated() {
		return nil
	}
	var bad []string
	if n := strings.Count(string(f.src), "\n"); n > maxFileLines {
		bad = append(bad, fmt.Sprintf("%s: got %d lines, want at most %d", f.path, n, maxFileLines))
	}
	for _, d := range f.ast.Decls {
		if fn, ok := d.(*ast.FuncDecl); ok && funcLines(f, fn) > maxFuncLines {
			bad = append(bad, fmt.Sprintf("%s: func %s: got %d lines, want at most %d", f.at(fn.Pos()), fn.Name.Name, funcLines(f, fn), maxFuncLines))
		}
	}
	return bad
}

func TestShape(t *testing.T) {
	var library shape
	const head = "%-26s  lines      function         file         comments  test:src  names  methods"
	t.Logf(head, "")
	t.Logf("%-26s   all   med  p95  max    med   p95    max", "")
	for _, p := range packages(t) {
		var s shape
		for _, f := range p.files {
			s.measure(f)
			for _, bad := range tooLong(f) {
				t.Error(bad)
			}
		}
		name := p.path
		if name == "" {
			name = "tulle"
		}
		t.Logf("%-26s%s", name, &s)
		if !p.program() && !p.internal() {
			library.add(&s)
		}
	}
	t.Logf("%-26s%s", "exported packages", &library)
	t.Logf("%-26s         8   45  100    150   450    600    22-32%%     >=1.30     25        3", "house numbers")
}

func TestShapeFires(t *testing.T) {
	long := "package p\n\nfunc f() {\n" + strings.Repeat("\t_ = 1\n", maxFuncLines-2) + "}\n"
	longer := "package p\n\nfunc f() {\n" + strings.Repeat("\t_ = 1\n", maxFuncLines-1) + "}\n"
	file := "package p\n" + strings.Repeat("\n", maxFileLines-1)
	tests := []struct {
		name, path, src string
		want            int
	}{
		{"longest function", "p.go", long, 0},
		{"one line more", "p.go", longer, 1},
		{"longest file", "p.go", file, 0},
		{"one line more", "p.go", file + "\n", 1},
		{"both", "p.go", longer + file[len("package p"):], 2},
		{"tests have no limit", "p_test.go", longer, 0},
		{"generated", "p.go", "// Code generated by x. DO NOT EDIT.\n" + longer, 0},
	}
	for _, tt := range tests {
		if got := tooLong(onePkg(t, tt.path, tt.src).files[0]); len(got) != tt.want {
			t.Errorf("%s: got %q, want %d messages", tt.name, got, tt.want)
		}
	}
}

func TestShapeMeasures(t *testing.T) {
	const src = `// Package p is two lines
// of comment.
package p

/* A block. */
type I interface{ A(); B() }

// C is code.
func C() { // trailing
	_ = "// no comment"
}

const D, e = 1, 2
`
	var s shape
	s.measure(onePkg(t, "p.go", src).files[0])
	s.measure(onePkg(t, "p_test.go", src).files[0])
	got := fmt.Sprint(s.code, s.comments, s.test, s.exported, s.methods, s.funcs, s.files)
	if want := "6 4 10 3 2 [3] [13]"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got, want := quantile([]int{5, 1, 4, 2, 3}, 50), 3; got != want {
		t.Errorf("median: got %d, want %d", got, want)
	}
}
