package telemetry

import (
	"context"
	"encoding/hex"
	"strings"

	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// W3C is a propagator of trace context and baggage as the W3C recommendations
// have them, for use as otel's global one or in Config. It differs from those of
// package propagation in what it makes of headers that are there more than once
// or not well-formed, as they come from outside:
//
//   - Two traceparent headers are none, whatever is in them.
//   - Several tracestate headers are one list. Empty members are left out, of a
//     key that is there twice the first member counts, and a list with a member
//     that is malformed, or with more than 32, is dropped. Of a list of more than
//     512 characters the members over 128 go first, then the last ones.
//   - Flags that the recommendation does not know are cleared, and do not make
//     the traceparent invalid.
//   - Several baggage headers are one list. Members that are malformed are left
//     out, and so is what is over 64 members or 8192 bytes.
//
// The zero W3C is ready to use.
type W3C struct{}

var _ propagation.TextMapPropagator = W3C{}

// Inject writes the trace context and baggage of ctx to carrier.
func (W3C) Inject(ctx context.Context, carrier propagation.TextMapCarrier) {
	propagation.TraceContext{}.Inject(ctx, carrier)
	propagation.Baggage{}.Inject(ctx, carrier)
}

// Extract returns ctx with what carrier has of trace context and baggage. The
// carrier should be a propagation.ValuesGetter, as propagation.HeaderCarrier is;
// another one shows the first header of a name only.
func (W3C) Extract(ctx context.Context, carrier propagation.TextMapCarrier) context.Context {
	if sc := extractTrace(carrier); sc.IsValid() {
		ctx = trace.ContextWithRemoteSpanContext(ctx, sc)
	}
	if list := joinBaggage(values(carrier, baggageKey)); list != "" {
		ctx = propagation.Baggage{}.Extract(ctx, propagation.MapCarrier{baggageKey: list})
	}
	return ctx
}

// Fields are the names of the headers that Inject writes.
func (W3C) Fields() []string { return []string{parentKey, stateKeyLower, baggageKey} }

// values are all headers of a name.
func values(carrier propagation.TextMapCarrier, key string) []string {
	if all, ok := carrier.(propagation.ValuesGetter); ok {
		return all.Values(key)
	}
	if v := carrier.Get(key); v != "" {
		return []string{v}
	}
	return nil
}

// extractTrace reads the span context, the zero one if there is none.
func extractTrace(carrier propagation.TextMapCarrier) trace.SpanContext {
	parents := values(carrier, parentKey)
	if len(parents) != 1 {
		return trace.SpanContext{}
	}
	scc, ok := parseParent(strings.Trim(parents[0], " \t"))
	if !ok {
		return trace.SpanContext{}
	}
	// A tracestate that cannot be parsed says nothing against the traceparent.
	scc.TraceState, _ = trace.ParseTraceState(joinState(values(carrier, stateKeyLower)))
	scc.Remote = true
	return trace.NewSpanContext(scc)
}

// parseParent reads a traceparent. One of a later version may go on after what
// this one has, with a dash.
func parseParent(s string) (scc trace.SpanContextConfig, ok bool) {
	if len(s) < parentLen || s[2] != '-' || s[35] != '-' || s[52] != '-' {
		return scc, false
	}
	var version, flags [1]byte
	if !lowerHex(version[:], s[:2]) || version[0] == 0xff ||
		!lowerHex(scc.TraceID[:], s[3:35]) || !lowerHex(scc.SpanID[:], s[36:52]) || !lowerHex(flags[:], s[53:55]) {
		return scc, false
	}
	if len(s) > parentLen && (version[0] == 0 || s[parentLen] != '-') {
		return scc, false
	}
	scc.TraceFlags = trace.TraceFlags(flags[0]) & (trace.FlagsSampled | trace.FlagsRandom)
	return scc, scc.TraceID.IsValid() && scc.SpanID.IsValid()
}

// lowerHex decodes digits, of which the letters must be lower case.
func lowerHex(dst []byte, s string) bool {
	for i := range len(s) {
		if s[i] >= 'A' && s[i] <= 'F' {
			return false
		}
	}
	_, err := hex.Decode(dst, []byte(s))
	return err == nil
}

// The limits of a tracestate and of baggage.
const (
	maxStateMembers   = 32
	maxStateLen       = 512
	longStateMember   = 128
	maxBaggageMembers = 64
	maxBaggageLen     = 8192
)

// members are the members of a list over several headers, without the spaces
// around them and without empty ones. One more than limit is enough to know.
func members(lines []string, limit int) []string {
	var all []string
	for _, line := range lines {
		for rest, more := line, true; more; {
			var m string
			m, rest, more = strings.Cut(rest, ",")
			if m = strings.Trim(m, " \t"); m == "" {
				continue
			}
			if all = append(all, m); len(all) > limit {
				return all
			}
		}
	}
	return all
}

// joinState makes one list of tracestate headers, "" if it must be dropped.
func joinState(lines []string) string {
	all := members(lines, maxStateMembers)
	if len(all) > maxStateMembers {
		return ""
	}
	seen := make(map[string]bool, len(all))
	kept, size := all[:0], -1
	for _, m := range all {
		key, _, ok := strings.Cut(m, "=")
		if !ok {
			return ""
		}
		if !seen[key] {
			seen[key] = true
			kept, size = append(kept, m), size+len(m)+1
		}
	}
	for i := len(kept) - 1; i >= 0 && size > maxStateLen; i-- {
		if len(kept[i]) > longStateMember {
			size -= len(kept[i]) + 1
			kept = append(kept[:i], kept[i+1:]...)
		}
	}
	for size > maxStateLen {
		size -= len(kept[len(kept)-1]) + 1
		kept = kept[:len(kept)-1]
	}
	return strings.Join(kept, ",")
}

// joinBaggage makes one list of baggage headers, of the members that are well
// formed and fit. A key that is there again counts once.
func joinBaggage(lines []string) string {
	seen := map[string]bool{}
	var list strings.Builder
	n := 0
	for _, m := range members(lines, 4*maxBaggageMembers) {
		m, key, ok := baggageMember(m)
		if !ok || seen[key] || n == maxBaggageMembers || list.Len()+len(m)+1 > maxBaggageLen {
			continue
		}
		seen[key] = true
		n++
		if list.Len() > 0 {
			list.WriteByte(',')
		}
		list.WriteString(m)
	}
	return list.String()
}

// baggageMember returns a member without the spaces that it may have, and its
// key, if it is well-formed.
func baggageMember(m string) (member, key string, ok bool) {
	var b strings.Builder
	for rest, more := m, true; more; {
		var part string
		part, rest, more = strings.Cut(rest, ";")
		name, value, valued := strings.Cut(part, "=")
		name, value = strings.Trim(name, " \t"), strings.Trim(value, " \t")
		if !token(name) || !baggageValue(value) || key == "" && !valued {
			return "", "", false
		}
		if key == "" {
			key = name
		} else {
			b.WriteByte(';')
		}
		b.WriteString(name)
		if valued {
			b.WriteByte('=')
			b.WriteString(value)
		}
	}
	return b.String(), key, true
}

// token says that s is a token of HTTP.
func token(s string) bool {
	for i := range len(s) {
		c := s[i]
		if c <= ' ' || c >= 0x7f || strings.IndexByte(`"(),/:;<=>?@[\]{}`, c) >= 0 {
			return false
		}
	}
	return s != ""
}

// baggageValue says that s has only what a value may have, and that each percent
// sign begins an escape.
func baggageValue(s string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c <= ' ' || c >= 0x7f || c == '"' || c == ',' || c == ';' || c == '\\' {
			return false
		}
		if c == '%' {
			if len(s)-i < 3 || !hexDigit(s[i+1]) || !hexDigit(s[i+2]) {
				return false
			}
			i += 2
		}
	}
	return true
}

func hexDigit(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}
