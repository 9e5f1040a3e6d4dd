package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"
	"go.yaml.in/yaml/v4/plugin/loaderlimits"
)

// The bounds of a file.
const (
	maxFile      = 4 << 20
	maxDepth     = 64
	maxDocuments = 1000

	// maxNodes is how many values a file may have, those that aliases repeat
	// counted each time.
	maxNodes = 250_000
)

// parseTree takes a file apart into its documents, without those that are
// empty. What cannot be taken apart is one problem, as what comes after it
// cannot be trusted.
func parseTree(file string, data []byte, probs *problems) []*yaml.Node {
	at := place{file: file, line: 1, column: 1}
	data = bytes.TrimPrefix(data, []byte("\ufeff")) // which some editors write
	if err := checkText(data); err != nil {
		if e, ok := errors.AsType[*textError](err); ok {
			at.line, at.column = lineOf(data, e.offset)
		}
		probs.add(at, "%v", err)
		return nil
	}
	var docs []*yaml.Node
	var err error
	if filepath.Ext(file) == ".json" || looksJSON(data) {
		docs, err = parseJSON(data)
	} else {
		docs, err = parseYAML(data)
	}
	if e, ok := errors.AsType[*textError](err); ok {
		at.line, at.column = lineOf(data, e.offset)
	} else if e, ok := errors.AsType[*yaml.LoadError](err); ok {
		// A fault without a place of its own, such as a quote that is never
		// closed, has that of its beginning.
		at.line, at.column = max(e.Mark.Line, 1), max(e.Mark.Column, 1)
		err = errors.New(e.Message)
		if e.ContextMsg != "" {
			err = fmt.Errorf("%s from line %d on: %s", e.ContextMsg, max(e.ContextMark.Line, 1), e.Message)
		}
	}
	if err != nil {
		probs.add(at, "%v", bounded(err.Error()))
		return nil
	}
	return docs
}

// bounded cuts a text that quotes the file.
func bounded(s string) string {
	if len(s) > 4*maxShown {
		return strings.ToValidUTF8(s[:4*maxShown], "") + "…"
	}
	return s
}

// A textError is a fault at an offset.
type textError struct {
	offset int
	text   string
}

func (e *textError) Error() string { return e.text }

// checkText refuses what no editor writes.
func checkText(data []byte) error {
	if len(data) == 0 {
		// What a writer leaves between truncating and writing must not end all
		// services.
		return errors.New("the file is empty: want {} for no settings")
	}
	if len(data) > maxFile {
		return fmt.Errorf("the file has %d bytes: want at most %d", len(data), maxFile)
	}
	if i := bytes.IndexByte(data, 0); i >= 0 {
		return &textError{i, "a NUL byte: want text in UTF-8"}
	}
	if !utf8.Valid(data) {
		i := 0
		for i < len(data) {
			r, size := utf8.DecodeRune(data[i:])
			if r == utf8.RuneError && size == 1 {
				break
			}
			i += size
		}
		return &textError{i, fmt.Sprintf("byte 0x%02x: want text in UTF-8", data[i])}
	}
	return nil
}

// lineOf is an offset as line and column.
func lineOf(data []byte, offset int) (line, column int) {
	before := data[:min(max(offset, 0), len(data))]
	return bytes.Count(before, []byte("\n")) + 1, utf8.RuneCount(before[bytes.LastIndexByte(before, '\n')+1:]) + 1
}

// parseYAML reads the documents of a YAML stream. The parser is bounded in depth,
// and a fault of its own must not bring down a program that reloads.
func parseYAML(data []byte) (docs []*yaml.Node, err error) {
	defer func() {
		if r := recover(); r != nil {
			docs, err = nil, fmt.Errorf("the YAML parser gave up: %v", r)
		}
	}()
	loader, err := yaml.NewLoader(bytes.NewReader(data), yaml.WithPlugin(loaderlimits.New(loaderlimits.DepthValue(maxDepth))))
	if err != nil {
		return nil, err
	}
	for n := 0; ; n++ {
		doc := new(yaml.Node)
		if err := loader.Load(doc); errors.Is(err, io.EOF) {
			return docs, nil
		} else if err != nil {
			return nil, err
		}
		if n >= maxDocuments {
			return nil, fmt.Errorf("more than %d documents", maxDocuments)
		}
		if root := content(doc); root != nil && !isNull(root) {
			docs = append(docs, root)
		}
	}
}

// content is the root of a document.
func content(doc *yaml.Node) *yaml.Node {
	if doc.Kind == yaml.DocumentNode {
		if len(doc.Content) == 0 {
			return nil
		}
		return doc.Content[0]
	}
	return doc
}

// isNull says that nothing, or only null, was written.
func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.Tag == "!!null" }

// what a node is, in words for a reader of the file.
func what(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	}
	switch n.Tag {
	case "!!null":
		return "no value"
	case "!!str":
		return "text " + shown(n.Value)
	case "!!bool", "!!int", "!!float":
		return shown(n.Value)[1:][:len(shown(n.Value))-2]
	}
	return fmt.Sprintf("%s (%s)", shown(n.Value), bounded(n.Tag))
}
