package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"
	"go.yaml.in/yaml/v4/plugin/loaderlimits"

	"github.com/tullemesh/tulle/transport/sim"
)

// The bounds of a file.
const (
	maxFile  = 1 << 20
	maxDepth = 32
	maxNodes = 100_000
)

// readScenario reads a scenario from YAML, of which JSON is a part. Errors name
// file, line and column.
func readScenario(file string, data []byte) (sim.Scenario, error) {
	c := converter{at: make(map[string]place), left: maxNodes}
	root, err := parseYAML(data)
	if err == nil {
		err = c.write("", root, 0)
	}
	if err != nil {
		return sim.Scenario{}, fmt.Errorf("%s: %w", file, err)
	}
	sc, err := sim.Parse(c.out.Bytes())
	return sc, c.locate(file, err)
}

// parseYAML reads the one document of a file.
func parseYAML(data []byte) (root *yaml.Node, err error) {
	defer func() {
		if p := recover(); p != nil {
			root, err = nil, fmt.Errorf("the YAML parser gave up: %v", p)
		}
	}()
	if len(data) > maxFile {
		return nil, fmt.Errorf("%d bytes: want at most %d", len(data), maxFile)
	}
	loader, err := yaml.NewLoader(bytes.NewReader(data), yaml.WithPlugin(loaderlimits.New(loaderlimits.DepthValue(maxDepth))))
	if err != nil {
		return nil, err
	}
	doc := new(yaml.Node)
	if err := loader.Load(doc); err != nil {
		if errors.Is(err, io.EOF) {
			err = errors.New("the file is empty: want a scenario")
		}
		return nil, err
	}
	if err := loader.Load(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return nil, errors.New("more than one document: want one scenario")
	}
	if doc.Kind == yaml.DocumentNode && len(doc.Content) == 1 {
		return doc.Content[0], nil
	}
	return doc, nil
}

// place is where something stands.
type place struct{ line, column int }

// converter writes a tree of YAML as JSON, and remembers where each value stood.
type converter struct {
	out  bytes.Buffer
	at   map[string]place
	left int // values that may follow
}

// write writes a value.
func (c *converter) write(path string, n *yaml.Node, depth int) error {
	if c.left--; c.left < 0 || depth > maxDepth {
		return fmt.Errorf("more than %d values, or nested deeper than %d", maxNodes, maxDepth)
	}
	if _, has := c.at[path]; !has {
		c.at[path] = place{n.Line, n.Column}
	}
	switch n.Kind {
	case yaml.AliasNode:
		return c.write(path, n.Alias, depth+1)
	case yaml.MappingNode:
		return c.object(path, n, depth)
	case yaml.SequenceNode:
		c.out.WriteByte('[')
		for i, item := range n.Content {
			if i > 0 {
				c.out.WriteByte(',')
			}
			if err := c.write(fmt.Sprintf("%s[%d]", path, i), item, depth+1); err != nil {
				return err
			}
		}
		c.out.WriteByte(']')
		return nil
	}
	c.scalar(n)
	return nil
}

// object writes a mapping.
func (c *converter) object(path string, n *yaml.Node, depth int) error {
	c.out.WriteByte('{')
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if key.Kind != yaml.ScalarNode {
			return fmt.Errorf("line %d: a key that is no text", key.Line)
		}
		if i > 0 {
			c.out.WriteByte(',')
		}
		below := strings.TrimPrefix(path+"."+key.Value, ".")
		c.at[below] = place{key.Line, key.Column}
		c.text(key.Value)
		c.out.WriteByte(':')
		if err := c.write(below, value, depth+1); err != nil {
			return err
		}
	}
	c.out.WriteByte('}')
	return nil
}

// scalar writes a plain value. A number that JSON has no form for becomes text,
// which nothing takes for a number.
func (c *converter) scalar(n *yaml.Node) {
	switch n.Tag {
	case "!!null":
		c.out.WriteString("null")
	case "!!bool":
		c.out.WriteString(strconv.FormatBool(strings.EqualFold(n.Value, "true")))
	case "!!int":
		if x, err := strconv.ParseInt(n.Value, 10, 64); err == nil {
			c.out.WriteString(strconv.FormatInt(x, 10))
			return
		}
		c.text(n.Value)
	case "!!float":
		if x, err := strconv.ParseFloat(n.Value, 64); err == nil && !math.IsInf(x, 0) && !math.IsNaN(x) {
			c.out.WriteString(strconv.FormatFloat(x, 'g', -1, 64))
			return
		}
		c.text(n.Value)
	default:
		c.text(n.Value)
	}
}

// text writes a string.
func (c *converter) text(s string) {
	quoted, err := json.Marshal(s)
	if err != nil { // no string fails
		quoted = []byte(`""`)
	}
	c.out.Write(quoted)
}

// locate puts file, line and column before each error about a field, and orders
// them so.
func (c *converter) locate(file string, err error) error {
	if err == nil {
		return nil
	}
	list := []error{err}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		list = joined.Unwrap()
	}
	at := func(err error) place {
		var field *sim.FieldError
		if errors.As(err, &field) {
			return c.place(field.Path)
		}
		return place{1, 1}
	}
	list = slices.Clone(list)
	slices.SortStableFunc(list, func(a, b error) int {
		x, y := at(a), at(b)
		return cmp.Or(cmp.Compare(x.line, y.line), cmp.Compare(x.column, y.column))
	})
	for i, e := range list {
		p := at(e)
		list[i] = fmt.Errorf("%s:%d:%d: %w", file, p.line, p.column, e)
	}
	return errors.Join(list...)
}

// place is where a path stands, or else the nearest one above it.
func (c *converter) place(path string) place {
	for {
		if at, ok := c.at[path]; ok {
			return at
		}
		cut := strings.LastIndexAny(path, ".[")
		if cut < 0 {
			return c.at[""]
		}
		path = path[:cut]
	}
}
