package client

import (
	"context"
	"net/http"
	"net/url"

	"github.com/go-kratos/kratos/v3/middleware/circuitbreaker"
	"github.com/go-kratos/kratos/v3/registry"
	"github.com/go-kratos/kratos/v3/selector"
	"github.com/go-kratos/kratos/v3/selector/p2c"
	kratos "github.com/go-kratos/kratos/v3/transport/http"
)

// kratoses are the rows of kratos.
func kratoses() []Contender {
	return []Contender{
		{Name: "kratos Do", OnWire: true, OnStub: true, Open: openKratosDo,
			Note: "its HTTP client with the P2C selector and its default timeout of 2 s. It changes the caller's request, so the caller makes a copy for each call, which counts"},
		{Name: "kratos Invoke", OnWire: true, OnStub: true, Open: openKratosInvoke,
			Note: "the same with its circuit breaker; builds the request itself and reads the body in a decoder of ours"},
	}
}

// newKratos is a client of kratos for the site.
func newKratos(s Site, options ...kratos.ClientOption) (*kratos.Client, http.RoundTripper, error) {
	// The selector is global in kratos; no other contender uses it.
	selector.SetGlobalSelector(p2c.NewBuilder())
	wire := s.wire()
	options = append([]kratos.ClientOption{
		kratos.WithEndpoint("discovery:///svc"),
		kratos.WithDiscovery(instances(s.Addrs)),
		kratos.WithTransport(wire),
		kratos.WithBlock(),
	}, options...)
	c, err := kratos.NewClient(context.Background(), options...)
	return c, wire, err
}

func openKratosDo(s Site) (*Client, error) {
	k, wire, err := newKratos(s)
	if err != nil {
		return nil, err
	}
	do := func(req *http.Request) (*http.Response, error) {
		own := new(struct {
			req http.Request
			url url.URL
		})
		own.req, own.url = *req, *req.URL
		own.req.URL = &own.url
		return k.Do(&own.req)
	}
	return over(wire, do, named).closing(func() { _ = k.Close() }), nil // its watch is ours
}

func openKratosInvoke(s Site) (*Client, error) {
	decode := func(_ context.Context, resp *http.Response, buf any) error { return drain(resp, buf.([]byte)) }
	k, wire, err := newKratos(s, kratos.WithMiddleware(circuitbreaker.Client()), kratos.WithResponseDecoder(decode))
	if err != nil {
		return nil, err
	}
	c := idling(&Client{}, wire).closing(func() { _ = k.Close() }) // its watch is ours
	c.caller = func() func() error {
		var buf any = make([]byte, 512)
		return func() error { return k.Invoke(context.Background(), http.MethodGet, "/", nil, buf) }
	}
	return c, nil
}

// instances is a registry that holds one service.
type instances []string

// GetService implements registry.Discovery.
func (n instances) GetService(_ context.Context, name string) ([]*registry.ServiceInstance, error) {
	all := make([]*registry.ServiceInstance, len(n))
	for i, addr := range n {
		all[i] = &registry.ServiceInstance{ID: addr, Name: name, Endpoints: []string{"http://" + addr}}
	}
	return all, nil
}

// Watch implements registry.Discovery.
func (n instances) Watch(_ context.Context, name string) (registry.Watcher, error) {
	ctx, stop := context.WithCancel(context.Background())
	w := &watcher{from: n, name: name, first: make(chan struct{}, 1), ctx: ctx, stop: stop}
	w.first <- struct{}{}
	return w, nil
}

// watcher tells the list once.
type watcher struct {
	from  instances
	name  string
	first chan struct{}
	ctx   context.Context
	stop  context.CancelFunc
}

// Next implements registry.Watcher.
func (w *watcher) Next() ([]*registry.ServiceInstance, error) {
	select {
	case <-w.first:
		return w.from.GetService(w.ctx, w.name)
	case <-w.ctx.Done():
		return nil, w.ctx.Err()
	}
}

// Stop implements registry.Watcher.
func (w *watcher) Stop() error {
	w.stop()
	return nil
}
