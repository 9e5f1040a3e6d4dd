package tullegrpc

import (
	"maps"
	"math"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/retry"
)

// declaredSafe says whether the descriptor of a method, if the program links it,
// declares it idempotent or free of side effects (google.protobuf.MethodOptions,
// idempotency_level).
func declaredSafe(method string) bool {
	name := protoreflect.FullName(strings.ReplaceAll(strings.TrimPrefix(method, "/"), "/", "."))
	if !name.IsValid() {
		return false
	}
	d, err := protoregistry.GlobalFiles.FindDescriptorByName(name)
	if err != nil {
		return false
	}
	m, ok := d.(protoreflect.MethodDescriptor)
	if !ok {
		return false
	}
	options, ok := m.Options().(*descriptorpb.MethodOptions)
	if !ok {
		return false
	}
	switch options.GetIdempotencyLevel() {
	case descriptorpb.MethodOptions_NO_SIDE_EFFECTS, descriptorpb.MethodOptions_IDEMPOTENT:
		return true
	}
	return false
}

// methodTimeout is the timeout of the method config, 0 without one.
func methodTimeout(cc *grpc.ClientConn, method string) time.Duration {
	if t := cc.GetMethodConfig(method).Timeout; t != nil && *t > 0 {
		return *t
	}
	return 0
}

// methodWaits says whether the method config has calls wait for a connection.
func methodWaits(cc *grpc.ClientConn, method string) bool {
	w := cc.GetMethodConfig(method).WaitForReady
	return w != nil && *w
}

// policy is the retryPolicy of a method config (gRFC A6).
type policy struct {
	attempts int
	min, max time.Duration
	growth   float64 // of the pause, from one repeat to the next
	codes    map[codes.Code]bool
}

// pause is the longest pause before the nth repeat.
func (p *policy) pause(n int32) time.Duration {
	d := float64(p.min) * math.Pow(p.growth, float64(n-1))
	if d < float64(p.max) {
		return max(time.Duration(d), 1)
	}
	return p.max
}

// over is r under the policy, which may be nil: it repeats for the policy's codes
// also calls that are not idempotent, as the policy says that they can be.
func (p *policy) over(r *retry.Retrier, rpc *tulle.Call) *retry.Retrier {
	if p == nil {
		return r
	}
	listed := p.codes[codes.Code(rpc.Last.Status)]
	if listed {
		rpc.Safe = true
	}
	pause := p.pause(rpc.Attempt - rpc.Moves)
	return r.With(retry.Override{
		Attempts: p.attempts, MinBackoff: pause, MaxBackoff: pause,
		Condition: func(rpc *tulle.Call) tulle.Repetition {
			switch own := rpc.Last.Class.Repetition(); {
			case !listed, own == tulle.RepeatMoved, own == tulle.RepeatHealthy, own == tulle.RepeatHinted && rpc.Last.Hinted:
				return own
			case rpc.Last.Class == tulle.Ignored, rpc.Last.Class == tulle.Truncated:
				return tulle.NoRepeat
			}
			return tulle.RepeatSafe
		},
	})
}

// pushback reads grpc-retry-pushback-ms of a trailer. What cannot be read means
// that the call is not to be repeated (gRFC A6).
func pushback(trailer metadata.MD) (time.Duration, bool) {
	values := trailer["grpc-retry-pushback-ms"]
	if len(values) == 0 {
		return 0, false
	}
	ms, err := strconv.ParseInt(values[0], 10, 64)
	if err != nil || len(values) > 1 || ms < 0 || ms > math.MaxInt64/int64(time.Millisecond) {
		return -1, true
	}
	return time.Duration(ms) * time.Millisecond, true
}

// methods remembers what the descriptors say of methods, of the first maxMethods
// that are called: a proxy may call any name.
type methods struct {
	known atomic.Pointer[map[string]bool]
}

const maxMethods = 1024

// safe is declaredSafe, remembered.
func (m *methods) safe(method string) bool {
	old := m.known.Load()
	if old != nil {
		if safe, ok := (*old)[method]; ok {
			return safe
		}
	}
	safe := declaredSafe(method)
	next := make(map[string]bool)
	if old != nil {
		if len(*old) >= maxMethods {
			return safe
		}
		maps.Copy(next, *old)
	}
	next[strings.Clone(method)] = safe // a proxy's names may be parts of large buffers
	m.known.CompareAndSwap(old, &next) // whoever lost asks again
	return safe
}
