package transport

import (
	"context"
	"net/http"
	"reflect"
	"sync/atomic"
	"time"

	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/breaker"
	"github.com/tullemesh/tulle/discovery"
	"github.com/tullemesh/tulle/internal/cluster"
	"github.com/tullemesh/tulle/internal/destination"
	"github.com/tullemesh/tulle/retry"
	"github.com/tullemesh/tulle/transport/deadline"
	"github.com/tullemesh/tulle/transport/limit"
	"github.com/tullemesh/tulle/transport/route"
)

// service is a destination under one Config. A changed Config makes a new one,
// which takes over what lives longer: the engine with all that it knows, the
// tokens of limit and budget, connections, and the watch of its source.
type service struct {
	destination.Destination

	t             *Transport
	limitKey      func(*http.Request) string
	classify      func(tulle.HTTPFacts) tulle.Outcome
	breaker       *breaker.Breaker
	wire          wire
	call, attempt handler
	used          atomic.Int64 // when it was last called, for services of unknown hosts
	failed, trial atomic.Int64 // see level

	from     Service // what it was made of, Policy with all defaults
	base     http.RoundTripper
	zone     string // of this process
	resolver discovery.Resolver
	end      context.CancelFunc // ends the watch of its source
}

// newService makes a service for calls under key, in an environment or "", with nothing in common with
// others yet.
func (t *Transport) newService(cfg *Config, key, env string, from Service) (*service, error) {
	from.Policy = from.Policy.over(cfg.Defaults).withDefaults()
	resolver := from.Resolver
	if resolver == nil {
		r, err := cfg.resolver(from.Target)
		if err != nil {
			return nil, err
		}
		resolver = r
	}
	limiter, err := limit.New(*from.Policy.Limit)
	if err != nil {
		return nil, err
	}
	late, err := deadline.New(deadline.Config{Dark: from.Policy.DarkDeadlines})
	if err != nil {
		return nil, err
	}
	s := &service{
		Destination: destination.Destination{
			Name:           key,
			Environment:    env,
			Host:           from.Host,
			External:       from.External,
			Timeout:        from.Policy.Timeout,
			AttemptTimeout: from.Policy.AttemptTimeout,
			TLS:            from.TLS,
			TLSServerName:  from.TLSServerName,
			ClassifyGRPC:   from.ClassifyGRPC,
			Late:           late,
			Limiter:        limiter,
			Gate:           t.gate,
			Telemetry:      t.tel,
		},
		t:        t,
		limitKey: from.Policy.Limit.Key,
		classify: from.Classify,
		wire:     newWire(cfg.Base, &from, key),
		from:     from,
		base:     cfg.Base,
		zone:     cfg.Zone,
		resolver: resolver,
	}
	s.Calls = t.tel.Service(s.Label())
	if s.classify == nil {
		s.classify = tulle.ClassifyHTTP
	}
	s.call, s.attempt = assemble(stack())
	return s, s.build()
}

// build makes the engine of a service and its breaker, which looks at the
// engine's endpoints before it opens.
func (s *service) build() error {
	policy := s.from.Policy
	retrier, err := retry.New(*policy.Retry)
	if err != nil {
		return err
	}
	cfg := *policy.Breaker
	inner := cfg.GoodLeft
	cfg.GoodLeft = func() bool { return s.Engine.GoodLeft() || inner != nil && inner() }
	tell := cfg.OnChange
	cfg.OnChange = func(c breaker.Change) {
		s.breakerChanged(&c)
		if tell != nil {
			tell(c)
		}
	}
	if s.breaker, err = breaker.New(cfg); err != nil {
		return err
	}
	s.Engine = cluster.New(s.engine(retrier))
	return nil
}

// engine is the Config of the service's engine.
func (s *service) engine(retrier *retry.Retrier) cluster.Config {
	return cluster.Config{
		Policy:   s.from.Policy.Balancer,
		Ejection: *s.from.Policy.Ejection,
		Breaker:  s.breaker,
		Retrier:  retrier,
		Zone:     s.zone,
		Locality: s.locality(),
		Changed:  func() { s.t.followers.tell(s.Name) },
		Health:   s.healthChanged,
	}
}

// place is which destination it is.
func (s *service) place() route.Destination {
	return route.Destination{Service: s.Name, Environment: s.Environment}
}

// h2c says that the service speaks HTTP/2 over cleartext.
func (s *service) h2c() bool { return s.from.Protocol == H2C }

// maybeHTTP2 says that an attempt may be sent over HTTP/2.
func (s *service) maybeHTTP2(in *http.Request) bool { return s.h2c() || in.URL.Scheme == "https" }

// inherit takes over what lives longer than a Config from the service that s
// replaces. Nobody uses s yet; old is in use. It returns what old no longer
// needs. Nothing here can fail: everything was checked before.
func (s *service) inherit(old *service) (leftover []func()) {
	was, is := &old.from, &s.from
	if was.Policy.DarkDeadlines == is.Policy.DarkDeadlines {
		s.Late = old.Late
	}
	if same(was.Policy.Breaker, is.Policy.Breaker) {
		s.breaker = old.breaker
	}
	if err := old.Limiter.Update(*is.Policy.Limit); err == nil {
		s.Limiter = old.Limiter
	}
	if sameWire(old, s) {
		s.wire = old.wire
	} else {
		leftover = append(leftover, old.wire.close)
	}
	retrier := s.Engine.Retrier()
	retrier.Adopt(old.Engine.Retrier())
	s.Engine = old.Engine
	s.Engine.Reconfigure(s.engine(retrier), !same(was.Policy.Balancer, is.Policy.Balancer))
	if sameSource(old, s) {
		s.resolver, s.end = old.resolver, old.end
	} else {
		leftover = append(leftover, old.end)
	}
	return leftover
}

// sameSource says that both services have their endpoints from the same source.
func sameSource(a, b *service) bool {
	return a.from.Target == b.from.Target && same(a.from.Resolver, b.from.Resolver) &&
		(b.from.Target == "" || same(a.resolver, b.resolver))
}

// sameWire says that both services send in the same way.
func sameWire(a, b *service) bool {
	x, y := &a.from, &b.from
	return a.Name == b.Name && same(a.base, b.base) && x.TLS == y.TLS && x.TLSServerName == y.TLSServerName &&
		x.Host == y.Host && x.Protocol == y.Protocol
}

// same compares settings by content. Two pointers to settings of ours are
// compared by what they point to; other pointers, which may lead to something
// that lives, are the same only if they are equal, and functions never are.
func same(a, b any) bool {
	x, y := reflect.ValueOf(a), reflect.ValueOf(b)
	if !x.IsValid() || !y.IsValid() || x.Type() != y.Type() {
		return x.IsValid() == y.IsValid() && !x.IsValid()
	}
	if x.Kind() == reflect.Pointer {
		if x.Pointer() == y.Pointer() {
			return true
		}
		switch a.(type) {
		case *breaker.Config, *retry.Config, *limit.Config:
		default:
			return false
		}
	}
	return reflect.DeepEqual(a, b)
}

// watch keeps the endpoints of s up to date until its end, or that of ctx.
func (t *Transport) watch(s *service) {
	ctx, end := context.WithCancel(t.watching)
	s.end = end
	engine, resolver := s.Engine, discovery.Keep(s.resolver)
	t.watches.Go(func() {
		defer end()
		var drain *time.Timer
		defer func() {
			if drain != nil {
				drain.Stop()
			}
		}()
		report := func(u discovery.Update) {
			if ctx.Err() != nil {
				return // another watch has taken its place
			}
			s.discovered(&u)
			if u.Err != nil {
				engine.Fail(u.Err)
				return
			}
			if engine.Update(u.Endpoints) != nil {
				return // Snapshot tells
			}
			if drain != nil {
				drain.Stop()
			}
			// A source that says that there is nobody is believed after a
			// while, unless it has said something else by then.
			if wait := engine.Drain(); wait > 0 {
				drain = time.AfterFunc(wait, func() { engine.Drain() })
			}
		}
		// Keep restarts what ends early, so this ends with ctx, whose error
		// says nothing new.
		_ = resolver.Watch(ctx, report, engine.Refresh())
	})
}
