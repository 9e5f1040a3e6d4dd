package archtest_test

import (
	"fmt"
	"go/ast"
	"go/token"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// constructor are the functions that need an Example: those that a reader
// meets first.
var constructor = regexp.MustCompile(`^(New|Parse)([A-Z]|$)`)

// noExample lists constructors without an Example, as package.Name, and why.
var noExample = map[string]string{
	"balancer.NewSet": "a set of bits between engine and policies; its five methods explain each other",
}

func TestDocs(t *testing.T) {
	for _, p := range packages(t) {
		for _, bad := range checkPackageDoc(p) {
			t.Error(bad)
		}
		for _, f := range p.source(false) {
			for _, bad := range checkDocs(f) {
				t.Error(bad)
			}
		}
	}
}

// checkPackageDoc wants one package comment, in the form that go doc and
// pkg.go.dev make their index from.
func checkPackageDoc(p *srcPkg) []string {
	var docs []*srcFile
	for _, f := range p.source(false) {
		if f.ast.Doc != nil {
			docs = append(docs, f)
		}
	}
	if len(p.source(false)) == 0 {
		return nil
	}
	if len(docs) != 1 {
		return []string{fmt.Sprintf("%s: got %d package comments, want one", p.name(), len(docs))}
	}
	f := docs[0]
	start := "Package " + f.ast.Name.Name + " "
	if p.program() {
		dir := p.path[strings.LastIndex(p.path, "/")+1:]
		start = "Command " + dir + " "
	}
	if !strings.HasPrefix(f.ast.Doc.Text(), start) {
		return []string{fmt.Sprintf("%s: the package comment of %s must begin with %q", f.path, p.name(), start)}
	}
	return nil
}

// checkDocs wants a comment on each exported name. What counts:
//
//   - functions, methods and types have their own, which begins with the name;
//   - constants and variables have their own or share that of their group;
//   - struct fields have their own, or directly follow (no empty line) a field
//     that has, as fields are often explained in pairs;
//   - methods of an interface have their own, but the only method of an
//     interface may be explained by the interface.
func checkDocs(f *srcFile) []string {
	var bad []string
	miss := func(pos token.Pos, what, name string) {
		bad = append(bad, fmt.Sprintf("%s: %s %s is exported and has no comment%s", f.at(pos), what, name, needsName[what]))
	}
	for _, d := range f.ast.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			if ast.IsExported(d.Name.Name) && exportedReceiver(d) && !begins(d.Doc, d.Name.Name) {
				miss(d.Pos(), "func", d.Name.Name)
			}
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				switch spec := spec.(type) {
				case *ast.TypeSpec:
					if !ast.IsExported(spec.Name.Name) {
						continue
					}
					if !begins(spec.Doc, spec.Name.Name) && !begins(d.Doc, spec.Name.Name) {
						miss(spec.Pos(), "type", spec.Name.Name)
					}
					checkMembers(f, spec, miss)
				case *ast.ValueSpec:
					for _, name := range spec.Names {
						if name.IsExported() && d.Doc == nil && spec.Doc == nil && spec.Comment == nil {
							miss(name.Pos(), d.Tok.String(), name.Name)
						}
					}
				}
			}
		}
	}
	return bad
}

// needsName are the kinds whose comment must begin with the name, so that it
// reads well in an index.
var needsName = map[string]string{"func": " that begins with its name", "type": " that begins with its name"}

// checkMembers does fields and interface methods.
func checkMembers(f *srcFile, spec *ast.TypeSpec, miss func(token.Pos, string, string)) {
	switch typ := spec.Type.(type) {
	case *ast.StructType:
		documented, end := false, 0
		for _, field := range typ.Fields.List {
			own := field.Doc != nil || field.Comment != nil
			documented = own || documented && f.line(field.Pos()) == end+1
			end = f.line(field.End())
			for _, name := range field.Names {
				if name.IsExported() && !documented {
					miss(name.Pos(), "field", spec.Name.Name+"."+name.Name)
				}
			}
		}
	case *ast.InterfaceType:
		for _, m := range typ.Methods.List {
			if len(m.Names) == 1 && m.Names[0].IsExported() && m.Doc == nil && m.Comment == nil && len(typ.Methods.List) > 1 {
				miss(m.Pos(), "method", spec.Name.Name+"."+m.Names[0].Name)
			}
		}
	}
}

// exportedReceiver says that fn is a function, or a method that users see.
func exportedReceiver(fn *ast.FuncDecl) bool {
	if fn.Recv == nil {
		return true
	}
	typ := fn.Recv.List[0].Type
	for {
		switch x := typ.(type) {
		case *ast.StarExpr:
			typ = x.X
		case *ast.IndexExpr:
			typ = x.X
		case *ast.IndexListExpr:
			typ = x.X
		case *ast.Ident:
			return x.IsExported()
		default:
			return false
		}
	}
}

// begins says that the comment's first sentence starts with the name, after an
// article perhaps.
func begins(doc *ast.CommentGroup, name string) bool {
	if doc == nil {
		return false
	}
	words := strings.Fields(doc.Text())
	if len(words) > 1 && slices.Contains([]string{"A", "An", "The"}, words[0]) {
		words = words[1:]
	}
	return len(words) > 0 && strings.TrimRight(words[0], ".,:;") == name
}

func TestConstructorsHaveExamples(t *testing.T) {
	used := map[string]bool{}
	for _, p := range packages(t) {
		if p.internal() || p.program() {
			continue
		}
		for _, name := range withoutExample(p) {
			if noExample[name] != "" {
				used[name] = true
				continue
			}
			t.Errorf("%s is a constructor and no Example calls it "+
				"(exceptions: noExample in internal/archtest/doc_test.go)", name)
		}
	}
	for name := range noExample {
		if !used[name] {
			t.Errorf("noExample: nothing needs the exception for %s any more", name)
		}
	}
}

// withoutExample returns the constructors of p that no Example in its tests
// mentions, as package.Name.
func withoutExample(p *srcPkg) []string {
	var missing []string
	for _, f := range p.source(false) {
		for _, d := range f.ast.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok || fn.Recv != nil || !constructor.MatchString(fn.Name.Name) {
				continue
			}
			if full := f.ast.Name.Name + "." + fn.Name.Name; !inExample(p, f.ast.Name.Name, fn.Name.Name) {
				missing = append(missing, full)
			}
		}
	}
	return missing
}

// inExample says that an Example of p's tests mentions pkg.name.
func inExample(p *srcPkg, pkg, name string) bool {
	for _, f := range p.source(true) {
		mentions := uses(f, strings.TrimSuffix(module+"/"+p.path, "/"), name)
		for _, d := range f.ast.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok || fn.Body == nil || !strings.HasPrefix(fn.Name.Name, "Example") {
				continue
			}
			body := span{fn.Body.Pos(), fn.Body.End()}
			if slices.ContainsFunc(mentions, body.has) {
				return true
			}
		}
	}
	return false
}

func TestDocsFire(t *testing.T) {
	const src = `package p

func Naked() {}

// Wrong words.
func Worded() {}

// Good has its name.
func Good() {}

type Bare struct{ Field int }

// A Struct is fine.
type Struct struct {
	// Pair and its neighbour.
	Pair  int
	Other int

	Lonely int
	Line   int // on the line
}

// Only is explained here.
type Only interface{ Do() }

// Two are not.
type Two interface {
	Do()
	// Have is.
	Have()
}

// The states.
const (
	On = iota
	Off
)

var Loose int

type hidden struct{ Field int }

func (hidden) Method() {}

func (*Struct) Method() {}
`
	p := onePkg(t, "p/p.go", src)
	var got []string
	for _, bad := range checkDocs(p.files[0]) {
		got = append(got, strings.Join(strings.Fields(bad)[1:3], " "))
	}
	want := []string{
		"func Naked", "func Worded", "type Bare", "field Bare.Field", "field Struct.Lonely", "method Two.Do",
		"var Loose", "func Method",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestPackageDocFires(t *testing.T) {
	tests := []struct {
		path, src string
		want      bool
	}{
		{"p/p.go", "package p", true},
		{"p/p.go", "// About p.\npackage p", true},
		{"p/p.go", "// Package p is good.\npackage p", false},
		{"examples/quick/main.go", "// Command quick is good.\npackage main", false},
		{"examples/quick/main.go", "// Package main is not.\npackage main", true},
		{"p/p_test.go", "package p_test", false},
	}
	for _, tt := range tests {
		if got := checkPackageDoc(onePkg(t, tt.path, tt.src)); (len(got) > 0) != tt.want {
			t.Errorf("%q: got %q, want a message: %v", tt.src, got, tt.want)
		}
	}
	two := onePkg(t, "p/a.go", "// Package p is here.\npackage p")
	two.files = append(two.files, onePkg(t, "p/b.go", "// Package p is there too.\npackage p").files...)
	if got := checkPackageDoc(two); len(got) != 1 {
		t.Errorf("two package comments: got %q, want a message", got)
	}
}

func TestConstructorsHaveExamplesFires(t *testing.T) {
	p := onePkg(t, "p/p.go", "package p\nfunc New() {}\nfunc NewThing() {}\nfunc ParseThing() {}\nfunc Newest() {}\nfunc newer() {}")
	p.files = append(p.files, onePkg(t, "p/p_test.go", `package p_test
import "`+module+`/p"
func ExampleNew() { p.New() }
func TestNewThing() { p.NewThing() }
func Example() { p.ParseThing() }
`).files...)
	if got, want := withoutExample(p), []string{"p.NewThing"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
