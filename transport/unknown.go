package transport

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/tullemesh/tulle/transport/deadline"
)

const (
	maxHosts = 1024
	hostIdle = 15 * time.Minute
)

// pass hands a call to a host that is no service to the Base. Without a timeout
// of ours it goes as it is.
func (t *Transport) pass(req *http.Request) (*http.Response, error) {
	options := optionsOf(req.Context())
	options.tellPassed()
	limit := max(0, options.timeout(t.cfg.Defaults.Timeout))
	if has, ok := req.Context().Deadline(); ok && !has.After(time.Now()) {
		closeBody(req)
		return nil, deadline.ErrCall
	}
	if limit == 0 {
		return t.plain.RoundTrip(req)
	}
	l, err := deadline.New(deadline.Config{Timeout: limit})
	if err != nil {
		closeBody(req)
		return nil, err
	}
	return l.Wrap(t.plain).RoundTrip(req)
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

// host is a service of an unknown host and the end of its watch.
type host struct {
	*service
	end context.CancelFunc
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
	if svc := h.byHost[key]; svc != nil {
		return svc, nil
	}
	if h.t.watching.Err() != nil {
		return nil, ErrClosed
	}
	s, err := h.t.newService(key, Service{Target: "dns://" + key})
	if err != nil {
		return nil, err
	}
	if len(h.byHost) >= maxHosts {
		h.evictLocked()
	}
	ctx, cancel := context.WithCancel(h.t.watching)
	made := &host{service: s, end: cancel}
	made.used.Store(int64(time.Since(h.start)))
	h.byHost[key] = made
	h.t.watch(ctx, s)
	h.t.watches.Go(func() { h.expire(ctx, key, made) })
	return made, nil
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
	h.byHost[key].end()
	delete(h.byHost, key)
}

// expire waits until the host was idle for long enough, or its end.
func (h *hosts) expire(ctx context.Context, key string, made *host) {
	defer made.wire.close()
	timer := time.NewTimer(hostIdle)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		idle := time.Since(h.start) - time.Duration(made.used.Load())
		if idle < hostIdle {
			timer.Reset(hostIdle - idle)
			continue
		}
		h.mu.Lock()
		if h.byHost[key] == made {
			delete(h.byHost, key)
		}
		h.mu.Unlock()
		made.end()
		return
	}
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
