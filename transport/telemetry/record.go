package telemetry

import (
	"context"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// A Record is all that was decided about one call. Those that Records returns
// are shared and must not be changed.
type Record struct {
	// Time is when the call began, Elapsed how long it took, in nanoseconds.
	Time    time.Time     `json:"time"`
	Elapsed time.Duration `json:"elapsed_ns"`

	// TraceID is that of the call's trace in hexadecimal digits, if it has one.
	TraceID string `json:"trace_id,omitempty"`

	// Service, Method and Path are what the caller asked for. For RPC the path
	// is that of the method.
	Service string `json:"service"`
	Method  string `json:"method"`
	Path    string `json:"path"`

	Route

	// Breaker is the state that the call found the service breaker in. Refused
	// counts the attempts that it refused.
	Breaker string `json:"breaker,omitempty"`
	Refused int    `json:"refused,omitempty"`

	// Waits, Picks, Tries and Repeats are in the order in which they ended. The
	// first 32 of each are kept.
	Waits   []Wait   `json:"waits,omitempty"`
	Picks   []Pick   `json:"picks,omitempty"`
	Tries   []Try    `json:"tries,omitempty"`
	Repeats []Repeat `json:"repeats,omitempty"`

	// Outcome, Status and Error are what the caller got. Outcome is the class of
	// that, or error.type where no endpoint has said anything.
	Outcome string `json:"outcome"`
	Status  int    `json:"status,omitempty"`
	Error   string `json:"error,omitempty"`
}

// maxParts bounds the lists of a record.
const maxParts = 32

// add appends to a list of a record, within its bound.
func add[T any](list *[]T, v T) {
	if len(*list) < maxParts {
		*list = append(*list, v)
	}
}

// clone copies the record and its lists, so that the call may go on.
func (r *Record) clone() *Record {
	c := *r
	c.Waits, c.Picks = slices.Clone(r.Waits), slices.Clone(r.Picks)
	c.Tries, c.Repeats = slices.Clone(r.Tries), slices.Clone(r.Repeats)
	return &c
}

// WithRecord returns a context whose next call fills in r when it ends. Only one
// call may be made with it, and r belongs to that call until it has ended.
func WithRecord(ctx context.Context, r *Record) context.Context {
	return context.WithValue(ctx, recordKey{}, r)
}

// ring keeps the latest records. Writers take one step each and wait for nobody.
type ring struct {
	slots []atomic.Pointer[Record]
	next  atomic.Uint64
}

func (r *ring) put(rec *Record) {
	r.slots[(r.next.Add(1)-1)%uint64(len(r.slots))].Store(rec)
}

// A Filter says which records are wanted. The zero Filter wants all.
type Filter struct {
	// Service is the name of the service. Path is a prefix. Empty: any.
	Service, Path string

	// Status is a status, or the hundred of one: 503, or 5 for 500 to 599.
	// Default (0): any. Failed leaves only calls that did not come to an
	// answer of the service.
	Status int
	Failed bool

	// Limit is how many are wanted, the latest. Default (0): all.
	Limit int
}

// wants says whether the filter lets the record through.
func (f *Filter) wants(r *Record) bool {
	return (f.Service == "" || f.Service == r.Service) &&
		strings.HasPrefix(r.Path, f.Path) &&
		(f.Status == 0 || f.Status == r.Status || f.Status < 10 && f.Status == r.Status/100) &&
		(!f.Failed || r.Outcome != answered)
}

// Records are the latest that were kept and that f wants, the latest first.
func (t *Telemetry) Records(f Filter) []*Record {
	var found []*Record
	n := uint64(len(t.records.slots))
	for last := t.records.next.Load(); n > 0; n-- {
		last--
		rec := t.records.slots[last%uint64(len(t.records.slots))].Load()
		if rec == nil || !f.wants(rec) {
			continue
		}
		if found = append(found, rec); len(found) == f.Limit {
			break
		}
	}
	return found
}
