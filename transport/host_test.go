package transport

import (
	"net/url"
	"testing"
)

// Whatever stands in the host of a URL, looking its service up does no harm, and
// its canonical form is that of itself.
func FuzzServiceHost(f *testing.F) {
	for _, s := range []string{"users", "USERS.:80", "[::1]:80", "[::1]", "::1", ":", ":80", "", ".", "a:b:c", "[", "]:", "users:"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, host string) {
		canonical := canonicalHost(host)
		tb := &table{services: map[string]*entry{"users": {name: "users"}}}
		if s := tb.find(host); s != nil && canonicalHost(canonical) != "users" && len(canonical) < len("users") {
			t.Errorf("%q was taken for users", host)
		}
		if name, port, ok := splitPort(canonical); ok && name+":"+port != canonical {
			t.Errorf("%q was split into %q and %q", canonical, name, port)
		}
		key, err := serviceKey(host)
		if err != nil {
			return
		}
		if u, err := url.Parse("http://" + key + "/"); err == nil && canonicalHost(u.Host) != key {
			t.Errorf("service %q has the key %q, and its URL the host %q", host, key, u.Host)
		}
	})
}
