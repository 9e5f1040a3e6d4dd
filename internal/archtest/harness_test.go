package archtest_test

import (
	"go/ast"
	"testing"
)

// TestLeakChecks wants each package with tests to have a TestMain that fails on
// goroutines left behind: an owner that does not wait is found the day it is
// written.
func TestLeakChecks(t *testing.T) {
	for _, p := range packages(t) {
		if len(p.source(true)) > 0 && !leakChecked(p) {
			t.Errorf("%s has tests and no func TestMain(m *testing.M) { leak.Main(m) }", p.name())
		}
	}
}

// leakChecked says that p's tests have a TestMain which uses leak.Main, or,
// in package leak itself, its Main.
func leakChecked(p *srcPkg) bool {
	for _, f := range p.source(true) {
		mains := uses(f, module+"/internal/leak", "Main")
		for _, d := range f.ast.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok || fn.Body == nil || fn.Recv != nil || fn.Name.Name != "TestMain" {
				continue
			}
			body := span{fn.Body.Pos(), fn.Body.End()}
			for _, pos := range mains {
				if body.has(pos) {
					return true
				}
			}
			return p.path == "internal/leak"
		}
	}
	return false
}

func TestLeakChecksFires(t *testing.T) {
	const head = "package p_test\n\nimport (\n\"" + module + "/internal/leak\"\n\"testing\"\n)\n\n"
	tests := []struct {
		src  string
		want bool
	}{
		{head + "func TestMain(m *testing.M) { leak.Main(m) }", true},
		{head + "func TestMain(m *testing.M) { m.Run() }\n\nvar _ = leak.Main", false},
		{head + "func TestOther(t *testing.T) {}\n\nvar _ = leak.Main", false},
	}
	for _, tt := range tests {
		if got := leakChecked(onePkg(t, "p/p_test.go", tt.src)); got != tt.want {
			t.Errorf("%s\ngot %v, want %v", tt.src, got, tt.want)
		}
	}
}
