package route

import (
	"errors"
	"fmt"
	"net/textproto"
	"net/url"
	"strings"
)

// The member of the W3C baggage header that carries overrides, and the limits
// of that header (https://www.w3.org/TR/baggage/, 3.3.2).
const (
	baggageHeader  = "Baggage"
	baggageMember  = "tulle-route"
	maxBaggage     = 8192
	maxBaggageList = 64
)

// ErrBaggage is what errors.Is finds when overrides do not fit into a baggage
// header.
var ErrBaggage = errors.New("route: baggage is full")

// Read reads the overrides of a request: from the header Tulle-Route, or else
// from the member "tulle-route" of the baggage header. It returns nil when there
// are none, and an error when they cannot be read or are there twice. Keys of
// the header are in the form of net/http. Only headers of trusted peers should
// be read; see Strip.
func Read(header map[string][]string) (*Overrides, error) {
	switch values := header[Header]; len(values) {
	case 0:
	case 1:
		return Parse(values[0])
	default:
		return nil, errTwice
	}
	text, err := fromBaggage(header[baggageHeader])
	if err != nil || text == "" {
		return nil, err
	}
	return Parse(text)
}

// Write sets the header Tulle-Route to what goes to the next hop, or takes it
// away when there is nothing.
func (o *Overrides) Write(header map[string][]string) {
	text := o.String()
	if text == "" {
		delete(header, Header)
		return
	}
	header[Header] = []string{text}
}

// WriteBaggage puts the same into the baggage header, in place of what is there
// of ours; members of others stay as they are. If it does not fit, the header
// stays as it was, and the error is an ErrBaggage. Values that header holds are
// not changed, but replaced.
func (o *Overrides) WriteBaggage(header map[string][]string) error {
	members := others(header[baggageHeader])
	if text := o.String(); text != "" {
		members = append(members, baggageMember+"="+escapeBaggage(text))
	}
	joined := strings.Join(members, ",")
	if len(joined) > maxBaggage || len(members) > maxBaggageList {
		return fmt.Errorf("%w: %d members, %d bytes: want up to %d and %d",
			ErrBaggage, len(members), len(joined), maxBaggageList, maxBaggage)
	}
	setOrDelete(header, joined)
	return nil
}

// Strip takes overrides out of a header, from the baggage too: at the edge,
// where requests come from anyone. Keys in any case are found.
func Strip(header map[string][]string) {
	for name, values := range header {
		switch textproto.CanonicalMIMEHeaderKey(name) {
		case Header:
			delete(header, name)
		case baggageHeader:
			if !mentions(values) {
				continue
			}
			delete(header, name)
			if rest := strings.Join(others(values), ","); rest != "" {
				header[name] = []string{rest}
			}
		}
	}
}

// setOrDelete sets the baggage header.
func setOrDelete(header map[string][]string, value string) {
	if value == "" {
		delete(header, baggageHeader)
		return
	}
	header[baggageHeader] = []string{value}
}

// mentions is a cheap look for our member.
func mentions(values []string) bool {
	for _, v := range values {
		if strings.Contains(v, baggageMember) {
			return true
		}
	}
	return false
}

// fromBaggage finds our member, decoded; "" when there is none.
func fromBaggage(values []string) (string, error) {
	if !mentions(values) {
		return "", nil
	}
	size, found, text := 0, 0, ""
	for _, line := range values {
		if size += len(line); size > maxBaggage {
			return "", fmt.Errorf("route: baggage of more than %d bytes", maxBaggage)
		}
		for member := range strings.SplitSeq(line, ",") {
			value, ours := ourMember(member)
			if !ours {
				continue
			}
			if found++; found > 1 {
				return "", errors.New("route: more than one " + baggageMember + " in baggage")
			}
			decoded, err := url.PathUnescape(value)
			if err != nil || decoded == "" {
				return "", fmt.Errorf("route: baggage member %.200q: want percent-encoded overrides", value)
			}
			text = decoded
		}
	}
	return text, nil
}

// ourMember returns the value of a list member if its key is ours. Properties
// behind the value are dropped.
func ourMember(member string) (value string, ours bool) {
	key, value, _ := strings.Cut(member, "=")
	if strings.TrimSpace(key) != baggageMember {
		return "", false
	}
	value, _, _ = strings.Cut(value, ";")
	return strings.TrimSpace(value), true
}

// others are the list members that are not ours, as they came.
func others(values []string) []string {
	var members []string
	for _, line := range values {
		for member := range strings.SplitSeq(line, ",") {
			member = strings.TrimSpace(member)
			if _, ours := ourMember(member); !ours && member != "" {
				members = append(members, member)
			}
		}
	}
	return members
}

// escapeBaggage encodes all that is not plain in a baggage value (RFC 3986,
// unreserved).
func escapeBaggage(s string) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-._~", c) >= 0 {
			b.WriteByte(c)
			continue
		}
		b.Write([]byte{'%', hex[c>>4], hex[c&15]})
	}
	return b.String()
}
