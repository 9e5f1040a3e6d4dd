package telemetry

import (
	"maps"
	"sync"
	"sync/atomic"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

// A cache is a map that is read without a lock and copied when it grows. It is
// for things that are few and stay.
type cache[K comparable, V any] struct {
	m  atomic.Pointer[map[K]V]
	mu sync.Mutex // one writer at a time
}

// get finds the value of k.
func (c *cache[K, V]) get(k K) (V, bool) {
	if m := c.m.Load(); m != nil {
		v, ok := (*m)[k]
		return v, ok
	}
	var none V
	return none, false
}

// add keeps v for k unless there is a value already, and returns the one that is
// kept. With as many as limit there, it keeps nothing and returns false.
func (c *cache[K, V]) add(k K, v V, limit int) (V, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	next := make(map[K]V)
	if m := c.m.Load(); m != nil {
		if old, ok := (*m)[k]; ok {
			return old, true
		}
		if len(*m) >= limit {
			return v, false
		}
		maps.Copy(next, *m)
	}
	next[k] = v
	c.m.Store(&next)
	return v, true
}

// keep drops all for which it returns false.
func (c *cache[K, V]) keep(f func(K) bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	m := c.m.Load()
	if m == nil {
		return
	}
	next := maps.Clone(*m)
	maps.DeleteFunc(next, func(k K, _ V) bool { return !f(k) })
	if len(next) < len(*m) {
		c.m.Store(&next)
	}
}

// A series is a set of attributes in the forms that instruments take. Each is a
// slice, as one that is made for a call would be on the heap.
type series struct {
	record  []metric.RecordOption
	add     []metric.AddOption
	observe []metric.ObserveOption
}

func newSeries(kv ...attribute.KeyValue) *series {
	o := metric.WithAttributeSet(attribute.NewSet(kv...))
	return &series{
		record:  []metric.RecordOption{o},
		add:     []metric.AddOption{o},
		observe: []metric.ObserveOption{o},
	}
}
