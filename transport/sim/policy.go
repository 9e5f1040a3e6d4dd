package sim

import (
	"reflect"

	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/balancer"
	"github.com/tullemesh/tulle/breaker"
	"github.com/tullemesh/tulle/retry"
	"github.com/tullemesh/tulle/transport"
	"github.com/tullemesh/tulle/transport/limit"
)

// over is a Policy with what it leaves out taken from another, and then from the
// defaults, as a Transport does it with the policies of a service.
func over(p, d transport.Policy) transport.Policy {
	if p.Timeout == 0 {
		p.Timeout = d.Timeout
	}
	if p.AttemptTimeout == 0 {
		p.AttemptTimeout = d.AttemptTimeout
	}
	p.DarkDeadlines = p.DarkDeadlines || d.DarkDeadlines
	p.Timeout, p.AttemptTimeout = max(p.Timeout, 0), max(p.AttemptTimeout, 0)
	p.Balancer = first[balancer.Policy](p.Balancer, d.Balancer, balancer.ShortestExpectedDelay{})
	p.Retry = first(p.Retry, d.Retry, &retry.Config{})
	p.Ejection = first(p.Ejection, d.Ejection, &breaker.OutlierConfig{})
	p.Breaker = first(p.Breaker, d.Breaker, &breaker.Config{})
	p.Locality = first(p.Locality, d.Locality, &transport.Locality{})
	p.Limit = first(p.Limit, d.Limit, &limit.Config{})
	return p
}

// whole is the policy of a variant with all that it leaves out.
func (s *Scenario) whole(v *Variant) transport.Policy {
	p := over(v.Policy, s.Policy)
	if v.RetryAll {
		again := *p.Retry
		again.Condition = func(c *tulle.Call) tulle.Repetition {
			if c.Last.Class == tulle.Answered || c.Last.Class == tulle.Ignored {
				return tulle.NoRepeat
			}
			return tulle.RepeatSafe
		}
		p.Retry = &again
	}
	return p
}

// first is the first of these that is there.
func first[T comparable](of ...T) T {
	var none T
	for _, x := range of {
		if x != none {
			return x
		}
	}
	return none
}

// seeded is a Policy that takes its random numbers from a source of ours, where
// it does not name one.
func seeded(p transport.Policy, random func() uint64) transport.Policy {
	p.Balancer = seededBalancer(p.Balancer, random)
	again, out := *p.Retry, *p.Ejection
	if again.Rand == nil {
		again.Rand = random
	}
	if out.Rand == nil {
		out.Rand = random
	}
	p.Retry, p.Ejection = &again, &out
	return p
}

// seededBalancer sets the field Rand of a struct, where there is one and it is
// nil. Balancers have no other way in common.
func seededBalancer(b balancer.Policy, random func() uint64) balancer.Policy {
	v := reflect.ValueOf(b)
	if v.Kind() != reflect.Struct {
		return b
	}
	field := v.FieldByName("Rand")
	if !field.IsValid() || field.Type() != reflect.TypeOf(random) || !field.IsNil() {
		return b
	}
	c := reflect.New(v.Type()).Elem()
	c.Set(v)
	c.FieldByName("Rand").Set(reflect.ValueOf(random))
	if s, ok := c.Interface().(balancer.Policy); ok {
		return s
	}
	return b
}
