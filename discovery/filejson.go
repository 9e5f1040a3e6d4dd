package discovery

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/tullemesh/tulle"
)

// decodeJSON reads the built-in form of File. It walks the tokens itself:
// encoding/json alone would take "ADDR" for "addr", let a repeated key win
// silently, and say of an unknown key only its name.
func decodeJSON(data []byte) ([]tulle.Endpoint, error) {
	if err := json.Unmarshal(data, &ignored{}); err != nil {
		return nil, syntaxError(data, err)
	}
	d := jsonDecoder{dec: json.NewDecoder(bytes.NewReader(data)), data: data}
	at := d.next()
	if open, err := d.dec.Token(); err != nil || open != json.Delim('[') {
		return nil, fmt.Errorf("%s: want an array of endpoints", d.place(at))
	}
	set := []tulle.Endpoint{}
	seen := map[string]int{}
	for n := 1; d.dec.More(); n++ {
		at := d.next()
		e, err := d.item()
		if err == nil {
			err = e.Validate()
		}
		if err == nil && seen[e.Addr] > 0 {
			err = fmt.Errorf("addr %q is already item %d", e.Addr, seen[e.Addr])
		}
		if err != nil {
			return nil, fmt.Errorf("item %d (%s): %w", n, d.place(at), err)
		}
		seen[e.Addr] = n
		set = append(set, e)
	}
	return set, nil
}

// ignored lets the whole text be checked first, without a copy of it. All that
// comes after can rely on well-formed JSON.
type ignored struct{}

func (*ignored) UnmarshalJSON([]byte) error { return nil }

// jsonDecoder knows where in the text it is.
type jsonDecoder struct {
	dec  *json.Decoder
	data []byte
}

// item reads one item of the array. A string is an address.
func (d *jsonDecoder) item() (e tulle.Endpoint, err error) {
	token, err := d.dec.Token()
	if err != nil {
		return e, err
	}
	switch token := token.(type) {
	case string:
		e.Addr = token
		return e, nil
	case json.Delim:
		if token == '{' {
			return e, d.object(&e)
		}
	}
	return e, errors.New(`want "host:port" or an object with the key "addr"`)
}

// object reads the keys of an endpoint up to the closing brace.
func (d *jsonDecoder) object(e *tulle.Endpoint) error {
	seen := make(map[any]bool, 7)
	for d.dec.More() {
		at := d.next()
		token, err := d.dec.Token()
		if err != nil {
			return err
		}
		field := jsonField(e, token)
		if field == nil {
			return fmt.Errorf("unknown key %q (%s): want addr, name, zone, weight, priority, grpc_port or labels", token, d.place(at))
		}
		if seen[token] {
			return fmt.Errorf("key %q stands twice (%s)", token, d.place(at))
		}
		seen[token] = true
		if err := d.dec.Decode(field); err != nil {
			return fmt.Errorf("key %q (%s): %w", token, d.place(at), err)
		}
	}
	_, err := d.dec.Token()
	return err
}

// jsonField is where the value of a key goes, nil for an unknown key. A test
// holds it against the tags of tulle.Endpoint.
func jsonField(e *tulle.Endpoint, key any) any {
	switch key {
	case "addr":
		return &e.Addr
	case "name":
		return &e.Name
	case "zone":
		return &e.Zone
	case "weight":
		return &e.Weight
	case "priority":
		return &e.Priority
	case "grpc_port":
		return &e.GRPCPort
	case "labels":
		return &e.Labels
	}
	return nil
}

// next is the offset at which the next token starts.
func (d *jsonDecoder) next() int {
	at := int(d.dec.InputOffset())
	for at < len(d.data) && bytes.IndexByte([]byte(" \t\r\n,:"), d.data[at]) >= 0 {
		at++
	}
	return at
}

// place is offset at for people. It is only worked out for errors.
func (d *jsonDecoder) place(at int) string { return place(d.data, at) }

func place(data []byte, at int) string {
	before := data[:min(at, len(data))]
	line := bytes.Count(before, []byte("\n")) + 1
	return fmt.Sprintf("line %d, column %d", line, len(before)-bytes.LastIndexByte(before, '\n'))
}

// syntaxError adds the place to what encoding/json found.
func syntaxError(data []byte, err error) error {
	if se, ok := errors.AsType[*json.SyntaxError](err); ok {
		return fmt.Errorf("%s: %w", place(data, max(0, int(se.Offset)-1)), err)
	}
	return err
}
