package shim

import (
	"net/http"
	"net/url"

	"github.com/tullemesh/tulle/discovery"
	"github.com/tullemesh/tulle/transport"
)

// tulle builds the library's client over base: with no service and the default
// for unknown hosts, or with each host taken for a service of one endpoint.
func tulle(mode string, base http.RoundTripper) (http.RoundTripper, func(), error) {
	cfg := transport.Config{Base: base}
	if mode == Resolve {
		cfg.Unknown = transport.Resolve
		cfg.Resolvers = map[string]transport.ResolverFunc{"dns": itself}
	}
	t, err := transport.New(cfg)
	if err != nil {
		return nil, nil, err
	}
	return t, func() { _ = t.Close() }, nil
}

// itself resolves a host to itself, so that the tests need no name server and
// their own dial functions see the address that they expect.
func itself(u *url.URL) (discovery.Resolver, error) {
	return discovery.Static{{Addr: u.Host}}, nil
}
