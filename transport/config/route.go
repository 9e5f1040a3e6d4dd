package config

import (
	"reflect"

	"github.com/tullemesh/tulle/transport"
	"github.com/tullemesh/tulle/transport/route"
)

// destinationSection is one environment of a service: transport.Destination.
type destinationSection struct {
	Target   *targetSection `need:"yes" doc:"Where the endpoints come from, as in a service."`
	Host     string         `default:"that of the service" doc:"What is sent as Host header, and is the TLS server name."`
	TLS      *tlsSection    `key:"tls" default:"that of the service" doc:"The TLS client settings of https calls."`
	Protocol string         `enum:"auto,h2c" default:"that of the service" doc:"auto or h2c, as in a service."`
	External bool           `default:"false" doc:"The destination is not ours, even if the service does not say so."`
	policySection
}

// The sections of routing are the types of package route themselves: they are
// plain data with few defaults, and their Validate knows the ranges. What the
// tags would say stands here, by type and field.
func routeTags() map[string]reflect.StructTag {
	return map[string]reflect.StructTag{
		"Environment.Fallback":       `doc:"The environments that are asked, in this order, for a service that has no destination here. Theirs are not followed."`,
		"Environment.Failover":       `doc:"Ask them too when no endpoint of the service is healthy here."`,
		"Environment.SpillOver":      `doc:"Ask them too when part of the endpoints is not healthy, for the calls that those here cannot take. It includes failover."`,
		"Environment.Protected":      `default:"true for prod, false for others" doc:"Serve only safe methods to calls that fall back into it, and take part in no overrides."`,
		"Environment.FallbackWrites": `doc:"Those of fallback that are protected and serve all methods to calls from here."`,

		"OverridePolicy.Services":         `doc:"The services that headers may override, * for all."`,
		"OverridePolicy.Environments":     `doc:"The environments that headers may lead to, * for all."`,
		"OverridePolicy.Protected":        `doc:"Let headers lead into and out of protected environments."`,
		"OverridePolicy.RequireSignature": `doc:"Honour only headers that were signed with one of keys."`,
		"OverridePolicy.Keys":             `doc:"What signatures are checked with."`,
		"OverridePolicy.MaxExpiry":        `min:"1s" max:"720h" default:"24h" doc:"How far ahead the end of a signature may lie; one that says more is refused until then."`,
		"OverridePolicy.IgnoreCode":       `doc:"Honour no overrides of the program's code."`,
		"OverridePolicy.CodeProtected":    `doc:"Let code lead into and out of protected environments."`,
		"SigningKey.ID":                   `key:"id" need:"yes" doc:"The name of the key on the wire: 1 to 32 of a-z, A-Z, 0-9, - and _."`,
		"SigningKey.Secret":               `need:"yes" doc:"16 to 1024 bytes from a random source: a reference such as ${file:key}."`,

		"Rule.Name":            `doc:"For people: explanations and telemetry."`,
		"Rule.File":            `key:"-"`,
		"Rule.Line":            `key:"-"`,
		"Rule.Hosts":           `doc:"Hosts that the call must be addressed to; *.internal is all names below internal. Any without it."`,
		"Rule.Ports":           `min:"1" max:"65535" doc:"Ports that the call must be made to: the one that its address names, else 443 for https and 80 for others. Any without it."`,
		"Rule.Match":           `doc:"Alternatives, one of which must match. All calls without it."`,
		"Rule.Backends":        `doc:"Where the calls go, by weight. Without it the service itself, in the environment of the call."`,
		"Rule.Key":             `doc:"Makes calls with an equal key go to an equal backend."`,
		"Rule.Mirror":          `doc:"Sends a copy of the call elsewhere."`,
		"Rule.Timeout":         `min:"1ms" max:"24h" none:"-1ns" default:"that of the service" doc:"Longest time of a call."`,
		"Rule.AttemptTimeout":  `min:"1ms" max:"24h" none:"-1ns" default:"that of the service" doc:"Longest time of one attempt to the response headers."`,
		"Rule.Retry":           `doc:"Changes the retry policy of the service; what is left out stays as it is."`,
		"Rule.RequestHeaders":  `doc:"Edits the headers of the request."`,
		"Rule.ResponseHeaders": `doc:"Edits the headers of the response."`,
		"Rule.Rewrite":         `doc:"Changes what is sent. At most one of rewrite, redirect and fixed."`,
		"Rule.Redirect":        `doc:"Answers with a redirect."`,
		"Rule.Fixed":           `doc:"Answers without sending."`,
		"Rule.Fault":           `doc:"Makes some calls slow, or fail."`,

		"Match.Path":    `doc:"At most one of exact, prefix and regex."`,
		"Match.Method":  `doc:"A method in upper case."`,
		"Match.Headers": `doc:"Headers that must all match."`,
		"Match.Query":   `doc:"Query parameters that must all match."`,
		"Match.GRPC":    `key:"grpc" doc:"Matches gRPC calls only."`,
		"Match.Caller":  `doc:"Labels that this caller must have."`,

		"PathMatch.Exact":    `doc:"The path itself, from /."`,
		"PathMatch.Prefix":   `doc:"A prefix by whole elements."`,
		"PathMatch.Regex":    `doc:"A regular expression for the whole path."`,
		"ValueMatch.Name":    `need:"yes" doc:"The name."`,
		"ValueMatch.Exact":   `doc:"The value."`,
		"ValueMatch.Regex":   `doc:"A regular expression for the whole value."`,
		"ValueMatch.Present": `doc:"Any value."`,
		"GRPCMatch.Service":  `doc:"The full name of the service, such as acme.Users."`,
		"GRPCMatch.Method":   `doc:"The name of the method."`,
		"GRPCMatch.Regex":    `doc:"Both are regular expressions for whole names."`,

		"Backend.Service":         `default:"the one that is called" doc:"A service of this file."`,
		"Backend.Environment":     `default:"that of the call" doc:"One of its environments."`,
		"Backend.Weight":          `min:"0" max:"1000000" default:"1" doc:"Its share of the sum of weights."`,
		"Backend.RequestHeaders":  `doc:"Edited after those of the rule."`,
		"Backend.ResponseHeaders": `doc:"Edited after those of the rule."`,
		"SplitKey.Header":         `doc:"The header that holds the key."`,
		"SplitKey.Cookie":         `doc:"The cookie that holds the key."`,
		"SplitKey.Query":          `doc:"The query parameter that holds the key."`,
		"SplitKey.Caller":         `doc:"The key is given by the calling code."`,
		"Mirror.Service":          `default:"the one that is called" doc:"A service of this file."`,
		"Mirror.Environment":      `default:"that of the call" doc:"One of its environments."`,
		"Mirror.Percent":          `min:"0" max:"100" default:"100" doc:"Share of the calls."`,

		"Retry.Attempts":   `min:"1" max:"10" doc:"Most attempts of a call, the first included."`,
		"Retry.MinBackoff": `above:"0s" doc:"Lower bound of the pause before a repeat."`,
		"Retry.MaxBackoff": `above:"0s" doc:"Upper bound of the pause before a repeat."`,
		"Retry.Statuses":   `min:"400" max:"599" doc:"Statuses that may be repeated besides."`,
		"Retry.Codes":      `doc:"Names of gRPC codes that may be repeated besides, such as UNAVAILABLE."`,

		"Headers.Set":    `doc:"Replaces."`,
		"Headers.Add":    `doc:"Adds."`,
		"Headers.Remove": `doc:"Takes away."`,

		"Rewrite.Host":    `doc:"The Host header."`,
		"Rewrite.Path":    `doc:"At most one of full and prefix."`,
		"PathEdit.Full":   `doc:"The new path."`,
		"PathEdit.Prefix": `doc:"Replaces the prefix that matched; / takes it away."`,
		"Redirect.Scheme": `enum:"http,https" default:"that of the call" doc:"The scheme."`,
		"Redirect.Host":   `default:"that of the call" doc:"The host, without port."`,
		"Redirect.Port":   `min:"1" max:"65535" default:"the usual one" doc:"The port."`,
		"Redirect.Path":   `doc:"At most one of full and prefix."`,
		"Redirect.Status": `min:"301" max:"308" default:"302" doc:"301, 302, 303, 307 or 308."`,
		"Fixed.Status":    `need:"yes" min:"200" max:"599" doc:"The status."`,
		"Fixed.Headers":   `doc:"The headers of the answer."`,
		"Fixed.Body":      `lines:"yes" doc:"The body, up to 64 KiB."`,

		"Fault.Only":         `doc:"A header that a call must carry."`,
		"Fault.Delay":        `above:"0s" max:"1h" doc:"What is waited before the call is sent."`,
		"Fault.DelayPercent": `min:"0" max:"100" default:"100" doc:"Share of the calls that are delayed."`,
		"Fault.AbortStatus":  `min:"200" max:"599" doc:"The status that is answered instead of sending."`,
		"Fault.AbortCode":    `doc:"The name of the gRPC code that is answered instead of sending."`,
		"Fault.AbortPercent": `min:"0" max:"100" default:"100" doc:"Share of the calls that are answered so."`,
	}
}

// routePackage is where the types of routeTags come from.
var routePackage = reflect.TypeFor[route.Config]().PkgPath()

// foreign are the tags of a type that has none itself.
func foreign(t reflect.Type) func(name string) reflect.StructTag {
	if t.PkgPath() != routePackage {
		return nil
	}
	tags := routeTags()
	return func(name string) reflect.StructTag { return tags[t.Name()+"."+name] }
}

// routing puts what the file says of routes over the program's.
func (b *builder) routing(f *fileSection, cfg *transport.Config) {
	if f.Environment != "" {
		cfg.Environment = f.Environment
	}
	if f.Zone != "" {
		cfg.Zone = f.Zone
	}
	cfg.Environments = overlay(b.base.Environments, f.Environments)
	cfg.Labels = overlay(b.base.Labels, f.Labels)
	b.placed(f.Rules, "rules")
	cfg.Rules = append(f.Rules[:len(f.Rules):len(f.Rules)], b.base.Rules...)
	if f.Override != nil {
		cfg.Override = *f.Override
	}
}

// overlay is a map with what another one has put over it.
func overlay[V any](base, over map[string]V) map[string]V {
	if len(over) == 0 {
		return base
	}
	all := make(map[string]V, len(base)+len(over))
	for k, v := range base {
		all[k] = v
	}
	for k, v := range over {
		all[k] = v
	}
	return all
}

// placed writes into rules where they stand in the file.
func (b *builder) placed(rules []route.Rule, path string) {
	for i := range rules {
		at := b.places[where{path: path}.item(i).path]
		rules[i].File, rules[i].Line = at.file, at.line
	}
}

// environments puts the destinations and rules of a service over those of the
// program.
func (b *builder) environments(from *serviceSection, s *transport.Service, at where, refuse addrsSection) {
	if from.Environment != "" {
		s.Environment = from.Environment
	}
	b.placed(from.Rules, at.path+".rules")
	s.Rules = append(from.Rules[:len(from.Rules):len(from.Rules)], s.Rules...)
	s.OnlyRules = s.OnlyRules || from.OnlyRules
	if len(from.Environments) == 0 {
		return
	}
	in := at.field(&field{name: "Environments", key: "environments"})
	all := make(map[string]transport.Destination, len(from.Environments))
	for _, env := range sorted(from.Environments) {
		section := from.Environments[env]
		all[env] = b.destination(&section, s.Environments[env], in.entry(env), refuse)
	}
	s.Environments = overlay(s.Environments, all)
}

// destination puts the section of one environment over that of the program.
func (b *builder) destination(from *destinationSection, d transport.Destination, at where, refuse addrsSection) transport.Destination {
	if from.Target != nil {
		d.Target, d.Resolver = b.target(from.Target, refuse)
	}
	if from.Host != "" {
		d.Host = from.Host
	}
	switch from.Protocol {
	case "auto":
		d.Protocol = transport.Auto
	case "h2c":
		d.Protocol = transport.H2C
	}
	if from.TLS != nil {
		d.TLS, d.TLSServerName = b.tls(from.TLS, where{at.key + ".tls", at.path + ".tls"}), from.TLS.ServerName
	}
	d.External = d.External || from.External
	d.Policy = b.policy(at.path, &from.policySection, d.Policy, &b.base.Defaults)
	return d
}
