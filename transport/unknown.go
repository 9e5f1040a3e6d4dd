package transport

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/tullemesh/tulle/internal/destination"
	"github.com/tullemesh/tulle/transport/deadline"
)

const (
	maxHosts = 1024
	hostIdle = 15 * time.Minute
)

// passed hands a call to a host that is no service to the Base, in a context of its
// own unless that is nil. Without a timeout of ours it goes as it is.
func (tb *table) passed(req *http.Request, ctx context.Context) (*http.Response, error) {
	out := withoutOverrides(req)
	if ctx != nil {
		out = out.WithContext(ctx)
	}
	resp, err := tb.bounded(out)
	if resp != nil && out != req {
		resp.Request = req
	}
	return resp, err
}

// bounded hands a request on, within the timeout.
func (tb *table) bounded(req *http.Request) (*http.Response, error) {
	options := destination.OptionsOf(req.Context())
	options.Tell("", nil, 1)
	limit := max(0, options.CallTimeout(tb.cfg.Defaults.Timeout))
	if has, ok := req.Context().Deadline(); ok && !has.After(time.Now()) {
		closeBody(req)
		return nil, context.DeadlineExceeded // as the Base would have it
	}
	if limit == 0 {
		return tb.plain.RoundTrip(req)
	}
	l, err := deadline.New(deadline.Config{Timeout: limit})
	if err != nil {
		closeBody(req)
		return nil, err
	}
	return l.Wrap(tb.plain).RoundTrip(req)
}

// proxied says that base would send req through a proxy.
func proxied(base http.RoundTripper, req *http.Request) bool {
	t, ok := base.(*http.Transport)
	if !ok || t.Proxy == nil {
		return false
	}
	u, err := t.Proxy(req)
	return err != nil || u != nil
}

// hosts are the services that were made of unknown hosts.
type hosts struct {
	t     *Transport
	start time.Time

	mu     sync.RWMutex
	byHost map[string]*host // guarded by mu: by host:port, the port always there
}

// host is a service of an unknown host.
type host struct {
	*service
	gone chan struct{} // closed when it is dropped
}

func newHosts(t *Transport) *hosts {
	return &hosts{t: t, start: time.Now(), byHost: make(map[string]*host)}
}

// find returns the service of the request's host, which it makes if needed.
func (h *hosts) find(req *http.Request) (*service, error) {
	key := canonicalHost(req.URL.Host)
	if _, _, ok := splitPort(key); !ok {
		key += ":" + portOf(req.URL.Scheme)
	}
	return h.findHost(key)
}

// findHost returns the service of a host:port, which it makes if needed.
func (h *hosts) findHost(key string) (*service, error) {
	now := time.Since(h.start)
	h.mu.RLock()
	svc := h.byHost[key]
	h.mu.RUnlock()
	if svc == nil {
		var err error
		if svc, err = h.add(key); err != nil {
			return nil, err
		}
	}
	svc.used.Store(int64(now))
	return svc.service, nil
}

// portOf is the port that a scheme stands for.
func portOf(scheme string) string {
	if scheme == "https" {
		return "443"
	}
	return "80"
}

// add makes the service of a host. The one that was idle longest makes room.
func (h *hosts) add(key string) (*host, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if s := h.byHost[key]; s != nil {
		return s, nil
	}
	if h.t.watching.Err() != nil {
		return nil, ErrClosed
	}
	cfg := &h.t.table.Load().cfg
	s, err := h.t.newService(cfg, key, "", stranger(key))
	if err != nil {
		return nil, err
	}
	if len(h.byHost) >= maxHosts {
		h.evictLocked()
	}
	made := &host{service: s, gone: make(chan struct{})}
	s.used.Store(int64(time.Since(h.start)))
	h.byHost[key] = made
	h.t.watch(s)
	h.t.watches.Go(func() { h.expire(key, made.gone) })
	return made, nil
}

// stranger is the service of a host:port that nobody configured. It is not known to
// be ours, so that no header of ours goes there.
func stranger(key string) Service { return Service{Target: "dns://" + key, External: true} }

// reconfigure puts a changed Config in force: services of hosts keep what they
// know, or go when unknown hosts are not resolved any more.
func (h *hosts) reconfigure(cfg *Config) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for key, old := range h.byHost {
		next, err := h.t.newService(cfg, key, "", stranger(key))
		if cfg.Unknown != Resolve || err != nil {
			h.dropLocked(key)
			continue
		}
		for _, f := range next.inherit(old.service) {
			f()
		}
		if next.end == nil {
			h.t.watch(next)
		}
		next.used.Store(old.used.Load())
		h.byHost[key] = &host{service: next, gone: old.gone}
	}
}

// dropLocked lets go of a host.
func (h *hosts) dropLocked(key string) {
	old := h.byHost[key]
	delete(h.byHost, key)
	close(old.gone)
	h.t.letGo(old.service)
}

// seal returns when no further service can be added; the watching context has
// ended before.
func (h *hosts) seal() {
	h.mu.Lock()
	defer h.mu.Unlock()
}

// evictLocked ends the service that was idle longest.
func (h *hosts) evictLocked() {
	keys := sortedKeys(h.byHost)
	key := slices.MinFunc(keys, func(a, b string) int {
		return cmp.Compare(h.byHost[a].used.Load(), h.byHost[b].used.Load())
	})
	h.dropLocked(key)
}

// expire waits until a host was idle for long enough, or is gone.
func (h *hosts) expire(key string, gone <-chan struct{}) {
	timer := time.NewTimer(hostIdle)
	defer timer.Stop()
	for {
		select {
		case <-h.t.watching.Done():
			return
		case <-gone:
			return
		case <-timer.C:
		}
		rest := h.rest(key, gone)
		if rest <= 0 {
			return
		}
		timer.Reset(rest)
	}
}

// rest is how long the host may still be idle. One that may not is dropped; that,
// and one that is gone already, have no rest.
func (h *hosts) rest(key string, gone <-chan struct{}) time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := h.byHost[key]
	if s == nil || s.gone != gone {
		return 0
	}
	rest := hostIdle - (time.Since(h.start) - time.Duration(s.used.Load()))
	if rest <= 0 {
		h.dropLocked(key)
	}
	return rest
}

// all are the services of unknown hosts.
func (h *hosts) all() []*service {
	h.mu.RLock()
	defer h.mu.RUnlock()
	all := make([]*service, 0, len(h.byHost))
	for _, key := range sortedKeys(h.byHost) {
		all = append(all, h.byHost[key].service)
	}
	return all
}
