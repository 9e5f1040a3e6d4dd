package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"go.yaml.in/yaml/v4"
)

// JSON is read by its own grammar and not as YAML, which it is only nearly: YAML
// parsers refuse surrogate pairs in escapes, and would let through what is no
// JSON. The result is the same tree.

// looksJSON says that data is a JSON object, whatever the file is called.
func looksJSON(data []byte) bool {
	data = bytes.TrimLeft(data, " \t\r\n")
	return len(data) > 0 && data[0] == '{' && json.Valid(data)
}

// parseJSON reads one JSON text. It is checked as a whole first, so that all that
// comes after can rely on well-formed JSON.
func parseJSON(data []byte) ([]*yaml.Node, error) {
	if err := json.Unmarshal(data, new(json.RawMessage)); err != nil {
		if se, ok := errors.AsType[*json.SyntaxError](err); ok {
			err = &textError{max(0, int(se.Offset)-1), se.Error()}
		}
		return nil, err
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	p := jsonParser{data: data, dec: dec, left: maxNodes}
	root, err := p.value(0)
	if err != nil {
		return nil, err
	}
	if isNull(root) {
		return nil, nil
	}
	return []*yaml.Node{root}, nil
}

// jsonParser makes a tree of the tokens of a text.
type jsonParser struct {
	data []byte
	dec  *json.Decoder
	left int

	// Where counting lines has got to, as offsets only grow.
	line, lineStart, counted int
}

// next is the offset at which the next token starts.
func (p *jsonParser) next() int {
	at := int(p.dec.InputOffset())
	for at < len(p.data) && bytes.IndexByte([]byte(" \t\r\n,:"), p.data[at]) >= 0 {
		at++
	}
	return at
}

// node is an empty node at the next token.
func (p *jsonParser) node(at int) *yaml.Node {
	for ; p.counted < at; p.counted++ {
		if p.data[p.counted] == '\n' {
			p.line, p.lineStart = p.line+1, p.counted+1
		}
	}
	return &yaml.Node{Line: p.line + 1, Column: at - p.lineStart + 1}
}

// value reads one value.
func (p *jsonParser) value(depth int) (*yaml.Node, error) {
	at := p.next()
	n := p.node(at)
	token, err := p.dec.Token()
	if p.left--; err == nil && (depth > maxDepth || p.left < 0) {
		err = &textError{at, fmt.Sprintf("more than %d values, or nested deeper than %d", maxNodes, maxDepth)}
	}
	if err != nil {
		return nil, err
	}
	delim, ok := token.(json.Delim)
	if !ok {
		scalar(n, token)
		return n, nil
	}
	n.Kind, n.Tag = yaml.SequenceNode, "!!seq"
	if delim == '{' {
		n.Kind, n.Tag = yaml.MappingNode, "!!map"
	}
	for p.dec.More() {
		item, err := p.value(depth + 1)
		if err != nil {
			return nil, err
		}
		n.Content = append(n.Content, item)
	}
	_, err = p.dec.Token()
	return n, err
}

// scalar fills in a node from a token.
func scalar(n *yaml.Node, token json.Token) {
	n.Kind = yaml.ScalarNode
	switch v := token.(type) {
	case nil:
		n.Tag, n.Value = "!!null", "null"
	case bool:
		n.Tag, n.Value = "!!bool", fmt.Sprint(v)
	case json.Number:
		n.Tag, n.Value = "!!int", v.String()
		if strings.ContainsAny(n.Value, ".eE") {
			n.Tag = "!!float"
		}
	case string:
		n.Tag, n.Value, n.Style = "!!str", v, yaml.DoubleQuotedStyle
	}
}
