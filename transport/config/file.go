package config

import (
	"time"

	"github.com/tullemesh/tulle/transport/route"
)

// fileSection is a whole file. The sections mirror the types of package
// transport and of the leaves field by field; a test holds them against these.
type fileSection struct {
	Defaults     defaultsSection              `doc:"What applies to every service; the timeout also to unknown hosts."`
	Services     map[string]serviceSection    `doc:"The services by logical name: a host, such as users for http://users/, or host:port, which wins over the host."`
	Unknown      string                       `enum:"pass,resolve,refuse" default:"pass" doc:"What becomes of calls to hosts that are no services: pass hands them on as they are, resolve makes services of them under the defaults, refuse fails them."`
	Environment  string                       `default:"prod" doc:"The environment of calls when nobody says otherwise, for services that have destinations in environments."`
	Environments map[string]route.Environment `doc:"How environments relate: what each falls back on, and which are protected."`
	Rules        []route.Rule                 `doc:"Where calls to all services go, and what becomes of them; after the rules of a service's own."`
	Labels       map[string]string            `doc:"What describes this process, for rules that match on their caller."`
	Override     *route.OverridePolicy        `doc:"Which overrides from headers and code are honoured."`
	RouteFiles   []string                     `doc:"Files with HTTPRoute and GRPCRoute objects of the Gateway API, as patterns such as routes/*.yaml. A parentRef to a Service names one of services."`
	Zone         string                       `doc:"The zone that this process runs in; endpoints in it are preferred, as locality says. Zones do not matter without it."`
	RefuseAddrs  addrsSection                 `doc:"Networks that no name may resolve to, in CIDR form; non_public stands for all that are not for use across the internet."`
}

// policySection says how calls are treated. A section in it that a service sets
// takes the place of that of the defaults as a whole.
type policySection struct {
	Timeout        time.Duration    `min:"1ms" max:"24h" none:"-1ns" default:"none" doc:"Longest time of a call, to the end of the response body, all attempts and pauses included."`
	AttemptTimeout time.Duration    `min:"1ms" max:"24h" none:"-1ns" default:"none" doc:"Longest time of one attempt to the response headers. Set it to what your slowest route takes."`
	DarkDeadlines  bool             `default:"false" doc:"Count calls whose time is up when they come, and send them all the same. True in the defaults holds for every service."`
	Balancer       *balancerSection `default:"shortest_expected_delay" doc:"How endpoints are picked: the name of a policy, or a mapping with name and options."`
	Retry          *retrySection    `default:"on, with the defaults of its keys" doc:"When calls are repeated."`
	Ejection       *ejectionSection `default:"on, with the defaults of its keys" doc:"When an endpoint is left out of picks, and when it is tried again."`
	Breaker        *breakerSection  `default:"on, with the defaults of its keys" doc:"When the service as a whole is left alone."`
	Limit          *limitSection    `default:"no limit" doc:"The rate of calls."`
	Locality       *localitySection `default:"on, with the defaults of its keys" doc:"How calls are shared out among the priorities and zones of the endpoints."`
}

// defaultsSection is the policy that services start from.
type defaultsSection struct {
	policySection

	TLS *tlsSection `key:"tls" default:"that of the system" doc:"The TLS client settings of https calls of all services that have none of their own. Services with protocol h2c do without."`
}

// serviceSection is one service.
type serviceSection struct {
	Target   *targetSection `doc:"Where the endpoints come from: a URL (static://10.0.0.1:80,10.0.0.2:80, file:///path, dns://host:port, srv://name) or a mapping with one of the keys static, file, dns, srv, prefer and merge. Required, unless there are environments or the program has one."`
	Host     string         `default:"the host of the URL" doc:"What is sent as Host header, and is the TLS server name, in place of the host of the URL."`
	TLS      *tlsSection    `key:"tls" default:"that of the defaults" doc:"The TLS client settings of https calls. It takes the place of that of the defaults as a whole."`
	Protocol string         `enum:"auto,h2c" default:"auto" doc:"auto is HTTP/1.1 for http and what TLS negotiates for https; h2c is HTTP/2 over cleartext with prior knowledge."`
	External bool           `default:"false" doc:"The service is not ours: no header of tulle goes to it."`

	Environments map[string]destinationSection `doc:"The destinations of the service, one for each environment that it is in, in place of target. What a destination leaves out is that of the service."`
	Environment  string                        `default:"that of the file" doc:"The environment of calls to this service when nobody says otherwise."`
	Rules        []route.Rule                  `doc:"Where calls go, and what becomes of them; before the rules of the file."`
	OnlyRules    bool                          `default:"false" doc:"Refuse calls that no rule matches, as the Gateway API has it."`
	policySection
}

// retrySection is retry.Config.
type retrySection struct {
	Attempts      int            `min:"1" max:"10" default:"3" doc:"Most attempts of a call, the first included."`
	MinBackoff    time.Duration  `above:"0s" default:"25ms" doc:"Lower bound of the growing random pause before a repeat; at most maxBackoff."`
	MaxBackoff    time.Duration  `above:"0s" default:"250ms" doc:"Upper bound of the pause before a repeat."`
	MaxRetryAfter time.Duration  `above:"0s" none:"-1ns" default:"300s" doc:"Longest Retry-After that is waited for."`
	Idempotent    []string       `doc:"Methods that may be sent twice, such as PUT and DELETE, besides GET, HEAD, OPTIONS and TRACE; of gRPC /service/method."`
	Replay        int            `min:"0" max:"65536" default:"0" doc:"Most bytes of a request body without GetBody that are kept for another attempt."`
	Dark          bool           `default:"false" doc:"Decide and count, and repeat nothing."`
	Budget        *budgetSection `doc:"The limit of the repeats of all calls together."`
}

// budgetSection is retry.BudgetConfig.
type budgetSection struct {
	Ratio     float64 `min:"0" max:"1" zero:"-1" default:"0.1" doc:"Share of the recent calls that may be repeated."`
	PerSecond float64 `min:"0" max:"1000" zero:"-1" default:"1" doc:"Repeats a second that are allowed whatever the number of calls."`
}

// ejectionSection is breaker.OutlierConfig.
type ejectionSection struct {
	Off          bool          `default:"false" doc:"Eject nothing."`
	Dark         bool          `default:"false" doc:"Count what would have been ejected, and eject nothing."`
	Consecutive  int           `min:"1" max:"1000" default:"5" doc:"Failures in a row that eject."`
	SuccessShare float64       `above:"0" max:"1" default:"0.8" doc:"Share of successes below which an endpoint is ejected once it has had enough requests."`
	Requests     int           `min:"1" max:"10000" default:"5" doc:"Least number of requests for successShare."`
	Behind       float64       `above:"0" max:"1" default:"0.2" doc:"How far the share of successes must be below the median of the peers."`
	Window       time.Duration `min:"1s" max:"30s" default:"30s" doc:"How long failures count."`
	Base         time.Duration `min:"100ms" max:"24h" default:"5s" doc:"Time of the first ejection; at most max. Each further one is twice as long, half of it random."`
	Max          time.Duration `min:"100ms" max:"24h" default:"300s" doc:"Longest time of an ejection."`
	Unsent       time.Duration `min:"10ms" max:"1m" default:"1s" doc:"How long an endpoint is left out at most that could not be connected to."`
	ProbeTimeout time.Duration `min:"10ms" max:"10m" default:"10s" doc:"Time of the attempt that tries an ejected endpoint."`
	Ramp         time.Duration `above:"0s" none:"-1ns" default:"10s" doc:"Time in which an endpoint that came back gets from a tenth of its traffic to all of it."`
}

// breakerSection is breaker.Config.
type breakerSection struct {
	Requests     int           `min:"1" max:"1000000" default:"20" doc:"Least number of results in the window with which the breaker may open."`
	FailureShare float64       `above:"0" max:"1" default:"0.5" doc:"Share of failures in the window at which the breaker opens."`
	Window       time.Duration `min:"10ms" max:"1h" default:"10s" doc:"How long results count."`
	OpenFor      time.Duration `min:"1ms" max:"1h" default:"5s" doc:"Time from opening to the trial."`
	ProbeTimeout time.Duration `min:"1ms" max:"1h" default:"10s" doc:"Time of a trial."`
	Off          bool          `default:"false" doc:"Admit everything and count nothing."`
	Dark         bool          `default:"false" doc:"Admit everything, and count what would have been refused."`
}

// limitSection is limit.Config.
type limitSection struct {
	Rate       float64       `min:"0.000001" max:"1000000" default:"no limit" doc:"Calls a second that are let through, on average."`
	Burst      int           `min:"1" max:"1000000" default:"rate, rounded up" doc:"How many calls may come at once after a rest."`
	MaxWait    time.Duration `min:"0s" default:"0s" doc:"Longest time that a call waits for its turn; with 0s none waits."`
	MaxWaiters int           `min:"1" max:"100000" default:"100" doc:"How many calls may wait at a time, for each key."`
	Keys       int           `min:"1" max:"1000000" default:"1024" doc:"How many keys are remembered, where the program sets a Key."`
	Dark       bool          `default:"false" doc:"Let every call through at once and only count what would have become of it."`
}

// localitySection is transport.Locality.
type localitySection struct {
	Off           bool    `default:"false" doc:"Ignore zones. Priorities stay in force."`
	Overprovision float64 `min:"1" max:"1000" default:"1.4, and 1000 for dns and srv" doc:"How much more than its part an endpoint is taken to be able to serve."`
	Explore       float64 `min:"0" max:"0.5" zero:"-1" default:"0.01" doc:"Share of calls that go to other zones while the caller's could serve them."`
	Least         int     `min:"1" max:"10000" default:"2" doc:"Endpoints that the caller's zone must have to be preferred."`
	Tolerance     float64 `min:"1.1" max:"100" zero:"-1" default:"1.5" doc:"How many times as dear as the other zones the caller's may be before it loses calls; 0 for any."`
}

// tlsSection is what becomes a tls.Config.
type tlsSection struct {
	CAFile             string `key:"caFile" default:"the certificates of the system" doc:"File with the PEM certificates that servers are checked against, in place of those of the system."`
	CertFile           string `doc:"File with the client's PEM certificate chain; needs keyFile."`
	KeyFile            string `doc:"File with the client's PEM private key; needs certFile."`
	ServerName         string `default:"the host that is called" doc:"Name that the certificate is checked for."`
	MinVersion         string `enum:"1.2,1.3" default:"1.2" doc:"Least version of TLS."`
	InsecureSkipVerify bool   `default:"false" doc:"Accept any certificate. For tests only: it leaves the connection open to anybody in between."`
}
