package config_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/tullemesh/tulle/discovery"
	"github.com/tullemesh/tulle/transport/config"
)

func TestReferences(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "secrets/host", "from-file\n", "empty", "", "windows", "w\r\n", "large", strings.Repeat("x", 64<<10+1))
	tests := []struct{ text, want string }{ // an error begins with !
		{"${A}", "alpha"},
		{"x-${A}.${B}-y", "x-alpha.beta-y"},
		{"${file:secrets/host}", "from-file"},
		{"${file:" + dir + "/secrets/host}", "from-file"},
		{"${file:windows}", "w"},
		{"a${EMPTY}b", "ab"},
		{"$A", "$A"},
		{"a$$b", "a$$b"},
		{"${NESTED}", "!host or host:port"}, // "${A}" stays as it is, and is no host
		{"${NONE}", "!the reference ${NONE}: the environment has no such variable"},
		{"${a b}", "!the reference \"${a b}\": want ${NAME}"},
		{"${}", "!the reference \"${}\": want ${NAME}"},
		{"${A:-x}", "!want ${NAME}"},
		{"${A", "!a reference has no end"},
		{"${file:nowhere}", "!the reference ${file:nowhere}: stat: no such file"},
		{"${file:}", "!an empty path"},
		{"${file:large}", "!want at most 65536"},
		{"${file:secrets}", "!want a regular file"},
	}
	for _, tt := range tests {
		r, err := config.Parse(dir+"/tulle.yaml", []byte(service(fmt.Sprintf("host: %q", tt.text))), config.Options{
			LookupEnv: variables("A", "alpha", "B", "beta", "EMPTY", "", "NESTED", "${A}/"),
		})
		if want, bad := strings.CutPrefix(tt.want, "!"); bad {
			if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), ": services.users.host: ") {
				t.Errorf("%s: got %v, want %q", tt.text, err, want)
			}
			continue
		}
		if err != nil || r.Transport.Services["users"].Host != tt.want {
			t.Errorf("%s: got %+v, %v, want %q", tt.text, r, err, tt.want)
		}
	}
	r := mustParse(t, `services: {a: {target: {static: [{addr: a, name: "$${A} $$${A}"}]}}}`, "A", "alpha")
	if got := r.Transport.Services["a"].Resolver.(discovery.Static)[0].Name; got != "${A} $${A}" {
		t.Errorf("got %q, want the escape to end", got)
	}
}

// References stand in text only: a key or a number with one is an error, as a
// file whose shape depends on the environment cannot be checked.
func TestReferencesElsewhere(t *testing.T) {
	for _, text := range []string{
		service("${KEY}: 1s"), service("timeout: ${TIME}"), service("retry: {attempts: '${N}'}"),
		"unknown: ${UNKNOWN}", service("balancer: ${NAME}"), "${KEY}: {}",
	} {
		_, err := parse(text, "KEY", "timeout", "TIME", "1s", "N", "3", "UNKNOWN", "pass", "NAME", "random")
		if err == nil || !strings.Contains(err.Error(), "${") {
			t.Errorf("%q: got %v, want an error that names the reference", text, err)
		}
	}
}

// What a reference leads to is shown nowhere, whatever is wrong with it.
func TestSecretsAreNotShown(t *testing.T) {
	const secret = "hunter2 is/the:password"
	dir := t.TempDir()
	write(t, dir, "secret", secret)
	for _, ref := range []string{"${SECRET}", "${file:secret}", "x${SECRET}y"} {
		for _, text := range []string{
			"services: {a: {target: '%s'}}",
			"services: {a: {target: 'dns://%s'}}",
			"services: {a: {target: 'static://%s,%[1]s'}}",
			"services: {a: {target: {static: ['%s']}}}",
			"services: {a: {target: {static: [{addr: '%s'}]}}}",
			"services: {a: {target: {static: [{addr: a}, {addr: a, name: '%s'}]}}}",
			"services: {a: {target: {dns: '%s'}}}",
			"services: {a: {target: {srv: '%s'}}}",
			"services: {a: {target: {file: '%s', interval: 1ns}}}",
			"services: {a: {target: {prefer: ['dns://%s']}}}",
			"services: {a: {target: static://a, host: '%s'}}",
			"services: {a: {target: static://a, tls: {serverName: '%s'}}}",
			"services: {a: {target: static://a, tls: {caFile: '%s'}}}",
			"services: {a: {target: static://a, tls: {certFile: '%s', keyFile: '%[1]s'}}}",
			"services: {a: {target: static://a, retry: {idempotent: ['%s']}}}",
			"refuseAddrs: ['%s']",
			"defaults: {tls: {caFile: '%s'}}",
		} {
			text = fmt.Sprintf(text, ref)
			_, err := config.Parse(dir+"/tulle.yaml", []byte(text), config.Options{LookupEnv: variables("SECRET", secret)})
			if err == nil {
				t.Errorf("%s: got no error", text)
				continue
			}
			for _, part := range []string{"hunter2", "password"} {
				if strings.Contains(err.Error(), part) {
					t.Errorf("%s: the secret is in the error: %v", text, err)
				}
			}
		}
	}
}
