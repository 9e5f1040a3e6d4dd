package archtest_test

import (
	"go/ast"
	"go/token"
	"path"
	"regexp"
	"slices"
	"strconv"
)

// importName is the name by which f knows the package at importPath, or "".
func importName(f *srcFile, importPath string) string {
	for _, spec := range f.ast.Imports {
		if name, err := strconv.Unquote(spec.Path.Value); err != nil || name != importPath {
			continue
		}
		if spec.Name != nil {
			return spec.Name.Name
		}
		base := path.Base(importPath)
		if versionElem.MatchString(base) {
			base = path.Base(path.Dir(importPath))
		}
		return base
	}
	return ""
}

// versionElem is the last element of an import path that is no name.
var versionElem = regexp.MustCompile(`^v[0-9]+$`)

// uses finds where f mentions one of the names of a package: calls, and the
// functions as values. A local variable of the package's name is not meant;
// dot imports, which would hide a use, have a rule of their own.
func uses(f *srcFile, importPath string, names ...string) []token.Pos {
	pkg := importName(f, importPath)
	if pkg == "" {
		return nil
	}
	var found []token.Pos
	ast.Inspect(f.ast, func(n ast.Node) bool {
		sel, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		id, ok := sel.X.(*ast.Ident)
		if ok && id.Name == pkg && id.Obj == nil && slices.Contains(names, sel.Sel.Name) {
			found = append(found, sel.Pos())
		}
		return true
	})
	return found
}

// builtins finds calls of predeclared functions.
func builtins(f *srcFile, names ...string) []token.Pos {
	var found []token.Pos
	ast.Inspect(f.ast, func(n ast.Node) bool {
		if call, ok := n.(*ast.CallExpr); ok {
			if id, ok := call.Fun.(*ast.Ident); ok && id.Obj == nil && slices.Contains(names, id.Name) {
				found = append(found, id.Pos())
			}
		}
		return true
	})
	return found
}

// findPrints finds what writes to the process's output or to the logger that
// the process shares.
func findPrints(p *srcPkg, f *srcFile) []token.Pos {
	if f.test || p.program() {
		return nil
	}
	found := builtins(f, "print", "println")
	found = append(found, uses(f, "fmt", "Print", "Printf", "Println")...)
	found = append(found, uses(f, "os", "Stdout", "Stderr")...)
	found = append(found, uses(f, "log", "Print", "Printf", "Println", "Default")...)
	return append(found, uses(f, "log/slog", "Default", "Debug", "Info", "Warn", "Error", "Log", "LogAttrs",
		"DebugContext", "InfoContext", "WarnContext", "ErrorContext")...)
}

// sentinel are the names of error values, after the Go convention.
var sentinel = regexp.MustCompile(`^Err[A-Z0-9]`)

// isSentinel says that the expression names an error value. io.EOF is none:
// Read returns it unwrapped by contract.
func isSentinel(f *srcFile, e ast.Expr) bool {
	switch e := e.(type) {
	case *ast.Ident:
		return sentinel.MatchString(e.Name)
	case *ast.SelectorExpr:
		id, ok := e.X.(*ast.Ident)
		if !ok {
			return false
		}
		if id.Name == importName(f, "context") {
			return e.Sel.Name == "Canceled" || e.Sel.Name == "DeadlineExceeded"
		}
		return sentinel.MatchString(e.Sel.Name)
	}
	return false
}

// findErrorCompare finds ==, != and switch cases on error values. An Is method
// is exempt: errors.Is unwraps for it, so it must compare.
func findErrorCompare(_ *srcPkg, f *srcFile) []token.Pos {
	var found []token.Pos
	ast.Inspect(f.ast, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncDecl:
			return n.Recv == nil || n.Name.Name != "Is"
		case *ast.BinaryExpr:
			if (n.Op == token.EQL || n.Op == token.NEQ) && (isSentinel(f, n.X) || isSentinel(f, n.Y)) {
				found = append(found, n.Pos())
			}
		case *ast.SwitchStmt:
			if n.Tag == nil {
				return true
			}
			for _, c := range n.Body.List {
				for _, e := range c.(*ast.CaseClause).List {
					if isSentinel(f, e) {
						found = append(found, e.Pos())
					}
				}
			}
		}
		return true
	})
	return found
}

// findErrorText finds conditions on err.Error(): comparisons, and calls of
// strings and regexp with it.
func findErrorText(f *srcFile) []token.Pos {
	matchers := uses(f, "strings", "Contains", "HasPrefix", "HasSuffix", "EqualFold", "Index")
	var found []token.Pos
	ast.Inspect(f.ast, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.BinaryExpr:
			if (n.Op == token.EQL || n.Op == token.NEQ) && (isErrorText(n.X) || isErrorText(n.Y)) {
				found = append(found, n.Pos())
			}
		case *ast.CallExpr:
			sel, ok := n.Fun.(*ast.SelectorExpr)
			if ok && slices.ContainsFunc(n.Args, isErrorText) &&
				(sel.Sel.Name == "MatchString" || slices.Contains(matchers, sel.Pos())) {
				found = append(found, n.Pos())
			}
		}
		return true
	})
	return found
}

// isErrorText says that the expression is x.Error().
func isErrorText(e ast.Expr) bool {
	call, ok := e.(*ast.CallExpr)
	if !ok || len(call.Args) > 0 {
		return false
	}
	sel, ok := call.Fun.(*ast.SelectorExpr)
	return ok && sel.Sel.Name == "Error"
}

// findGlobals finds package-level variables that can only be there to change:
// locks, atomics, channels, made maps and sources of random numbers. Tables,
// errors, a sync.Pool and a sync.OnceValue are not state.
func findGlobals(f *srcFile) []token.Pos {
	bad := uses(f, "sync", "Mutex", "RWMutex", "Map", "WaitGroup", "Once", "Cond")
	bad = append(bad, uses(f, "sync/atomic", "Bool", "Int32", "Int64", "Uint32", "Uint64", "Uintptr", "Pointer", "Value")...)
	bad = append(bad, uses(f, "math/rand/v2", "New", "NewPCG", "NewChaCha8", "NewZipf")...)
	bad = append(bad, builtins(f, "make", "new")...)
	var found []token.Pos
	for _, d := range f.ast.Decls {
		vars, ok := d.(*ast.GenDecl)
		if !ok || vars.Tok != token.VAR {
			continue
		}
		ast.Inspect(vars, func(n ast.Node) bool {
			switch n := n.(type) {
			case nil:
				return false
			case *ast.FuncLit:
				return false // runs later, with its own variables
			case *ast.ValueSpec:
				return n.Names[0].Name != "_" // an assertion
			}
			if slices.Contains(bad, n.Pos()) {
				found = append(found, n.Pos())
				return false
			}
			return true
		})
	}
	return found
}

// findImports finds banned imports, dot imports, which would hide what other
// rules look for, and blank imports, which are there for their init.
func findImports(p *srcPkg, f *srcFile) []token.Pos {
	var found []token.Pos
	for _, spec := range f.ast.Imports {
		name, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			continue
		}
		ban, banned := bannedImports[name]
		if f.test {
			banned = banned && ban.tests
		} else if p.program() {
			banned = banned && ban.programs
		} else if name == "testing" {
			banned = !slices.Contains(testKits, p.path)
		}
		odd := spec.Name != nil && (spec.Name.Name == "." || spec.Name.Name == "_" && name != "embed")
		if banned || odd {
			found = append(found, spec.Pos())
		}
	}
	return found
}

// openTask is a mark of unfinished work that names no issue.
var openTask = regexp.MustCompile(`\b(TODO|FIXME|XXX)\b($|[^(]|\([^#])`)

// findTodo finds such marks in comments.
func findTodo(_ *srcPkg, f *srcFile) []token.Pos {
	var found []token.Pos
	for _, group := range f.ast.Comments {
		for _, c := range group.List {
			if openTask.MatchString(c.Text) {
				found = append(found, c.Pos())
			}
		}
	}
	return found
}
