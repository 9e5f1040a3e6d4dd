package route

import "time"

// Config is all that decisions are made by. It is plain data; New copies it.
// The zero Config is valid and knows no service.
//
// Errors name a setting by its path, in the lower camel case of the field
// names: services["users"].rules[2].match[0].path.regex.
type Config struct {
	// Default is the environment of calls when nobody says otherwise.
	// Default (""): "prod".
	Default string

	// Environments says how environments relate. One that only appears in a
	// Service, or as Default, need not be here. Names are DNS labels: up to
	// 63 of a-z, 0-9 and "-".
	Environments map[string]Environment

	// Services maps keys of services, in lower case as they are looked up, to
	// what is known of them.
	Services map[string]Service

	// Rules are for all services, and come after a service's own.
	Rules []Rule

	// Labels describe this caller, for Match.Caller.
	Labels map[string]string

	// Override says which overrides from headers and code are honoured.
	Override OverridePolicy
}

// Environment is one of the places in which services have destinations.
type Environment struct {
	// Fallback names the environments that are asked, in this order, for a
	// service that has no destination here. It is the whole list: theirs are
	// not followed.
	Fallback []string

	// Failover asks them too when no endpoint of the service is healthy here.
	Failover bool

	// SpillOver asks them too when part of the endpoints is not healthy: each
	// gets the share of calls that those before it cannot take, see Shares.
	// It includes Failover.
	SpillOver bool

	// Protected environments serve safe methods only to calls that fall back
	// into them, and take part in no overrides unless OverridePolicy says so.
	// Default (nil): true for "prod", false for the others.
	Protected *bool

	// FallbackWrites names those of Fallback that are protected and serve all
	// methods to calls that come from here.
	FallbackWrites []string
}

// Service is what is known of a service. The zero Service has one destination,
// which is in no environment, and no rules.
type Service struct {
	// Environments are those in which it has a destination. Default (empty):
	// one destination, in the environment "", for all calls.
	Environments []string

	// Default is the environment of calls to it when nobody says otherwise.
	// Default (""): Config.Default.
	Default string

	// Rules are its own.
	Rules []Rule

	// OnlyRules refuses a call that no rule matches, with ErrNoRule, as the
	// Gateway API wants it. Default: such a call goes to the service itself.
	OnlyRules bool
}

// OverridePolicy says which overrides are honoured. With the zero
// OverridePolicy no header changes a destination, and code may override
// outside of protected environments.
type OverridePolicy struct {
	// Services and Environments are those that headers may override, and lead
	// to; "*" is all. Both are needed. Default: none.
	Services     []string
	Environments []string

	// Protected lets headers lead into protected environments, override calls
	// that are for one, and fall back into one from where they lead.
	Protected bool

	// RequireSignature honours only headers that were signed, see Sign, with
	// one of Keys.
	RequireSignature bool

	// Keys are what signatures are checked with: the current one, and in a
	// rotation the next and the last. A signature by another key is refused
	// even where none is required.
	Keys []SigningKey

	// MaxExpiry is how far ahead the end of a signature may lie: one that says
	// more is refused, whoever has signed it, until its end is that near. So a
	// text that leaks is no key for years. Default (0): 24 h. Range: 1 s to
	// 720 h.
	MaxExpiry time.Duration

	// IgnoreCode honours no overrides of With. CodeProtected is Protected for
	// them. Services, Environments and signatures are no matter to them.
	IgnoreCode    bool
	CodeProtected bool
}

// SigningKey is a secret that overrides are signed with.
type SigningKey struct {
	// ID names the key on the wire: 1 to 32 of a-z, A-Z, 0-9, "-" and "_".
	ID string

	// Secret is 16 to 1024 bytes from a random source. No text that this
	// package writes has it.
	Secret []byte `json:"-"`
}

// String is the key without its secret.
func (k SigningKey) String() string { return "key " + k.ID }

// GoString is String, for %#v.
func (k SigningKey) GoString() string { return k.String() }

// The names and limits that have a meaning.
const (
	prod = "prod"
	all  = "*"

	maxServices = 100_000
	maxRules    = 10_000 // in one list
	maxMatches  = 128    // of one rule, as in the Gateway API
	maxPattern  = 1024   // bytes of a path, a value or a regular expression
	minSecret   = 16
	maxSecret   = 1024
	maxKeys     = 16

	defaultMaxExpiry = 24 * time.Hour
	longestMaxExpiry = 720 * time.Hour
)
