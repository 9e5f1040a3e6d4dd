package config_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/tullemesh/tulle/transport"
	"github.com/tullemesh/tulle/transport/config"
)

// service puts keys into a service that is otherwise good; they begin in line 4.
func service(keys string) string {
	text := "services:\n  users:\n    target: static://127.0.0.1:1\n"
	for line := range strings.Lines(keys) {
		text += "    " + line
	}
	return text
}

func TestErrors(t *testing.T) {
	tests := []struct {
		name, text string
		want       []string // without the name of the file
	}{
		{"unknown key", "services: {}\nservice: {}", []string{`2:1: unknown key "service": did you mean services? Want one of `}},
		{"unknown key of a service", service("timout: 1s"), []string{`4:5: services.users: unknown key "timout": did you mean timeout? Want one of `}},
		{"nothing like it", service("zzz: 1s"), []string{`4:5: services.users: unknown key "zzz": want one of `}},
		{"key twice", service("timeout: 1s\nhost: x\ntimeout: 2s"), []string{`6:5: services.users: the key "timeout" is already on line 4`}},
		{"service twice", "services:\n  a: {target: static://a}\n  a: {target: static://b}", []string{`3:3: services: the key "a" is already on line 2`}},
		{"service twice in another spelling", "services:\n  a: {target: static://a}\n  A.: {target: static://b}",
			[]string{`2:3: services.a: name "a": want another name than that of "A.", which it equals`}},
		{"list as a mapping", "services: [a]", []string{"1:11: services: a list: want a mapping"}},
		{"mapping as a text", service("host: {a: b}"), []string{"4:11: services.users.host: a mapping: want text"}},
		{"text as a list", service("retry: {idempotent: PUT}"), []string{`4:25: services.users.retry.idempotent: text "PUT": want a list`}},
		{"number as text", service("host: 5"), []string{"4:11: services.users.host: 5: want text, so put it in quotes"}},
		{"truth as text", service("host: true"), []string{"4:11: services.users.host: true: want text, so put it in quotes"}},
		{"the Norway problem", service("host: no"), []string{"4:11: services.users.host: no: want quotes around it, as it is a truth value to some and text to others"}},
		{"the Norway problem as a key", "services:\n  on: {target: static://a}", []string{"2:3: services: the key on: want quotes"}},
		{"text as truth", service("external: yes"), []string{`4:15: services.users.external: text "yes": want true or false`}},
		{"number as truth", service("external: 1"), []string{"4:15: services.users.external: 1: want true or false"}},
		{"null as text", service("host:"), []string{"services.users.host: no value: want text"}},
		{"date as text", service("host: 2001-01-01"), []string{`4:11: services.users.host: "2001-01-01" (!!timestamp): want text, so put it in quotes`}},
		{"tag", service("host: !!str 5"), []string{"4:11: services.users.host: the tag !!str: want a value without a tag"}},
		{"own tag", service("retry: !x {}"), []string{"4:12: services.users.retry: the tag !x: want a value without a tag"}},
		{"control character", service(`host: "a\tb"`), []string{`4:11: services.users.host: "a\tb": want text without control characters`}},
		{"duration without unit", service("timeout: 30"), []string{"4:14: services.users.timeout: 30 has no unit: want a duration such as 1s or 250ms: 1ms to 24h, or none"}},
		{"duration of 0", service("timeout: 0"), []string{"4:14: services.users.timeout: 0 has no unit"}},
		{"duration of 0s", service("timeout: 0s"), []string{"4:14: services.users.timeout: 0s: want 1ms to 24h, or none"}},
		{"no duration", service("timeout: soon"), []string{`4:14: services.users.timeout: "soon": want a duration such as 1s or 250ms`}},
		{"too long", service("timeout: 25h"), []string{"4:14: services.users.timeout: 25h: want 1ms to 24h, or none"}},
		{"negative", service("timeout: -1s"), []string{"4:14: services.users.timeout: -1s: want 1ms to 24h, or none"}},
		{"none where it has no meaning", service("retry: {maxBackoff: none}"), []string{`4:25: services.users.retry.maxBackoff: "none": want a duration such as 1s or 250ms: above 0s`}},
		{"octal", service("retry: {attempts: 010}"), []string{"4:23: services.users.retry.attempts: 010: want a whole number: 1 to 10"}},
		{"new octal", service("retry: {attempts: 0o7}"), []string{"4:23: services.users.retry.attempts: 0o7: want a whole number: 1 to 10"}},
		{"hexadecimal", service("retry: {attempts: 0x7}"), []string{"services.users.retry.attempts: 0x7: want a whole number: 1 to 10"}},
		{"underscore", service("retry: {replay: 1_0}"), []string{"services.users.retry.replay: 1_0: want a whole number: 0 to 65536"}},
		{"fraction", service("retry: {attempts: 1.5}"), []string{"services.users.retry.attempts: 1.5: want a whole number: 1 to 10"}},
		{"quoted number", service(`retry: {attempts: "3"}`), []string{`services.users.retry.attempts: text "3": want a whole number: 1 to 10`}},
		{"not a number", service("retry: {budget: {ratio: .nan}}"), []string{"services.users.retry.budget.ratio: .nan: want a number: 0 to 1"}},
		{"infinite", service("retry: {budget: {ratio: .inf}}"), []string{"services.users.retry.budget.ratio: .inf: want a number: 0 to 1"}},
		{"huge", service("retry: {budget: {ratio: 1e99}}"), []string{"services.users.retry.budget.ratio: 1e99: want 0 to 1"}},
		{"out of range", service("retry: {attempts: 11}"), []string{"4:23: services.users.retry.attempts: 11: want 1 to 10"}},
		{"0 where it would be the default", service("retry: {attempts: 0}"), []string{"services.users.retry.attempts: 0: want 1 to 10"}},
		{"open end", service("breaker: {failureShare: 0}"), []string{"services.users.breaker.failureShare: 0: want above 0, up to 1"}},
		{"word", "unknown: Pass", []string{`1:10: unknown: "Pass": did you mean pass? Want one of pass, refuse, resolve`}},
		{"no word", "unknown: [pass]", []string{"1:10: unknown: a list: want one of pass, resolve, refuse"}},
		{"balancer", service("balancer: p2c"), []string{`4:15: services.users.balancer: "p2c": want one of least_request, peak_ewma, random, round_robin, shortest_expected_delay`}},
		{"balancer without name", service("balancer: {choices: 2}"), []string{"4:15: services.users.balancer: the key name is missing"}},
		{"balancer option", service("balancer: {name: least_request, choices: 1}"), []string{"services.users.balancer.choices: 1: want 2 to 32"}},
		{"balancer without options", service("balancer: {name: random, choices: 2}"), []string{`services.users.balancer: unknown key "choices": random has no options`}},
		{"network", "refuseAddrs: [10.0.0.0/8, 10.0.0.1]", []string{`1:27: refuseAddrs[1]: "10.0.0.1": want a network such as 10.0.0.0/8, or non_public`}},
		{"no target", "services:\n  a: {host: x}", []string{"2:3: services.a: the key target is missing"}},
		{"empty service", "services:\n  a:", []string{"2:3: services.a: the key target is missing"}},
		{"target", "services:\n  a: {target: users}", []string{`2:7: services.a.target: discovery: target "users": no scheme`}},
		{"empty target", "services:\n  a: {target: \"\"}", []string{`2:15: services.a.target: "": want a URL`}},
		{"target of two kinds", "services:\n  a: {target: {dns: a, srv: b}}", []string{"2:15: services.a.target: 2 of the keys [static file dns srv prefer merge]: want exactly one"}},
		{"target of no kind", "services:\n  a: {target: {interval: 1s}}", []string{"2:15: services.a.target: 0 of the keys"}},
		{"endpoint", "services:\n  a: {target: {static: [\"a:b\"]}}", []string{`2:25: services.a.target.static[0]: "a:b": want a valid endpoint (tulle: endpoint addr "a:b": port "b": want 1 to 65535)`}},
		{"endpoint twice", "services:\n  a:\n    target:\n      static: [a:1,\n        {addr: a:1}]", []string{`5:9: services.a.target.static[1]: "a:1": want each address once, and it is already on line 4`}},
		{"endpoint without addr", "services:\n  a: {target: {static: [{zone: b}]}}", []string{"2:25: services.a.target.static[0]: the key addr is missing"}},
		{"interval of dns", "services:\n  a: {target: {dns: a, interval: 10ms}}", []string{`services.a.target: "a": want a target (discovery: dns a: Interval 10ms: want 1s to 24h`}},
		{"interval of a list", "services:\n  a: {target: {static: [], interval: 1s}}", []string{"services.a.target: the key interval: want none"}},
		{"zones of no subset", "services:\n  a: {target: {dns: a, byZone: true}}", []string{"services.a.target: the key byZone: want subset beside it"}},
		{"tolerance", "defaults: {locality: {tolerance: 1}}", []string{"1:34: defaults.locality.tolerance: 1: want 1.1 to 100, or 0"}},
		{"nothing to prefer", "services:\n  a: {target: {prefer: []}}", []string{"services.a.target: an empty list: want one target or more"}},
		{"part of a list", "services:\n  a: {target: {prefer: [static://a, dns://]}}", []string{`2:37: services.a.target.prefer[1]: "dns://": want a target (discovery: target "dns://"`}},
		{"leaf compares", service("retry: {minBackoff: 1s, maxBackoff: 500ms}"), []string{"4:13: services.users.retry.minBackoff: 1s: want at most maxBackoff, 500ms"}},
		{"leaf compares what is not there", "defaults:\n  retry: {maxBackoff: 1ms}", []string{"2:3: defaults.retry: minBackoff 25ms: want at most maxBackoff, 1ms"}},
		{"leaf of the defaults", "defaults:\n  ejection: {base: 10s, max: 5s}", []string{"2:14: defaults.ejection.base: 10s: want at most max, 5s"}},
		{"assembly compares", service("timeout: 1s\nattemptTimeout: 2s"), []string{"5:5: services.users.attemptTimeout: 2s: want at most timeout, 1s"}},
		{"assembly compares with the defaults", "defaults: {timeout: 1s}\n" + service("attemptTimeout: 2s"), []string{"5:5: services.users.attemptTimeout: 2s: want at most timeout, 1s"}},
		{"method", service("retry: {idempotent: [PUT, \"P T\"]}"), []string{`services.users.retry.idempotent: "P T": want an HTTP method`}},
		{"protocol", service("protocol: h2c\ntls: {}"), []string{"4:5: services.users.protocol: H2C: want Auto, as TLS is set"}},
		{"host", service("host: http://a"), []string{`4:5: services.users.host: "http://a": want host or host:port`}},
		{"syntax", "a: [1,\nb: 2", []string{"3:1: while parsing a flow sequence from line 1 on: did not find expected"}},
		{"syntax of JSON", `{"services": {`, []string{"1:"}},
		{"unknown anchor", "services: *a", []string{"1:11: unknown anchor 'a' referenced"}},
		{"second document", "unknown: pass\n---\nunknown: refuse", []string{"3:1: a second document: want one"}},
		{"no mapping", "5", []string{"1:1: 5: want a mapping"}},
		{"list as a key", "services:\n  ? [a, b]\n  : {target: static://a}", []string{"2:5: services: a list is a key: want text"}},
		{"number as a key", "services:\n  80: {target: static://a}", []string{"2:3: services: 80 is a key: want text, in quotes if need be"}},
		{"NUL", "services: \x00", []string{"1:11: a NUL byte: want text in UTF-8"}},
		{"Latin-1", "services:\n  caf\xe9: {}", []string{"2:6: byte 0xe9: want text in UTF-8"}},
		{"UTF-16", "\xff\xfea\x00", []string{"1:4: a NUL byte: want text in UTF-8"}},
		{"tab", "defaults:\n\ttimeout: 1s", []string{"2:1: while scanning for the next token from line 2 on: found character that cannot start any token"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := parse(tt.text)
			got := lines(err)
			if len(got) != 1 {
				t.Fatalf("got %d errors, want 1:\n%v", len(got), err)
			}
			if !strings.HasPrefix(got[0], "tulle.yaml:") {
				t.Errorf("got %q, want the name of the file first", got[0])
			}
			for _, want := range tt.want {
				if !strings.Contains(got[0], want) {
					t.Errorf("got  %s\nwant %s", got[0], want)
				}
			}
		})
	}
}

// All errors come in one go, in the order of the lines, from the decoder, the
// leaves and the assembly alike.
func TestErrorsAllAtOnce(t *testing.T) {
	_, err := parse(`defaults:
  timeout: 2
  retry: {attempts: 11, minBackoff: 1s}
services:
  users:
    target: static://127.0.0.1:1,127.0.0.1:1
    retries: 3
  orders:
    target: dns://${NOWHERE}
    ejection: {base: 10s, max: 5s}
`)
	var got []string
	for _, p := range config.Problems(err) {
		got = append(got, fmt.Sprintf("%d:%d %s", p.Line, p.Column, p.Key))
	}
	want := []string{
		"2:12 defaults.timeout", "3:21 defaults.retry.attempts", "6:5 services.users.target", "7:5 services.users",
		"9:13 services.orders.target", "10:16 services.orders.ejection.base",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s\nof\n%v", strings.Join(got, "\n"), strings.Join(want, "\n"), err)
	}
}

// An error about what the program says has no line.
func TestErrorsOfTheProgram(t *testing.T) {
	base := transport.Config{Defaults: transport.Policy{Timeout: 1}}
	_, err := config.Parse("tulle.yaml", []byte(service("")), config.Options{Base: base})
	want := "tulle.yaml: the program's settings: Defaults.Timeout 1ns: want 1ms to 24h0m0s"
	if err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("got %v, want %s", err, want)
	}
}

// A file full of errors does not flood a log.
func TestErrorsAreBounded(t *testing.T) {
	text := "services:\n"
	for i := range 500 {
		text += fmt.Sprintf("  s%d: {host: %s}\n", i, strings.Repeat("x", 1000))
	}
	_, err := parse(text + "  " + strings.Repeat("y", 5000) + ": {hots: 1}\n")
	if n := len(config.Problems(err)); n != 100 {
		t.Errorf("got %d problems, want 100", n)
	}
	if len(err.Error()) > 40_000 || !strings.HasSuffix(err.Error(), "and 402 problems more") {
		t.Errorf("got %d bytes that end in %q", len(err.Error()), err.Error()[len(err.Error())-40:])
	}
}

func TestOptionsValidate(t *testing.T) {
	o := config.Options{Interval: 1, Settle: -1, MaxSettle: 1}
	for _, use := range []struct {
		name string
		call func() error
	}{
		{"Validate", o.Validate},
		{"Parse", func() error { _, err := config.Parse("x", nil, o); return err }},
		{"Load", func() error { _, err := config.Load("x", o); return err }},
		{"New", func() error { _, err := config.New("x", o); return err }},
		{"Open", func() error { _, _, err := config.Open("x", o); return err }},
	} {
		if got := lines(use.call()); len(got) != 3 || !strings.Contains(got[0], "Interval: 1ns: want 10ms to 1h") {
			t.Errorf("%s: got %q, want three errors", use.name, got)
		}
	}
	if err := new(config.Options).Validate(); err != nil {
		t.Errorf("zero Options: %v", err)
	}
}
