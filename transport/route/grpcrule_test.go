package route_test

import (
	"strings"
	"testing"

	"github.com/tullemesh/tulle/transport/route"
)

// What is not done over gRPC is an error in a rule that is for gRPC calls alone, and
// none in one that is for others too.
func TestNotOverGRPC(t *testing.T) {
	only := []route.Match{{GRPC: &route.GRPCMatch{Service: "acme.Users"}}}
	mixed := append([]route.Match{{Path: route.PathMatch{Prefix: "/"}}}, only...)
	for _, c := range []struct {
		want string
		rule route.Rule
	}{
		{"rules[0].mirror", route.Rule{Mirror: &route.Mirror{Service: "shadow"}}},
		{"rules[0].responseHeaders", route.Rule{ResponseHeaders: route.Headers{Remove: []string{"X-Old"}}}},
		{"rules[0].rewrite.path", route.Rule{Rewrite: &route.Rewrite{Path: route.PathEdit{Full: "/x"}}}},
	} {
		for _, match := range [][]route.Match{only, mixed} {
			c.rule.Match = match
			_, err := route.New(route.Config{
				Services: map[string]route.Service{"users": {}, "shadow": {}}, Rules: []route.Rule{c.rule},
			})
			if wrong := len(match) == 1; (err != nil) != wrong || wrong && !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s, %d matches: got %v", c.want, len(match), err)
			}
		}
	}
}
