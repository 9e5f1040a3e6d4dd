package route

import "time"

// Rule says what becomes of the calls that it matches. Of the rules in one list
// the one with the most specific match applies, and it alone. The order is that
// of the Gateway API's HTTPRoute (v1, HTTPRouteRule.matches); each line decides
// where those before it are equal:
//
//   - the longest matching host without wildcard, then the longest with one;
//   - an exact path; a regular expression, of them the longest (the Gateway API
//     leaves its place open: behind prefixes it could hardly ever win); the
//     longest prefix;
//   - one with a method;
//   - the most header matches, the most query matches, the most caller labels;
//   - the first in the list.
//
// For a gRPC call, matches with GRPC come before those without; among them the
// order is GRPCRoute's: host, the most characters in the service, in the
// method (a regular expression counts as its own length, behind an exact name
// of that length), the most header matches, the first in the list.
type Rule struct {
	// Name is for people: explanations and telemetry.
	Name string

	// File and Line are where it was written, for explanations. Default: none.
	File string
	Line int

	// Hosts are those that the call must be addressed to: "users.internal", or
	// "*.internal" for all names below it. Ports do not matter. Default: any.
	Hosts []string

	// Ports are those that the call must be made to: the one that its address
	// names, else 443 for https and 80 for anything else. Where the endpoints
	// listen does not matter, and a rule is not more specific by them. Default:
	// any. Range: 1 to 65535.
	Ports []int

	// Match are alternatives: one of them must match. Default: all calls.
	// Range: up to 128.
	Match []Match

	// Backends is where the calls go, by weight. Default: the service itself,
	// in the environment of the call.
	Backends []Backend

	// Key makes calls with an equal key go to an equal backend.
	Key SplitKey

	// Mirror sends a copy of the call elsewhere.
	Mirror *Mirror

	// Timeout and AttemptTimeout replace those of the service. Default (0):
	// the service's. Negative: none. Range: 1 ms to 24 h.
	Timeout        time.Duration
	AttemptTimeout time.Duration

	// Retry changes the service's retry policy.
	Retry *Retry

	// RequestHeaders and ResponseHeaders are edited.
	RequestHeaders  Headers
	ResponseHeaders Headers

	// Rewrite changes what is sent. Redirect and Fixed answer the call
	// instead of sending it. At most one of the three.
	Rewrite  *Rewrite
	Redirect *Redirect
	Fixed    *Fixed

	// Fault makes some calls slow, or fail.
	Fault *Fault
}

// Match is what a call must be like: all that is set must fit.
type Match struct {
	// Path is how the path is matched. Default: any.
	Path PathMatch

	// Method is a method, in upper case. Default: any.
	Method string

	// Headers and Query must all match. A header or parameter with several
	// values matches if one of the header's values does, or the parameter's
	// first. Header "Host" is the host that the call is addressed to.
	Headers []ValueMatch
	Query   []ValueMatch

	// GRPC matches gRPC calls only. Default (nil): gRPC and other calls, a
	// gRPC call having the path "/service/method" and the method POST.
	GRPC *GRPCMatch

	// Caller are labels that this caller must have (Config.Labels).
	Caller map[string]string
}

// PathMatch is at most one of three ways to match the path, which is taken
// without its percent-encoding. The zero PathMatch matches all, as Prefix "/".
type PathMatch struct {
	// Exact is the path itself, from "/".
	Exact string

	// Prefix is a prefix by whole elements: "/a" and "/a/" match "/a", "/a/"
	// and "/a/b", not "/ab".
	Prefix string

	// Regex matches the whole path, in the syntax of package regexp.
	Regex string
}

// ValueMatch is one way to match a header or query parameter. Exactly one of
// Exact, Regex and Present is set.
type ValueMatch struct {
	// Name is the name; case matters for query parameters only.
	Name string

	// Exact is the value, Regex matches all of it.
	Exact string
	Regex string

	// Present matches any value.
	Present bool
}

// GRPCMatch matches the full service name ("acme.Users") and the method
// ("Get"). What is empty matches all.
type GRPCMatch struct {
	// Service and Method are names, or regular expressions for whole names.
	Service string
	Method  string

	// Regex says that they are regular expressions.
	Regex bool
}

// Backend is one of the places that a rule sends calls to.
type Backend struct {
	// Service is a key of Config.Services. Default (""): the one called.
	// Its own rules do not apply again.
	Service string

	// Environment is where. Default (""): the environment of the call.
	Environment string

	// Weight is its share of the sum of weights. Default (nil): 1. Range: 0,
	// which takes no calls, to 1000000. When all are 0 the call fails with
	// ErrNoBackend.
	Weight *int

	// RequestHeaders and ResponseHeaders are edited after those of the rule.
	RequestHeaders  Headers
	ResponseHeaders Headers
}

// SplitKey says what the split depends on. With the zero SplitKey it is random.
// At most one field is set. Calls without the key are split at random. The
// choice is by weighted rendezvous: it is the same in all processes, and a
// changed weight, or a new backend, moves only the calls that it must.
type SplitKey struct {
	// Header, Cookie and Query name what holds the key.
	Header string
	Cookie string
	Query  string

	// Caller takes the key of the Input, which the calling code gave.
	Caller bool
}

// Mirror sends a copy of a call somewhere and drops the answer. A copy does not
// fall back: without a destination there is none. One that would go into a
// protected environment, while the call itself does not, is made of calls with
// safe methods only.
type Mirror struct {
	// Service and Environment are where, as for a Backend. Without either it
	// would be the destination of the call, which is an error.
	Service     string
	Environment string

	// Percent of the calls, 0 to 100. Default (nil): 100.
	Percent *float64
}

// Retry changes a retry policy. What is zero stays as it is.
type Retry struct {
	// Attempts is the most attempts, the first included. Range: 1 to 10.
	Attempts int

	// MinBackoff and MaxBackoff bound the pause before a repeat.
	MinBackoff time.Duration
	MaxBackoff time.Duration

	// Statuses (400 to 599) and Codes, the names of gRPC codes such as
	// "UNAVAILABLE", may be repeated, besides what the policy repeats, of
	// calls that are safe or keyed.
	Statuses []int
	Codes    []string
}

// Headers is what is changed in a header: Set replaces, Add adds, Remove takes
// away. One name is in one of them only. Headers that frame a message (Host,
// Content-Length, Connection and such), and those of tulle, are not for rules.
type Headers struct {
	// Set and Add are values by name, Remove are names; case does not matter.
	Set    map[string]string
	Add    map[string]string
	Remove []string
}

// Rewrite changes the request that is sent.
type Rewrite struct {
	// Host is sent as Host header. Default: what would be sent anyway.
	Host string

	// Path is how the path is changed. Default: not.
	Path PathEdit
}

// PathEdit is at most one of two ways to change a path.
type PathEdit struct {
	// Full is the new path.
	Full string

	// Prefix replaces the prefix that matched; "/" takes it away. All matches
	// of the rule must be by prefix.
	Prefix string
}

// Redirect answers with a redirect. The query stays.
type Redirect struct {
	// Scheme is http or https. Default: that of the call.
	Scheme string

	// Host is without port. Default: that of the call.
	Host string

	// Port is 1 to 65535. Default (0): the usual one of Scheme if that is
	// set, else that of the call.
	Port int

	// Path is how the path is changed. Default: not.
	Path PathEdit

	// Status is 301, 302, 303, 307 or 308. Default (0): 302.
	Status int
}

// Fixed answers without sending.
type Fixed struct {
	// Status is 200 to 599.
	Status int

	// Headers are those of the answer.
	Headers map[string]string

	// Body is up to 64 KiB.
	Body string
}

// Fault makes calls slow, or fail, to see what becomes of their callers.
type Fault struct {
	// Only is a header that a call must carry. Default (nil): any call.
	Only *ValueMatch

	// Delay is waited before the call is sent, up to 1 h, for DelayPercent of
	// the calls. Default of the latter (nil): 100.
	Delay        time.Duration
	DelayPercent *float64

	// AbortStatus (200 to 599) or AbortCode, the name of a gRPC code, is
	// answered instead of sending, for AbortPercent of the calls. A call of
	// the other protocol gets what corresponds. Default of the latter (nil):
	// 100.
	AbortStatus  int
	AbortCode    string
	AbortPercent *float64
}
