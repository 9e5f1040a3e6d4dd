package archtest_test

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
)

// A snippet is one fenced block of a Markdown file.
type snippet struct {
	language string
	line     int
	text     []string
}

// snippets returns the fenced blocks of a Markdown text, and the text without
// them, line by line.
func snippets(text string) (blocks []snippet, prose []string) {
	var open string
	for i, line := range strings.Split(text, "\n") {
		trimmed := strings.TrimSpace(line)
		switch {
		case open == "" && (strings.HasPrefix(trimmed, "```") || strings.HasPrefix(trimmed, "~~~")):
			open = trimmed[:3]
			language, _, _ := strings.Cut(strings.TrimLeft(trimmed, "`~"), " ")
			blocks = append(blocks, snippet{language: language, line: i + 1})
			line = ""
		case open != "" && trimmed == open:
			open, line = "", ""
		case open != "":
			last := &blocks[len(blocks)-1]
			last.text = append(last.text, trimmed)
			line = ""
		}
		prose = append(prose, line)
	}
	return blocks, prose
}

// contains says that the lines stand in source one after the other, whatever
// their indentation.
func contains(source, block []string) bool {
	for i := 0; i+len(block) <= len(source); i++ {
		if slices.Equal(source[i:i+len(block)], block) {
			return true
		}
	}
	return false
}

// trimmedLines are the lines of a text without their indentation.
func trimmedLines(text string) []string {
	all := strings.Split(text, "\n")
	for i := range all {
		all[i] = strings.TrimSpace(all[i])
	}
	return all
}

// trimBlank cuts empty lines from both ends.
func trimBlank(block []string) []string {
	for len(block) > 0 && block[0] == "" {
		block = block[1:]
	}
	for len(block) > 0 && block[len(block)-1] == "" {
		block = block[:len(block)-1]
	}
	return block
}

// markdown are the repository's Markdown files.
func markdown(t *testing.T) []string {
	t.Helper()
	return slices.DeleteFunc(repoFiles(t), func(name string) bool {
		return !strings.HasSuffix(name, ".md") || strings.Contains(name, "testdata/")
	})
}

// TestSnippets wants each Go block of the documentation to be a copy of Go that
// is compiled: of an Example, a test or a program. This package does not count,
// as it holds Go in strings.
func TestSnippets(t *testing.T) {
	var sources [][]string
	for _, name := range repoFiles(t) {
		if strings.HasSuffix(name, ".go") && !strings.Contains(name, "testdata/") && !strings.HasPrefix(name, "internal/archtest/") {
			sources = append(sources, trimmedLines(readRepo(t, name)))
		}
	}
	if files := markdown(t); !slices.Contains(files, "README.md") {
		t.Errorf("got Markdown files %q, want README.md among them", files)
	}
	for _, name := range markdown(t) {
		for _, bad := range checkSnippets(readRepo(t, name), sources) {
			t.Errorf("%s:%s", name, bad)
		}
	}
}

// checkSnippets returns the Go blocks of text that are in none of the sources.
func checkSnippets(text string, sources [][]string) []string {
	var bad []string
	blocks, _ := snippets(text)
	for _, b := range blocks {
		code := trimBlank(b.text)
		switch {
		case b.language == "":
			bad = append(bad, fmt.Sprintf("%d: name the block's language: go, sh, text", b.line))
		case b.language != "go":
		case len(code) == 0:
			bad = append(bad, fmt.Sprintf("%d: empty block", b.line))
		case !slices.ContainsFunc(sources, func(s []string) bool { return contains(s, code) }):
			bad = append(bad, fmt.Sprintf("%d: this Go block is in no Go file, so nothing compiles it: "+
				"copy it from an Example (%q ...)", b.line, code[0]))
		}
	}
	return bad
}

// link matches [text](target) and ![text](target).
var link = regexp.MustCompile(`\[[^\]]*\]\(([^()\s]+)\)`)

// codeSpan matches code within a line.
var codeSpan = regexp.MustCompile("`[^`]*`")

// links are the targets in the repository that a Markdown text names, with
// their lines.
func links(text string) map[string]int {
	found := map[string]int{}
	_, prose := snippets(text)
	for i, line := range prose {
		for _, m := range link.FindAllStringSubmatch(codeSpan.ReplaceAllString(line, "code"), -1) {
			if !strings.Contains(m[1], "://") && !strings.HasPrefix(m[1], "mailto:") {
				found[m[1]] = i + 1
			}
		}
	}
	return found
}

// anchors are the names of a Markdown text's headings, as GitHub makes them.
func anchors(text string) []string {
	var found []string
	_, prose := snippets(text)
	for _, line := range prose {
		title := strings.TrimLeft(line, "#")
		if title == line || !strings.HasPrefix(title, " ") {
			continue
		}
		found = append(found, strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case unicode.IsLetter(r) || unicode.IsNumber(r) || r == '-' || r == '_':
				return unicode.ToLower(r)
			}
			return -1
		}, strings.TrimSpace(title)))
	}
	return found
}

// TestLinks wants each link between files of the repository to lead somewhere.
func TestLinks(t *testing.T) {
	files := map[string]bool{}
	for _, name := range repoFiles(t) {
		for ; name != "."; name = path.Dir(name) {
			files[name] = true
		}
	}
	for _, name := range markdown(t) {
		for target, line := range links(readRepo(t, name)) {
			file, anchor, _ := strings.Cut(target, "#")
			to := name
			if file != "" {
				to = path.Join(path.Dir(name), file)
			}
			if !files[to] && to != "." {
				t.Errorf("%s:%d: link to %s: there is no file %s", name, line, target, to)
				continue
			}
			if anchor != "" && !slices.Contains(anchors(readRepo(t, to)), anchor) {
				t.Errorf("%s:%d: link to %s: %s has no such heading", name, line, target, to)
			}
		}
	}
}

func TestSnippetsFire(t *testing.T) {
	sources := [][]string{trimmedLines("package p\n\nfunc Example() {\n\tx := 1\n\n\tif x > 0 {\n\t\tuse(x)\n\t}\n}\n")}
	tests := []struct {
		name, text string
		want       int
	}{
		{"a copy", "Do:\n```go\nx := 1\n\nif x > 0 {\n\tuse(x)\n}\n```\n", 0},
		{"indented", "1. Do:\n\n   ```go\n   x := 1\n   ```\n", 0},
		{"changed", "```go\nx := 2\n```\n", 1},
		{"lines left out", "```go\nx := 1\nif x > 0 {\n```\n", 1},
		{"part of a line", "```go\nx :=\n```\n", 1},
		{"not Go", "```sh\nrm x\n```\n", 0},
		{"no language", "```\nx := 1\n```\n", 1},
		{"the second", "```go\nx := 1\n```\ntext\n~~~go\ny := 1\n~~~\n", 1},
		{"empty", "```go\n```\n", 1},
	}
	for _, tt := range tests {
		if got := checkSnippets(tt.text, sources); len(got) != tt.want {
			t.Errorf("%s: got %q, want %d messages", tt.name, got, tt.want)
		}
	}
}

func TestLinksFire(t *testing.T) {
	const text = "# A `b`: c, d\n\n[x](a.md) and ![y](b.png#c)\n`[no](code.md)`\n```text\n[no](block.md)\n```\n[no](https://example.com/x)\n"
	got := links(text)
	if len(got) != 2 || got["a.md"] != 3 || got["b.png#c"] != 3 {
		t.Errorf("links: got %v, want a.md and b.png#c in line 3", got)
	}
	if got, want := anchors(text), []string{"a-b-c-d"}; !slices.Equal(got, want) {
		t.Errorf("anchors: got %q, want %q", got, want)
	}
}
