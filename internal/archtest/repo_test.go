package archtest_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// module is the path of the module, and root its folder as the tests see it:
// go test runs them in the folder of their package.
const (
	module = "github.com/tullemesh/tulle"
	root   = "../.."
)

// A srcFile is one parsed Go file.
type srcFile struct {
	path string // from the root, with slashes
	src  []byte
	ast  *ast.File
	fset *token.FileSet
	test bool
}

// A srcPkg is one folder with Go files.
type srcPkg struct {
	path  string // from the root, with slashes; "" is the root package
	files []*srcFile
}

// name is the package as it stands in messages.
func (p *srcPkg) name() string {
	if p.path == "" {
		return "the root package"
	}
	return "package " + p.path
}

// program says that the package is a main package.
func (p *srcPkg) program() bool {
	for _, f := range p.files {
		if !f.test {
			return f.ast.Name.Name == "main"
		}
	}
	return false
}

// internal says that users cannot import the package.
func (p *srcPkg) internal() bool {
	return strings.HasPrefix(p.path+"/", "internal/") || strings.Contains(p.path+"/", "/internal/")
}

// source are the files that are not tests, or only those that are.
func (p *srcPkg) source(test bool) []*srcFile {
	var out []*srcFile
	for _, f := range p.files {
		if f.test == test {
			out = append(out, f)
		}
	}
	return out
}

// at is a position as file:line.
func (f *srcFile) at(pos token.Pos) string {
	return f.path + ":" + strconv.Itoa(f.line(pos))
}

// line is the line of a position.
func (f *srcFile) line(pos token.Pos) int { return f.fset.Position(pos).Line }

// generated says that nobody wrote the file by hand.
func (f *srcFile) generated() bool { return ast.IsGenerated(f.ast) }

// parseFile parses src as the file at path.
func parseFile(name string, src []byte) (*srcFile, error) {
	fset := token.NewFileSet()
	tree, err := parseInto(fset, name, src)
	if err != nil {
		return nil, err
	}
	return &srcFile{path: name, src: src, ast: tree, fset: fset, test: strings.HasSuffix(name, "_test.go")}, nil
}

// parseInto parses src with its comments.
func parseInto(fset *token.FileSet, name string, src []byte) (*ast.File, error) {
	return parser.ParseFile(fset, name, src, parser.ParseComments)
}

// onePkg is a package of one file that is not on disk: the input of the tests
// that prove that a rule fires.
func onePkg(t *testing.T, name, src string) *srcPkg {
	t.Helper()
	f, err := parseFile(name, []byte(src))
	if err != nil {
		t.Fatal(err)
	}
	dir := path.Dir(name)
	if dir == "." {
		dir = ""
	}
	return &srcPkg{path: dir, files: []*srcFile{f}}
}

// packages are the packages of the module, with all files whatever their build
// constraints. Files that do not parse are reported and left out.
func packages(t *testing.T) []*srcPkg {
	t.Helper()
	pkgs, err := loadPackages()
	if err != nil {
		t.Errorf("some files could not be read: %v", err)
	}
	if len(pkgs) < 3 {
		t.Fatalf("got %d packages below %s, want the whole module", len(pkgs), root)
	}
	return pkgs
}

// loadPackages walks the module once for all tests.
var loadPackages = sync.OnceValues(func() ([]*srcPkg, error) {
	var pkgs []*srcPkg
	var errs []error
	byDir := map[string]*srcPkg{}
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel := relative(name)
		if d.IsDir() {
			if rel != "" && (skipped(d.Name()) || exists(filepath.Join(name, "go.mod"))) {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(rel, ".go") {
			return nil
		}
		src, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		f, err := parseFile(rel, src)
		if err != nil {
			errs = append(errs, err)
			return nil
		}
		dir := strings.TrimSuffix(strings.TrimSuffix(rel, path.Base(rel)), "/")
		if byDir[dir] == nil {
			byDir[dir] = &srcPkg{path: dir}
			pkgs = append(pkgs, byDir[dir])
		}
		byDir[dir].files = append(byDir[dir].files, f)
		return nil
	})
	return pkgs, errors.Join(append(errs, err)...)
})

// relative is the path of name from the root, with slashes; "" is the root.
func relative(name string) string {
	rel, err := filepath.Rel(root, name)
	if err != nil || rel == "." {
		return ""
	}
	return filepath.ToSlash(rel)
}

// skipped are folders that the go command does not look into either.
func skipped(name string) bool {
	return name == "testdata" || name == "vendor" || strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_")
}

// exists says whether there is a file or folder.
func exists(name string) bool {
	_, err := os.Stat(name)
	return err == nil
}

// repoFiles are the files of the repository, nested modules and hidden folders
// included: those that git knows or would add. Where the tree is no checkout,
// they are all files.
func repoFiles(t *testing.T) []string {
	t.Helper()
	var names []string
	if out, err := run("git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"); err == nil && exists(filepath.Join(root, ".git")) {
		names = strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00")
	} else {
		err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() && (d.Name() == ".git" || strings.HasPrefix(d.Name(), "_")) {
				return filepath.SkipDir
			}
			if err == nil && d.Type().IsRegular() {
				names = append(names, relative(name))
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	var files []string
	for _, name := range names {
		if exists(filepath.Join(root, name)) { // git also lists what was deleted
			files = append(files, name)
		}
	}
	if len(files) < 5 {
		t.Fatalf("got %d files of the repository, want all: %v", len(files), files)
	}
	return files
}

// readRepo is the content of a file of the repository.
func readRepo(t *testing.T, name string) string {
	t.Helper()
	src, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(name)))
	if err != nil {
		t.Fatal(err)
	}
	return string(src)
}

// run runs a command in the root and returns what it prints.
func run(name string, args ...string) ([]byte, error) {
	cmd := exec.Command(name, args...)
	cmd.Dir = root
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, stderr.String())
	}
	return out, nil
}

// A listed package is what the go command says about one.
type listed struct {
	ImportPath string
	Name       string
	Dir        string
	Export     string
	GoFiles    []string
	Deps       []string
	Standard   bool
	ForTest    string
	Error      *struct{ Err string }
}

// ours says that the package belongs to the module.
func (l *listed) ours() bool {
	return l.ImportPath == module || strings.HasPrefix(l.ImportPath, module+"/")
}

// goList runs go list and decodes its stream of packages. Packages with errors
// are among them, so that one broken package does not hide the others.
func goList(t *testing.T, args ...string) []*listed {
	t.Helper()
	out, err := run("go", append([]string{"list", "-e"}, args...)...)
	if err != nil {
		t.Fatal(err)
	}
	var all []*listed
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		l := new(listed)
		if err := dec.Decode(l); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, l)
	}
}

// under reports whether the slash path name is matched by the pattern: equal to
// it, or below it where the pattern ends in "/...".
func under(name, pattern string) bool {
	tree, ok := strings.CutSuffix(pattern, "/...")
	return name == tree || ok && strings.HasPrefix(name, tree+"/")
}

// underAny reports whether one of the patterns matches.
func underAny(name string, patterns []string) bool {
	for _, p := range patterns {
		if under(name, p) {
			return true
		}
	}
	return false
}
