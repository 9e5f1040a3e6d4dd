package route_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tullemesh/tulle/transport/route"
)

// key is a key for signatures.
func key() route.SigningKey {
	return route.SigningKey{ID: "k1", Secret: []byte("0123456789abcdef0123456789abcdef")}
}

// signedConfig wants signatures.
func signedConfig(keys ...route.SigningKey) route.Config {
	cfg := overridable()
	cfg.Override.RequireSignature, cfg.Override.Keys = true, keys
	return cfg
}

// TestWireFormat pins what is signed: others may have to make it.
func TestWireFormat(t *testing.T) {
	text, err := route.Sign([]route.Override{{Service: "users", Environment: "staging"}, {Service: "orders", Environment: "local"}}, key(), time.Unix(1_800_000_060, 0))
	if err != nil {
		t.Fatal(err)
	}
	covered := "orders=local;users=staging@k1.1800000060"
	h := hmac.New(sha256.New, key().Secret)
	h.Write([]byte("tulle-route/1\n" + covered))
	if want := covered + "." + base64.RawURLEncoding.EncodeToString(h.Sum(nil)); text != want {
		t.Errorf("got %q, want %q", text, want)
	}
}

func TestSignature(t *testing.T) {
	text, err := route.Sign([]route.Override{{Service: "users", Environment: "staging"}}, key(), now().Add(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	next := route.SigningKey{ID: "k2", Secret: bytes.Repeat([]byte("n"), 32)}
	same := route.SigningKey{ID: "k1", Secret: bytes.Repeat([]byte("x"), 32)}
	notRequired := signedConfig(next)
	notRequired.Override.RequireSignature = false
	noKeys := notRequired
	noKeys.Override.Keys = nil
	for _, test := range []struct {
		name string
		cfg  route.Config
		text string
		late time.Duration
		why  string // "" when honoured
	}{
		{"good", signedConfig(key()), text, 0, ""},
		{"rotation", signedConfig(next, key()), text, 0, ""},
		{"last second", signedConfig(key()), text, time.Minute - 1, ""},
		{"expired", signedConfig(key()), text, time.Minute, "expired"},
		{"unsigned", signedConfig(key()), "users=staging", 0, "not signed"},
		{"unknown key", signedConfig(next), text, 0, "unknown key"},
		{"another secret", signedConfig(same), text, 0, "wrong"},
		{"other service", signedConfig(key()), strings.Replace(text, "users", "orders", 1), 0, "wrong"},
		{"longer", signedConfig(key()), strings.Replace(text, ".1800000060", ".1900000060", 1), 0, "wrong"},
		{"pair added", signedConfig(key()), "orders=local;" + text, 0, "wrong"},
		{"last bits", signedConfig(key()), text[:len(text)-1] + flip(text[len(text)-1]), 0, ""},
		{"unknown key, none required", notRequired, text, 0, "unknown key"},
		{"unsigned, none required", notRequired, "users=staging", 0, ""},
		{"no keys to check with", noKeys, text, 0, ""},
	} {
		tb := table(t, test.cfg)
		service := "users"
		if test.name == "other service" {
			service = "orders"
		}
		d := tb.Decide(&route.Input{Service: service, Overrides: tb.Overrides(t.Context(), with(test.text), now().Add(test.late))})
		if test.name == "last bits" { // no second text for one MAC
			if d.Overridden {
				t.Errorf("last bits: got it honoured, want it refused")
			}
			continue
		}
		if d.Overridden != (test.why == "") || !strings.Contains(d.Refused, test.why) {
			t.Errorf("%s: got overridden %v, refused %q, want %q", test.name, d.Overridden, d.Refused, test.why)
		}
	}
}

// TestMaxExpiry: the end of a signature that lies too far ahead is refused, so that a
// text which leaks is no key for years; it counts once its end is near enough.
func TestMaxExpiry(t *testing.T) {
	for _, test := range []struct {
		limit, ahead time.Duration
		honoured     bool
	}{
		{0, 24 * time.Hour, true},
		{0, 24*time.Hour + time.Second, false},
		{0, 200 * 365 * 24 * time.Hour, false},
		{time.Minute, time.Minute, true},
		{time.Minute, time.Minute + time.Second, false},
		{720 * time.Hour, 720 * time.Hour, true},
		{720 * time.Hour, 721 * time.Hour, false},
	} {
		text, err := route.Sign([]route.Override{{Service: "users", Environment: "staging"}}, key(), now().Add(test.ahead))
		if err != nil {
			t.Fatal(err)
		}
		for _, required := range []bool{true, false} {
			cfg := signedConfig(key())
			cfg.Override.MaxExpiry, cfg.Override.RequireSignature = test.limit, required
			tb := table(t, cfg)
			d := tb.Decide(&route.Input{Service: "users", Overrides: tb.Overrides(t.Context(), with(text), now())})
			if d.Overridden != test.honoured || !test.honoured && !strings.Contains(d.Refused, "maxExpiry") {
				t.Errorf("limit %v, %v ahead: got overridden %v, refused %q", test.limit, test.ahead, d.Overridden, d.Refused)
			}
			later := now().Add(test.ahead - time.Second)
			if d := tb.Decide(&route.Input{Service: "users", Overrides: tb.Overrides(t.Context(), with(text), later)}); !d.Overridden {
				t.Errorf("limit %v, in the last second: got refused %q, want it honoured", test.limit, d.Refused)
			}
		}
	}
}

// flip is another base64 digit that differs in its last bits only.
func flip(c byte) string {
	const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	return string(digits[strings.IndexByte(digits, c)^1])
}

// TestUnchecked: what nobody has checked, or somebody with other keys, is not
// honoured.
func TestUnchecked(t *testing.T) {
	text, err := route.Sign([]route.Override{{Service: "users", Environment: "staging"}}, key(), now().Add(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	tb, other := table(t, signedConfig(key())), table(t, signedConfig(key()))
	raw, err := route.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	for name, o := range map[string]*route.Overrides{
		"raw": raw, "by another table": other.Overrides(t.Context(), with(text), now()),
	} {
		if d := tb.Decide(&route.Input{Service: "users", Overrides: o}); d.Overridden || !strings.Contains(d.Refused, "not checked") {
			t.Errorf("%s: got overridden %v, refused %q, want it refused as not checked", name, d.Overridden, d.Refused)
		}
	}
	// From the context, the same table or the next one checks again.
	ctx := route.WithHeader(t.Context(), other.Overrides(t.Context(), with(text), now()))
	if d := tb.Decide(&route.Input{Service: "users", Overrides: tb.Overrides(ctx, nil, now())}); !d.Overridden {
		t.Errorf("got refused %q, want it checked and honoured", d.Refused)
	}
	if d := tb.Decide(&route.Input{Service: "users", Overrides: tb.Overrides(ctx, nil, now().Add(time.Hour))}); d.Overridden {
		t.Error("got it honoured after its end, want it refused")
	}
}

// TestSignedTextTravelsWhole: the next hop must be able to check it.
func TestSignedTextTravelsWhole(t *testing.T) {
	text, err := route.Sign([]route.Override{{Service: "users", Environment: "staging"}}, key(), now().Add(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	tb := table(t, signedConfig(key()))
	ctx := route.With(t.Context(), route.Override{Service: "orders", Environment: "local"})
	if got := tb.Overrides(ctx, with(text), now()).String(); got != text {
		t.Errorf("got %q, want %q", got, text)
	}
}

// TestSecretsStayInside: a printed Config has no secret in it.
func TestSecretsStayInside(t *testing.T) {
	cfg := signedConfig(key())
	data, err := json.Marshal(cfg)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{fmt.Sprint(cfg), fmt.Sprintf("%+v", cfg), fmt.Sprintf("%#v", cfg.Override), string(data)} {
		if strings.Contains(text, "MDEyMzQ1") || strings.Contains(text, "48 49 50 51") || strings.Contains(text, "0x30, 0x31") {
			t.Errorf("got the secret in %s", text)
		}
	}
}

func TestSignErrors(t *testing.T) {
	good := []route.Override{{Service: "users", Environment: "staging"}}
	for name, test := range map[string]struct {
		overrides []route.Override
		key       route.SigningKey
		expires   time.Time
		want      string
	}{
		"none":         {nil, key(), now(), "at least one"},
		"bad name":     {[]route.Override{{Service: "a;b", Environment: "x"}}, key(), now(), `"a;b=x"`},
		"twice":        {append(good, good...), key(), now(), "once"},
		"short secret": {good, route.SigningKey{ID: "k", Secret: []byte("short")}, now(), "key.secret 5: want 16 to 1024 bytes"},
		"bad id":       {good, route.SigningKey{ID: "k.1", Secret: key().Secret}, now(), `key.id "k.1"`},
		"no time":      {good, key(), time.Time{}, "expires"},
		"far":          {good, key(), time.Unix(1e12, 0), "expires"},
	} {
		text, err := route.Sign(test.overrides, test.key, test.expires)
		if err == nil || !strings.Contains(err.Error(), test.want) || text != "" {
			t.Errorf("%s: got %q, %v, want an error with %q", name, text, err, test.want)
		}
		if err != nil && strings.Contains(err.Error(), string(test.key.Secret)) {
			t.Errorf("%s: the error tells the secret", name)
		}
	}
}
