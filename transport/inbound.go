package transport

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/internal/destination"
	"github.com/tullemesh/tulle/transport/deadline"
	"github.com/tullemesh/tulle/transport/limit"
	"github.com/tullemesh/tulle/transport/route"
)

// InboundConfig is what the server's half of the mesh needs to know.
type InboundConfig struct {
	// Trusted are the networks of peers whose mesh headers are believed, by
	// the address that the connection comes from. Default: none.
	Trusted []netip.Prefix

	// Limit bounds the rate of requests. Default (nil): no limit. A request
	// waits in it no longer than its deadline; one that has expired there is
	// answered 504 without having run. It stays the caller's.
	Limit *limit.Limiter

	// Dark runs requests whose time is up all the same.
	Dark bool

	// OnExpired is told of each request whose time was up before it ran; of one
	// over gRPC it knows the path, the address of the peer and the context. It
	// must be safe for concurrent use. Default (nil): nobody is told.
	OnExpired func(*http.Request)
}

// Inbound wraps the handler of a service that is called through tulle, or by
// others who send its headers. From trusted peers it takes into the request's
// context:
//
//   - the time that is left (Tulle-Timeout), as a deadline. Calls that the handler
//     makes with that context inherit it.
//   - which destinations its calls go to instead of the usual ones (tulle-route, or
//     the baggage), which Config.Override then honours or not, and which go on to
//     the services that are called in turn. From others that is taken away; so
//     Inbound stands before handlers that read the baggage for themselves.
//   - that the request is a repeat (Tulle-Attempt, X-Envoy-Attempt-Count,
//     Grpc-Previous-Rpc-Attempts). Calls that the handler makes through a
//     Transport with that context are then repeated only if they provably
//     reached nobody, so that repeats do not multiply down a chain of services.
//
// A request whose time is up before it runs is answered 504 with the header
// Tulle-Expired, by which the client knows not to hold it against this instance.
// Headers that cannot be understood are ignored.
func Inbound(cfg InboundConfig, next http.Handler) http.Handler {
	return &inbound{cfg: cfg, next: next}
}

// inbound is the handler.
type inbound struct {
	cfg  InboundConfig
	next http.Handler
}

// ServeHTTP implements http.Handler.
func (h *inbound) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	ctx := r.Context()
	if destination.Trusted(h.cfg.Trusted, r.RemoteAddr) {
		if destination.IsRepeat(r.Header.Get) {
			ctx = WithCall(ctx, OnlyUnsent())
		}
		if read, err := route.Read(r.Header); err == nil && read != nil {
			ctx = route.WithHeader(ctx, read)
		}
		if d, err := deadline.Parse(r.Header.Get(deadline.Header)); err == nil {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeoutCause(ctx, d, deadline.ErrCall)
			defer cancel()
		}
	} else {
		r = withoutOverrides(r)
	}
	if !h.admit(ctx, w, r) {
		return
	}
	if ctx != r.Context() {
		r = r.WithContext(ctx)
	}
	h.next.ServeHTTP(w, r)
}

// withoutOverrides is a request from anyone, which must not say where calls go, or
// to anyone, whom that does not concern: itself if it has none.
func withoutOverrides(r *http.Request) *http.Request {
	if !overrides(r.Header) {
		return r
	}
	own := r.WithContext(r.Context())
	own.Header = r.Header.Clone()
	route.Strip(own.Header)
	return own
}

// overrides says that there are some in a header, readable or not. Keys that were
// not written by Header.Set, as where metadata of gRPC is copied, are what the server
// reads all the same.
func overrides(h http.Header) bool {
	if read, err := route.Read(h); err != nil || read != nil {
		return true
	}
	for name := range h {
		if strings.EqualFold(name, route.Header) || name != "Baggage" && strings.EqualFold(name, "Baggage") {
			return true
		}
	}
	return false
}

// foreign is the header for a service that is not ours: without what is for ours
// only, such as a handler may have copied from the request that it serves.
func foreign(h http.Header) http.Header {
	if !overrides(h) && h[mirrorHeader] == nil && h[deadline.Header] == nil && h[destination.AttemptHeader] == nil {
		return h
	}
	own := h.Clone()
	route.Strip(own)
	for _, name := range []string{mirrorHeader, deadline.Header, destination.AttemptHeader} {
		delete(own, name)
	}
	return own
}

// admit lets a request run, or answers it.
func (h *inbound) admit(ctx context.Context, w http.ResponseWriter, r *http.Request) bool {
	var err error
	if h.cfg.Limit != nil {
		end, _ := ctx.Deadline()
		err = h.cfg.Limit.Acquire(ctx, "", end)
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		if h.cfg.OnExpired != nil {
			h.cfg.OnExpired(r)
		}
		if h.cfg.Dark {
			return true
		}
		w.Header().Set(tulle.ExpiredHeader, "1")
		http.Error(w, "the request's time was up before it ran", http.StatusGatewayTimeout)
		return false
	}
	if err == nil {
		return true
	}
	var limited *limit.Error
	if errors.As(err, &limited) && limited.RetryAfter > 0 {
		seconds := (limited.RetryAfter + time.Second - 1) / time.Second
		w.Header().Set("Retry-After", strconv.FormatInt(int64(seconds), 10))
	}
	http.Error(w, err.Error(), http.StatusTooManyRequests)
	return false
}
