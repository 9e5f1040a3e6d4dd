package route

import (
	"cmp"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// macDomain begins what is signed, so that a MAC made for something else with
// the same secret is none here.
const macDomain = "tulle-route/1\n"

// signature is the signed end of a header.
type signature struct {
	keyID   string
	expires int64 // Unix time, seconds
	mac     []byte
	text    string // what was signed
}

// keyring is the keys of one Table, or none, and for how long they may sign.
type keyring struct {
	secrets   map[string][]byte
	maxExpiry time.Duration
}

// Sign returns the text of a header with the overrides, honoured until expires
// by all who have the key. The text says so in clear; what it adds is that only
// a holder of the key can have written it. Whoever sees it can use it again
// until then, for any request: keep the time short. What lies further ahead than
// OverridePolicy.MaxExpiry, 24 h by default, is refused.
//
// The signature is the ID of the key, the Unix time of the end, and the MAC in
// base64url without padding, joined by dots. The MAC is HMAC-SHA256 over
// "tulle-route/1", a line feed, and the text before the last dot.
func Sign(overrides []Override, key SigningKey, expires time.Time) (string, error) {
	pairs := make(map[string]string, len(overrides))
	var errs []error
	for _, o := range overrides {
		_, err := parsePair(o.Service + "=" + o.Environment)
		if _, twice := pairs[o.Service]; twice {
			err = fmt.Errorf("route: override of %q: want it once", o.Service)
		}
		errs = append(errs, err)
		pairs[o.Service] = o.Environment
	}
	p := problems{path: "key", to: &found{}}
	key.validate(p)
	if len(overrides) == 0 {
		errs = append(errs, errors.New("route: no overrides: want at least one"))
	}
	if expires.Unix() <= 0 || expires.Unix() > maxExpiry {
		errs = append(errs, fmt.Errorf("route: expires %v: want a time from 1970 to 5138", expires))
	}
	text, err := format(pairs)
	if err = errors.Join(append(append(errs, err), p.to.errs...)...); err != nil {
		return "", err
	}
	text += "@" + key.ID + "." + strconv.FormatInt(expires.Unix(), 10)
	text += "." + base64.RawURLEncoding.EncodeToString(macOf(text, key.Secret))
	if len(text) > maxOverrideText {
		return "", fmt.Errorf("route: signed overrides of %d bytes: want up to %d", len(text), maxOverrideText)
	}
	return text, nil
}

// maxExpiry keeps the time to 11 digits.
const maxExpiry = 99_999_999_999

// macOf is the MAC of a text.
func macOf(text string, secret []byte) []byte {
	h := hmac.New(sha256.New, secret)
	h.Write([]byte(macDomain))
	h.Write([]byte(text))
	return h.Sum(nil)
}

// parseSignature reads the part of text behind "@".
func parseSignature(text, sig string) (*signature, error) {
	bad := fmt.Errorf("route: signature %.200q: want key-id.expiry.mac", sig)
	id, rest, _ := strings.Cut(sig, ".")
	expiry, code, ok := strings.Cut(rest, ".")
	if !ok || !isKeyID(id) || expiry == "" || len(expiry) > 11 || expiry[0] == '0' || !isDigits(expiry) {
		return nil, bad
	}
	mac, err := base64.RawURLEncoding.Strict().DecodeString(code)
	if err != nil || len(mac) != sha256.Size || strings.ContainsAny(code, "\r\n") {
		return nil, bad
	}
	expires, err := strconv.ParseInt(expiry, 10, 64)
	if err != nil {
		return nil, bad
	}
	return &signature{keyID: id, expires: expires, mac: mac, text: text[:len(text)-len(code)-1]}, nil
}

// isDigits says that a text is a number.
func isDigits(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < '0' || r > '9' })
}

// isKeyID says that the ID of a key can be written.
func isKeyID(s string) bool {
	return s != "" && len(s) <= 32 && !strings.ContainsFunc(s, func(r rune) bool {
		return !isLabelRune(r) && (r < 'A' || r > 'Z') && r != '_'
	})
}

// check looks at the signature of a header, at the time now, and notes the
// result. A Table with other keys checks for itself.
func (t *Table) check(o *Overrides, now time.Time) {
	switch {
	case o.text == "": // none, or one that could not be read
	case o.signed == nil:
		o.keys = nil
		o.why = ""
		if t.policy.RequireSignature {
			o.why = whyUnsigned
		}
	case t.keys == nil:
		o.keys, o.why = nil, ""
	default:
		o.keys, o.why = t.keys, t.keys.refuses(o.signed, now)
	}
}

// refuses says why a signature is not good, or "".
func (k *keyring) refuses(s *signature, now time.Time) string {
	secret, known := k.secrets[s.keyID]
	switch {
	case !known:
		return whyUnknownKey
	case !hmac.Equal(macOf(s.text, secret), s.mac):
		return whyBadMAC
	case now.Unix() >= s.expires:
		return whyExpired
	case s.expires-now.Unix() > int64(k.maxExpiry/time.Second):
		return whyTooFar
	}
	return ""
}

// addOverrides makes the policy of a Config that has been checked.
func (t *Table) addOverrides(cfg *Config) {
	t.policy = cfg.Override
	t.policy.Keys, t.policy.Services, t.policy.Environments = nil, nil, nil
	t.byHeader = len(cfg.Override.Services) > 0
	for i := range t.envs {
		t.envs[i].allowed = listed(cfg.Override.Environments, t.envs[i].name)
	}
	if len(cfg.Override.Keys) == 0 {
		return
	}
	t.keys = &keyring{secrets: map[string][]byte{}, maxExpiry: cmp.Or(cfg.Override.MaxExpiry, defaultMaxExpiry)}
	for _, k := range cfg.Override.Keys {
		t.keys.secrets[k.ID] = append([]byte(nil), k.Secret...)
	}
}
