package main

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
)

// A report says what became of the files of a suite.
type report struct {
	pruned  []string // declarations that do not compile outside the standard library
	tests   int      // test functions that are left
	wrapped int      // places where a call of the shim was put in
}

// maxRounds bounds the pruning: each round removes what the one before has left
// without its helper, and such chains are short.
const maxRounds = 12

// adapt prunes the sources until they compile, and puts the shim where the
// tests use an *http.Transport.
func (s *suite) adapt(ctx context.Context, root string, sources map[string][]byte) (*report, error) {
	if err := importShim(sources); err != nil {
		return nil, err
	}
	imp, err := exportData(ctx, root, sources)
	if err != nil {
		return nil, err
	}
	rep := &report{}
	for range maxRounds {
		c, err := check(sources, imp)
		if err != nil {
			return nil, err
		}
		// Functions are dropped in the first round; later there are none of
		// those names left.
		names := c.prune(sources, s.drop)
		if len(names) > 0 {
			rep.pruned = append(rep.pruned, names...)
			continue
		}
		// Only now are the types of all expressions known.
		if s.wrap && rep.wrapped == 0 {
			rep.wrapped = c.wrap(sources)
		}
		if err := importShim(sources); err != nil {
			return nil, err
		}
		rep.tests = countTests(c.files)
		return rep, nil
	}
	return nil, fmt.Errorf("still does not compile after %d rounds of pruning", maxRounds)
}

// exportData compiles what the sources import and returns an importer that
// reads the result: with the go command doing the work, modules are found as
// in any build.
func exportData(ctx context.Context, root string, sources map[string][]byte) (types.Importer, error) {
	paths := []string{module + "/nethttp/shim"}
	for name, text := range sources {
		f, err := parser.ParseFile(token.NewFileSet(), name, text, parser.ImportsOnly)
		if err != nil {
			return nil, err
		}
		for _, spec := range f.Imports {
			paths = append(paths, strings.Trim(spec.Path.Value, `"`))
		}
	}
	slices.Sort(paths)
	list := exec.CommandContext(ctx, "go", append([]string{"list", "-export", "-deps", "-f", "{{.ImportPath}}={{.Export}}"}, slices.Compact(paths)...)...)
	list.Dir, list.Stderr = root, os.Stderr
	out, err := list.Output()
	if err != nil {
		return nil, fmt.Errorf("go list of the imports: %w", err)
	}
	exports := map[string]string{}
	for line := range strings.Lines(string(out)) {
		path, file, _ := strings.Cut(strings.TrimSpace(line), "=")
		exports[path] = file
	}
	return importer.ForCompiler(token.NewFileSet(), "gc", func(path string) (io.ReadCloser, error) {
		if exports[path] == "" {
			return nil, fmt.Errorf("no export data of %s", path)
		}
		return os.Open(exports[path])
	}), nil
}

// checked is a package after type checking, errors included.
type checked struct {
	fset  *token.FileSet
	files []*ast.File
	info  *types.Info
	errs  []types.Error
}

// check parses and type-checks all sources as one package. Type errors are part
// of the result, syntax errors are not.
func check(sources map[string][]byte, imp types.Importer) (*checked, error) {
	c := &checked{fset: token.NewFileSet(), info: &types.Info{
		Types: map[ast.Expr]types.TypeAndValue{}, Scopes: map[ast.Node]*types.Scope{},
	}}
	for name, text := range sources {
		f, err := parser.ParseFile(c.fset, name, text, parser.ParseComments)
		if err != nil {
			return nil, err
		}
		c.files = append(c.files, f)
	}
	slices.SortFunc(c.files, func(a, b *ast.File) int {
		return cmp.Compare(c.fset.File(a.Pos()).Name(), c.fset.File(b.Pos()).Name())
	})
	conf := types.Config{Importer: imp, Error: func(err error) {
		// A text that begins with a tab goes on about the error before, at a
		// place that is right.
		if te, ok := err.(types.Error); ok && !strings.HasPrefix(te.Msg, "\t") {
			c.errs = append(c.errs, te)
		}
	}}
	_, _ = conf.Check("adapted", c.fset, c.files, c.info) // the errors are in c.errs
	return c, nil
}

// A span is a piece of a file and what is to stand there instead.
type span struct {
	from, to int
	text     string
}

// prune removes the declarations that hold an error, and the functions to drop.
// It returns their names.
func (c *checked) prune(sources map[string][]byte, drop []string) []string {
	at := c.declared(drop)
	for _, e := range c.errs {
		at = append(at, e.Pos)
	}
	spans := map[string][]span{}
	var names []string
	seen := map[ast.Node]bool{}
	for _, pos := range at {
		node, name := c.declAt(pos)
		if node == nil || seen[node] {
			continue
		}
		seen[node] = true
		names = append(names, name)
		file := c.fset.Position(node.Pos()).Filename
		spans[file] = append(spans[file], span{c.fset.Position(node.Pos()).Offset, c.fset.Position(node.End()).Offset, ""})
	}
	replace(sources, spans)
	return names
}

// declared finds where functions are declared, those that are.
func (c *checked) declared(names []string) []token.Pos {
	var at []token.Pos
	for _, f := range c.files {
		for _, d := range f.Decls {
			if fd, ok := d.(*ast.FuncDecl); ok && slices.Contains(names, fd.Name.Name) {
				at = append(at, fd.Pos())
			}
		}
	}
	return at
}

// declAt finds the smallest declaration around pos that can be removed alone.
func (c *checked) declAt(pos token.Pos) (ast.Node, string) {
	for _, f := range c.files {
		for _, d := range f.Decls {
			if pos < d.Pos() || d.End() < pos {
				continue
			}
			switch d := d.(type) {
			case *ast.FuncDecl:
				return d, d.Name.Name
			case *ast.GenDecl:
				return specAt(d, pos)
			}
		}
	}
	return nil, ""
}

// specAt is the spec of a group that pos lies in. Constants go as a group, as
// each may depend on its place in it.
func specAt(d *ast.GenDecl, pos token.Pos) (ast.Node, string) {
	if d.Tok == token.CONST || !d.Lparen.IsValid() {
		return d, d.Tok.String()
	}
	for _, s := range d.Specs {
		if s.Pos() <= pos && pos <= s.End() {
			if imp, ok := s.(*ast.ImportSpec); ok {
				return s, "import " + imp.Path.Value
			}
			return s, d.Tok.String()
		}
	}
	return d, d.Tok.String()
}

// replace applies the spans, which must not overlap, from the end of each file.
func replace(sources map[string][]byte, spans map[string][]span) {
	for file, list := range spans {
		// Outer spans come first in the list. Of two that start at one place
		// the outer is put in last, so that it stands before the inner.
		slices.Reverse(list)
		slices.SortStableFunc(list, func(a, b span) int { return cmp.Compare(b.from, a.from) })
		text := sources[file]
		for _, s := range list {
			text = slices.Concat(text[:s.from], []byte(s.text), text[s.to:])
		}
		sources[file] = text
	}
}

// importShim adds the import of the shim to each file that uses it.
func importShim(sources map[string][]byte) error {
	for name, text := range sources {
		if !bytes.Contains(text, []byte("rigshim.")) || bytes.Contains(text, []byte("rigshim \"")) {
			continue
		}
		fset := token.NewFileSet()
		f, err := parser.ParseFile(fset, name, text, parser.ImportsOnly)
		if err != nil {
			return err
		}
		// Behind the package clause, the one place that every file has.
		at := fset.Position(f.Name.End()).Offset
		sources[name] = slices.Concat(text[:at], []byte("; "+shimImport), text[at:])
	}
	return nil
}

// countTests counts the test functions of the tests' own files.
func countTests(files []*ast.File) int {
	n := 0
	for _, f := range files {
		for _, d := range f.Decls {
			if fd, ok := d.(*ast.FuncDecl); ok && fd.Recv == nil && strings.HasPrefix(fd.Name.Name, "Test") && fd.Name.Name != "TestMain" {
				n++
			}
		}
	}
	return n
}
