package config_test

import (
	"fmt"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tullemesh/tulle/transport/config"
)

// processorTime is what the process has used of it. Unlike the time of the clock it
// does not depend on what else the machine does.
func processorTime(t *testing.T) time.Duration {
	t.Helper()
	var use syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &use); err != nil {
		t.Fatal(err)
	}
	return time.Duration(use.Utime.Nano() + use.Stime.Nano())
}

// What would make a parser run out of memory, time or stack is an error.
func TestHazards(t *testing.T) {
	bomb := "x-0: &a0 [dns://a, dns://a, dns://a, dns://a, dns://a, dns://a, dns://a, dns://a, dns://a]\n"
	for i := 1; i < 9; i++ {
		ref := fmt.Sprintf("{merge: *a%d}", i-1)
		bomb += fmt.Sprintf("x-%d: &a%d [%s]\n", i, i, strings.TrimSuffix(strings.Repeat(ref+", ", 9), ", "))
	}
	laughs := "x-0: &a0 {timeout: 1s}\n"
	for i := 1; i < 30; i++ {
		ref := fmt.Sprintf("*a%d, ", i-1)
		laughs += fmt.Sprintf("x-%d: &a%d {<<: [%s]}\n", i, i, strings.TrimSuffix(strings.Repeat(ref, 9), ", "))
	}
	tests := []struct{ name, text, want string }{
		{"too large", strings.Repeat("#", 4<<20+1), "want at most 4194304"},
		{"aliases", bomb + "services: {s: {target: {merge: *a8}}}", "more than 250000 values"},
		{"merge keys", laughs + "defaults: {<<: *a29}", "more than 250000 values"},
		{"alias in itself", "services: {s: {target: &t {merge: [*t, *t]}}}", "nested deeper than 64: does an alias contain itself?"},
		{"alias of a list in itself", "services: {s: {target: {merge: &l [{merge: *l}]}}}", "nested deeper than 64"},
		{"merge of itself", "defaults: &d {<<: *d, timeout: 1s}", "nested deeper than 64"},
		{"flow depth", "a: " + strings.Repeat("[", 100_000), "exceeded max depth"},
		{"block depth", strings.Repeat("- ", 100_000), "exceeded max depth"},
		{"JSON depth", strings.Repeat(`{"a":`, 5000) + "1" + strings.Repeat("}", 5000), "nested deeper than 64"},
		{"many values", "services: [" + strings.Repeat("a,", 1<<20) + "a]", "want a mapping"},
		{"many endpoints", "services: {s: {target: {static: [" + strings.Repeat("a,", 1<<20) + "a]}}}", "more than 250000 values"},
		{"many documents", strings.Repeat("--- {}\n", 2000), "more than 1000 documents"},
		{"many keys", "services: {" + strings.Repeat("? a, ", 100_000) + "}", "is already on line"},
		{"long key", strings.Repeat("k", 1<<20) + ": 1", "1:1: "},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			began := processorTime(t)
			_, err := parse(tt.text)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %.300v, want %q", err, tt.want)
			}
			if err != nil && len(err.Error()) > 100_000 {
				t.Errorf("got an error of %d bytes", len(err.Error()))
			}
			if took := processorTime(t) - began; took > 20*time.Second {
				t.Errorf("took %v of the processor's time", took)
			}
		})
	}
}

// JSON says the same as YAML, in all that JSON allows.
func TestJSON(t *testing.T) {
	const text = "{\n\t\"defaults\": {\"timeout\": \"2s\", \"retry\": {\"attempts\": 4, \"budget\": {\"ratio\": 0.5}}},\n" +
		"\t\"services\": {\"users\": {\"target\": \"static:\\/\\/127.0.0.1:1\", \"external\": true, \"tls\": null}},\n" +
		"\t\"x-note\": \"\\ud83d\\ude00\"\n}\n"
	yaml := mustParse(t, "defaults: {timeout: 2s, retry: {attempts: 4, budget: {ratio: 0.5}}}\n"+
		"services: {users: {target: 'static://127.0.0.1:1', external: true}}\n")
	for _, name := range []string{"tulle.json", "tulle.yaml"} {
		r, err := config.Parse(name, []byte(text), config.Options{})
		if err != nil || !reflect.DeepEqual(r.Transport, yaml.Transport) {
			t.Errorf("%s: got %+v, %v, want %+v", name, r, err, yaml.Transport)
		}
	}
	marked := "\ufeff{\"services\": {\"users\": {\"target\": \"static://127.0.0.1:1\"}}}" // as some editors write it
	for _, name := range []string{"tulle.json", "tulle.yaml"} {
		if r, err := config.Parse(name, []byte(marked), config.Options{}); err != nil || len(r.Transport.Services) != 1 {
			t.Errorf("%s with a byte order mark: got %+v, %v", name, r, err)
		}
	}
	for text, want := range map[string]string{
		"{\n \"defaults\": {\"timeout\": \"1s\", \"timeout\": \"2s\"}}": `2:32: defaults: the key "timeout" is already on line 2`,
		"{\n \"unknown\": 5\n}":     "2:13: unknown: \"5\": want one of",
		"{\"unknown\": \"pass\",}":  "1:20: invalid character '}'",
		"{\"unknown\": \"pass\"} 5": "1:21: invalid character '5' after top-level value",
		"{\"unknown\": \"pass\"":    "1:18: unexpected end of JSON input",
		"":                          "1:1: the file is empty",
		"unknown: pass":             "1:1: invalid character 'u'",
		"{'unknown': 'pass'}":       "1:2: invalid character",
		"{\"services\": {\"a\": {\"host\": \"\\u0000\"}}}": "1:29: services.a.host: \"\\x00\": want text without control characters",
	} {
		_, err := config.Parse("tulle.json", []byte(text), config.Options{})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", text, err, want)
		}
	}
}
