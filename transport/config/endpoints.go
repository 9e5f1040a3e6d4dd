package config

import (
	"context"
	"fmt"
	"reflect"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/discovery"
)

// Endpoints decodes a YAML or JSON list of endpoints, for discovery.File.Decode.
// An item is a mapping with the keys of tulle.Endpoint, or just "host:port".
// References have no meaning in it, as somebody else may write such a file. Its
// error is made of Problems. It is safe for concurrent use.
func Endpoints(data []byte) ([]tulle.Endpoint, error) {
	probs := &problems{}
	docs := parseTree("endpoints", data, probs)
	d := newDecoder("endpoints", nil, probs)
	if len(docs) != 1 && len(probs.list) == 0 {
		return nil, fmt.Errorf("config: %d documents: want one list of endpoints, [] for none", len(docs))
	}
	var list []endpointSection
	for _, doc := range docs {
		if doc.Kind != yaml.SequenceNode {
			d.bad(doc, where{}, "%s: want a list of endpoints", what(doc))
			continue
		}
		d.value(reflect.ValueOf(&list).Elem(), doc, where{}, &field{})
	}
	set := d.endpoints(list)
	if err := probs.err(); err != nil {
		return nil, err
	}
	return set, nil
}

// fileTarget is a discovery.File that reads YAML. It is a type of its own, as a
// resolver with a func in it never equals another: each reload would begin a new
// watch.
type fileTarget struct {
	Path     string
	Interval time.Duration
}

// Watch implements discovery.Resolver.
func (f fileTarget) Watch(ctx context.Context, report func(discovery.Update), refresh <-chan struct{}) error {
	return discovery.File{Path: f.Path, Interval: f.Interval, Decode: Endpoints}.Watch(ctx, report, refresh)
}
