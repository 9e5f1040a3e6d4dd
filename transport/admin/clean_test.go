package admin_test

import (
	"strings"
	"testing"

	"github.com/tullemesh/tulle/transport/admin"
)

func TestClean(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"", ""},
		{"connection refused", "connection refused"},
		{`Get "http://consul:8500/v1/health?token=s3cret": EOF`, `Get "http://consul:8500/v1/health?…": EOF`},
		{`Get "https://admin:s3cret@host/path": x`, `Get "https://host/path": x`},
		{"https://admin@host", "https://host"},
		{"https://a:b@c@host:80/p@q", "https://host:80/p@q"},
		{"see http://h/#s3cret now", "see http://h/#… now"},
		{"dns://h:80 and http://u:p@i/ and http://j/?q", "dns://h:80 and http://i/ and http://j/?…"},
		{`parse "http://u:s3/cret@host/": invalid port`, `parse "http://host/": invalid port`},
		{`parse "http://u:s3?cret@host/": invalid port`, `parse "http://host/": invalid port`},
		{"http://[::1]:80/a?b", "http://[::1]:80/a?…"},
		{"http://[::1]/a@b", "http://[::1]/a@b"},
		{"http://u:p@host?x=http://v:w@i/", "http://i/"}, // rather too little than too much
		{"://", "://"},
	} {
		if got := admin.Clean(c.text); got != c.want {
			t.Errorf("%q: got %q, want %q", c.text, got, c.want)
		}
	}
}

// Whatever stands around it, no login or query of a URL comes through, and to clean
// twice changes nothing.
func FuzzClean(f *testing.F) {
	f.Add("Get \"", "\": EOF", "u", "host:80")
	f.Add("", "", "", "")
	f.Add("a://b?c ", "@", "x:y", "[::1]")
	f.Fuzz(func(t *testing.T, before, after, user, host string) {
		const secret = "s3cr3t"
		for _, s := range []string{before, after, user, host} {
			if strings.Contains(s, secret) {
				t.Skip("it is no secret then")
			}
		}
		if strings.ContainsAny(user+host, " \t\r\n\"'`<>/?#@") || strings.HasSuffix(before, ":") || strings.HasSuffix(before, "/") {
			t.Skip("it is no URL then")
		}
		got := admin.Clean(before + " https://" + user + ":" + secret + "@" + host + "/p?k=" + secret + " " + after)
		if strings.Contains(got, secret) {
			t.Errorf("got %q", got)
		}
		if again := admin.Clean(got); again != got {
			t.Errorf("got %q, and then %q", got, again)
		}
	})
}
