package main

import (
	"go/ast"
	"go/token"
	"go/types"
)

// shimImport is added to each file that uses the shim.
const shimImport = `import rigshim "` + module + `/nethttp/shim"`

// wrap writes calls of the shim into the sources, so that the requests of a
// test go through the wrapper also where the test has made its own
// *http.Transport. It returns the number of places:
//
//	c.Transport.(*Transport)  ->  rigshim.Under(c.Transport)
//	&Client{Transport: tr}    ->  &Client{Transport: rigshim.Wrap(t, tr)}
//	tr.RoundTrip(req)         ->  rigshim.Wrap(t, tr).RoundTrip(req)
func (c *checked) wrap(sources map[string][]byte) int {
	spans := map[string][]span{}
	places := 0
	for _, f := range c.files {
		name := c.fset.File(f.Pos()).Name()
		if !usesNetHTTP(f) {
			continue
		}
		before := len(spans[name])
		ast.Inspect(f, func(n ast.Node) bool {
			spans[name] = append(spans[name], c.wrapNode(f, n)...)
			return true
		})
		places += (len(spans[name]) - before) / 2
	}
	replace(sources, spans)
	return places
}

// wrapNode returns the insertions for one node, which come in pairs.
func (c *checked) wrapNode(f *ast.File, n ast.Node) []span {
	switch n := n.(type) {
	case *ast.TypeAssertExpr:
		if c.plainAssertion(n) {
			return []span{c.at(n.Pos(), n.Pos(), "rigshim.Under("), c.at(n.X.End(), n.End(), ")")}
		}
	case *ast.KeyValueExpr:
		if key, ok := n.Key.(*ast.Ident); ok && key.Name == "Transport" && c.isTransport(n.Value) {
			return c.around(f, n.Value)
		}
	case *ast.CallExpr:
		sel, ok := n.Fun.(*ast.SelectorExpr)
		if ok && (sel.Sel.Name == "RoundTrip" || sel.Sel.Name == "CloseIdleConnections") && c.isTransport(sel.X) {
			return c.around(f, sel.X)
		}
	}
	return nil
}

// around puts the shim around an expression where a testing.TB named t is at
// hand; elsewhere the expression stays.
func (c *checked) around(f *ast.File, e ast.Expr) []span {
	if !c.hasT(f, e.Pos()) {
		return nil
	}
	return []span{c.at(e.Pos(), e.Pos(), "rigshim.Wrap(t, "), c.at(e.End(), e.End(), ")")}
}

// hasT reports whether the name t stands for a test at pos.
func (c *checked) hasT(f *ast.File, pos token.Pos) bool {
	scope := c.info.Scopes[f]
	if scope == nil {
		return false
	}
	inner := scope.Innermost(pos)
	if inner == nil {
		return false
	}
	_, obj := inner.LookupParent("t", pos)
	return obj != nil && (obj.Type().String() == "*testing.T" || obj.Type().String() == "testing.TB")
}

// plainAssertion reports whether n asserts *http.Transport of an
// http.RoundTripper, in the form with one result.
func (c *checked) plainAssertion(n *ast.TypeAssertExpr) bool {
	if n.Type == nil || !c.isTransport(n.Type) {
		return false
	}
	_, two := c.info.Types[n].Type.(*types.Tuple)
	return !two && c.info.Types[n.X].Type.String() == "net/http.RoundTripper"
}

// isTransport reports whether e is of type *http.Transport, or is that type.
func (c *checked) isTransport(e ast.Expr) bool {
	tv, ok := c.info.Types[e]
	return ok && tv.Type != nil && tv.Type.String() == "*net/http.Transport"
}

// at is the span between two positions of one file.
func (c *checked) at(from, to token.Pos, text string) span {
	return span{c.fset.Position(from).Offset, c.fset.Position(to).Offset, text}
}

// usesNetHTTP reports whether the file imports net/http at all.
func usesNetHTTP(f *ast.File) bool {
	for _, spec := range f.Imports {
		if spec.Path.Value == `"net/http"` {
			return true
		}
	}
	return false
}
