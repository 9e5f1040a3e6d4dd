package archtest_test

import (
	"flag"
	"fmt"
	"go/ast"
	"go/importer"
	"go/token"
	"go/types"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite testdata/api.txt")

const golden = "testdata/api.txt"

// TestAPI compares what users can name with the golden file. A line that is
// gone or changed breaks somebody's build; a new line is a promise.
func TestAPI(t *testing.T) {
	got, broken := exportedAPI(t)
	src, err := os.ReadFile(golden)
	if err != nil && !*update {
		t.Fatal(err)
	}
	// What does not compile now is neither gone nor new.
	var want, kept []string
	for _, line := range lines(string(src)) {
		if pkg, _, _ := strings.Cut(strings.TrimPrefix(line, "pkg "), ", "); broken[pkg] {
			kept = append(kept, line)
		} else {
			want = append(want, line)
		}
	}
	if *update {
		got = append(got, kept...)
		slices.Sort(got)
		if err := os.WriteFile(golden, []byte(strings.Join(got, "\n")+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	for _, line := range difference(want, got) {
		t.Errorf("gone:  %s", line)
	}
	for _, line := range difference(got, want) {
		t.Errorf("added: %s", line)
	}
	if t.Failed() {
		t.Log("if this is what you want: go test ./internal/archtest -run TestAPI -update, and review the diff")
	}
}

// lines are the lines of a text.
func lines(text string) []string {
	text = strings.TrimSuffix(text, "\n")
	if text == "" {
		return nil
	}
	return strings.Split(text, "\n")
}

// difference is what of a is not in b.
func difference(a, b []string) []string {
	in := map[string]bool{}
	for _, s := range b {
		in[s] = true
	}
	return slices.DeleteFunc(slices.Clone(a), func(s string) bool { return in[s] })
}

// exportedAPI describes all packages that users can import, and names those
// that do not compile.
func exportedAPI(t *testing.T) (api []string, broken map[string]bool) {
	t.Helper()
	exports := map[string]string{}
	var ours []*listed
	for _, p := range goList(t, "-export", "-deps", "-json=ImportPath,Name,Dir,Export,GoFiles,Error", "./...") {
		exports[p.ImportPath] = p.Export
		if p.ours() && p.Name != "main" && !strings.Contains(p.ImportPath, "/internal/") {
			ours = append(ours, p)
		}
	}
	broken = map[string]bool{}
	for _, p := range ours {
		if len(p.GoFiles) == 0 {
			continue // tests only
		}
		pkg, err := typeCheck(p, exports)
		name := short(p.ImportPath)
		if err != nil {
			t.Errorf("package %s: %v", name, err)
			broken[name] = true
			continue
		}
		for _, line := range describe(pkg) {
			api = append(api, "pkg "+name+", "+line)
		}
	}
	slices.Sort(api)
	return api, broken
}

// short is how a package of ours is called in the golden file.
func short(importPath string) string {
	if importPath == module {
		return "tulle"
	}
	return strings.TrimPrefix(importPath, module+"/")
}

// typeCheck checks the source of a package against the compiled form of what
// it imports.
func typeCheck(p *listed, exports map[string]string) (*types.Package, error) {
	fset := token.NewFileSet()
	lookup := func(path string) (io.ReadCloser, error) {
		if exports[path] == "" {
			return nil, fmt.Errorf("%s does not compile", path)
		}
		return os.Open(exports[path])
	}
	var files []*ast.File
	for _, name := range p.GoFiles {
		src, err := os.ReadFile(filepath.Join(p.Dir, name))
		if err != nil {
			return nil, err
		}
		f, err := parseInto(fset, name, src)
		if err != nil {
			return nil, err
		}
		files = append(files, f)
	}
	conf := types.Config{Importer: importer.ForCompiler(fset, "gc", lookup)}
	return conf.Check(p.ImportPath, fset, files, nil)
}

// describe lists the exported names of a package, one line each.
func describe(pkg *types.Package) []string {
	plain := func(p *types.Package) string {
		if p == pkg {
			return ""
		}
		return p.Name()
	}
	var out []string
	for _, name := range pkg.Scope().Names() {
		obj := pkg.Scope().Lookup(name)
		if !obj.Exported() {
			continue
		}
		switch obj := obj.(type) {
		case *types.Const:
			out = append(out, types.ObjectString(obj, plain)+" = "+obj.Val().ExactString())
		case *types.TypeName:
			out = append(out, describeType(obj, plain)...)
		default:
			out = append(out, types.ObjectString(obj, plain))
		}
	}
	return out
}

// describeType is the type's own line, and one for each field and method.
func describeType(obj *types.TypeName, q types.Qualifier) []string {
	named, ok := types.Unalias(obj.Type()).(*types.Named)
	if obj.IsAlias() || !ok {
		return []string{types.ObjectString(obj, q)}
	}
	head := "type " + obj.Name() + typeParams(named, q)
	var out []string
	switch u := named.Underlying().(type) {
	case *types.Struct:
		out = append(out, head+" struct")
		for i := range u.NumFields() {
			if f := u.Field(i); f.Exported() {
				out = append(out, head+" struct, "+describeField(f, u.Tag(i), q))
			}
		}
	case *types.Interface:
		out = append(out, head+" interface")
		for i := range u.NumMethods() {
			m := u.Method(i)
			if !m.Exported() {
				out = append(out, head+" interface, unexported methods")
				continue
			}
			out = append(out, head+" interface, "+m.Name()+signature(m, q))
		}
		if !u.IsMethodSet() {
			out = append(out, head+" interface, "+types.TypeString(u, q)) // a constraint
		}
		return out
	default:
		out = append(out, head+" "+types.TypeString(u, q))
	}
	return append(out, describeMethods(named, q)...)
}

// typeParams is the type's parameter list with constraints, or "".
func typeParams(named *types.Named, q types.Qualifier) string {
	var list []string
	for p := range named.TypeParams().TypeParams() {
		list = append(list, p.Obj().Name()+" "+types.TypeString(p.Constraint(), q))
	}
	if list == nil {
		return ""
	}
	return "[" + strings.Join(list, ", ") + "]"
}

// describeField is a field with its tag, which decoders see.
func describeField(f *types.Var, tag string, q types.Qualifier) string {
	line := f.Name() + " " + types.TypeString(f.Type(), q)
	if f.Embedded() {
		line = "embedded " + types.TypeString(f.Type(), q)
	}
	if tag != "" {
		line += " `" + tag + "`"
	}
	return line
}

// describeMethods are the exported methods, promoted ones included.
func describeMethods(named *types.Named, q types.Qualifier) []string {
	var out []string
	value := types.NewMethodSet(named)
	for sel := range types.NewMethodSet(types.NewPointer(named)).Methods() {
		m := sel.Obj()
		if !m.Exported() {
			continue
		}
		recv := "*" + named.Obj().Name()
		if value.Lookup(m.Pkg(), m.Name()) != nil {
			recv = named.Obj().Name()
		}
		out = append(out, "method ("+recv+") "+m.Name()+signature(m, q))
	}
	return out
}

// signature is a function's parameters and results.
func signature(m types.Object, q types.Qualifier) string {
	return strings.TrimPrefix(types.TypeString(m.Type(), q), "func")
}

// TestDescribe pins the form of the lines, on one of each kind.
func TestDescribe(t *testing.T) {
	const src = `package p

const Two Kind = 2

var Err error

type Kind uint8
type hidden struct{}
type Alias = Kind

func (Kind) String() string { return "" }
func (*Kind) Set(s string) error { return nil }
func (Kind) private() {}
func (hidden) Promoted() {}

type S struct {
	hidden
	A, B int ` + "`json:\"a\"`" + `
	c    int
}

type I interface { Do(x int, opts ...string) (n int, err error) }
type G[T any] struct { V T }

func New[T any](g G[T], f func(*S)) (*S, error) { return nil, nil }
func private() {}
`
	fset := token.NewFileSet()
	f, err := parseInto(fset, "p.go", []byte(src))
	if err != nil {
		t.Fatal(err)
	}
	pkg, err := new(types.Config).Check("example.com/p", fset, []*ast.File{f}, nil)
	if err != nil {
		t.Fatal(err)
	}
	got := describe(pkg)
	want := []string{
		"type Alias = Kind",
		"var Err error",
		"type G[T any] struct",
		"type G[T any] struct, V T",
		"type I interface",
		"type I interface, Do(x int, opts ...string) (n int, err error)",
		"type Kind uint8",
		"method (*Kind) Set(s string) error",
		"method (Kind) String() string",
		"func New[T any](g G[T], f func(*S)) (*S, error)",
		"type S struct",
		"type S struct, A int `json:\"a\"`",
		"type S struct, B int `json:\"a\"`",
		"method (S) Promoted()",
		"const Two Kind = 2",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestDifference(t *testing.T) {
	got := difference([]string{"a", "b", "c"}, []string{"b", "d"})
	if want := []string{"a", "c"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
