package archtest_test

import (
	"go/ast"
	"go/token"
	"strings"
)

// A span is a stretch of one file.
type span struct{ from, to token.Pos }

func (s span) has(pos token.Pos) bool { return s.from <= pos && pos < s.to }

// A bubbleMap knows which parts of a package's tests run in synctest bubbles
// only.
type bubbleMap struct {
	inside map[*srcFile][]span          // arguments of synctest.Test, or of a wrapper of it
	bodies map[*srcFile]map[string]span // functions by name; methods by theirs
	kept   map[string]bool              // functions that are called from bubbles only
}

// bubbles works the map out. A function counts as called from bubbles only
// when each mention of its name in the package's tests is in a bubble or in
// such a function. Names are enough: of two methods of one name the less
// careful one decides.
func bubbles(p *srcPkg) *bubbleMap {
	m := &bubbleMap{inside: map[*srcFile][]span{}, bodies: map[*srcFile]map[string]span{}, kept: map[string]bool{}}
	wrappers := map[string]bool{}
	for _, f := range p.source(true) {
		m.bodies[f] = map[string]span{}
		runs := uses(f, "testing/synctest", "Test")
		for _, d := range f.ast.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok || fn.Body == nil {
				continue
			}
			s := span{fn.Body.Pos(), fn.Body.End()}
			m.bodies[f][fn.Name.Name] = s
			m.kept[fn.Name.Name] = !isEntry(fn.Name.Name)
			for _, pos := range runs {
				if s.has(pos) && takesFunc(fn) {
					wrappers[fn.Name.Name] = true
				}
			}
		}
	}
	for _, f := range p.source(true) {
		m.inside[f] = bubbleSpans(f, wrappers)
	}
	for m.prune(p) {
	}
	return m
}

// isEntry says that the test program calls the function itself.
func isEntry(name string) bool {
	for _, prefix := range []string{"Test", "Benchmark", "Example", "Fuzz"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

// takesFunc says that a parameter of fn is a function.
func takesFunc(fn *ast.FuncDecl) bool {
	for _, field := range fn.Type.Params.List {
		if _, ok := field.Type.(*ast.FuncType); ok {
			return true
		}
	}
	return false
}

// bubbleSpans are the arguments of each call of synctest.Test and its wrappers.
func bubbleSpans(f *srcFile, wrappers map[string]bool) []span {
	direct := map[token.Pos]bool{}
	for _, pos := range uses(f, "testing/synctest", "Test") {
		direct[pos] = true
	}
	var spans []span
	ast.Inspect(f.ast, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		id, named := call.Fun.(*ast.Ident)
		if direct[call.Fun.Pos()] || named && wrappers[id.Name] {
			spans = append(spans, span{call.Lparen, call.Rparen})
		}
		return true
	})
	return spans
}

// prune drops functions that are mentioned outside bubbles, or nowhere, and
// reports whether it dropped any.
func (m *bubbleMap) prune(p *srcPkg) bool {
	mentioned := map[string]bool{}
	outside := map[string]bool{}
	for _, f := range p.source(true) {
		declared := map[*ast.Ident]bool{}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			if fn, ok := n.(*ast.FuncDecl); ok {
				declared[fn.Name] = true
			}
			id, ok := n.(*ast.Ident)
			if !ok || declared[id] || !m.kept[id.Name] {
				return true
			}
			mentioned[id.Name] = true
			outside[id.Name] = outside[id.Name] || !m.has(f, id.Pos())
			return true
		})
	}
	dropped := false
	for name, kept := range m.kept {
		if kept && (!mentioned[name] || outside[name]) {
			m.kept[name] = false
			dropped = true
		}
	}
	return dropped
}

// has says that the position is in a bubble, or in a function that is called
// from bubbles only.
func (m *bubbleMap) has(f *srcFile, pos token.Pos) bool {
	for _, s := range m.inside[f] {
		if s.has(pos) {
			return true
		}
	}
	for name, s := range m.bodies[f] {
		if m.kept[name] && s.has(pos) {
			return true
		}
	}
	return false
}

// outsideBubbles drops what was found in bubbles.
func outsideBubbles(p *srcPkg, f *srcFile, found []token.Pos) []token.Pos {
	if !f.test || len(found) == 0 {
		return found
	}
	m := bubbles(p)
	var left []token.Pos
	for _, pos := range found {
		if !m.has(f, pos) {
			left = append(left, pos)
		}
	}
	return left
}
