package dns_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tullemesh/tulle/discovery"
	"github.com/tullemesh/tulle/internal/dnstest"
)

// searchRun marks the process in which the search domains are ours.
const searchRun = "TULLE_DNS_SEARCH_RUN"

// resolvConf is that of a pod in Kubernetes, in short.
const resolvConf = "nameserver 127.0.0.1\nsearch a.test b.test\noptions ndots:5\n"

// A failure in one search domain and "not found" in the next ones is "not found"
// for package net. The set must not be drained for that. The test runs itself
// again in a name space of its own, as the search domains are in a file of the
// machine.
func TestSearchDomains(t *testing.T) {
	if os.Getenv(searchRun) != "" {
		dnstest.Prepare()
		synctest.Test(t, searchDomains)
		return
	}
	t.Parallel()
	conf := filepath.Join(t.TempDir(), "resolv.conf")
	if err := os.WriteFile(conf, []byte(resolvConf), 0o644); err != nil {
		t.Fatal(err)
	}
	inside := func(script string) *exec.Cmd {
		return exec.Command("unshare", "--map-root-user", "--mount", "sh", "-c", script, "sh", conf, os.Args[0])
	}
	if out, err := inside(`mount --bind "$1" /etc/resolv.conf`).CombinedOutput(); err != nil {
		t.Skipf("SKIPPED, THIS IS NOT TESTED: no name space for a resolv.conf of our own: %v: %s", err, out)
	}
	cmd := inside(`mount --bind "$1" /etc/resolv.conf && exec "$2" -test.run='^TestSearchDomains$' -test.v`)
	cmd.Env = append(os.Environ(), searchRun+"=1")
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS: TestSearchDomains") {
		t.Errorf("in a name space of its own: got %v, want success:\n%s", err, out)
	}
}

// searchDomains runs in virtual time.
func searchDomains(t *testing.T) {
	s := dnstest.New()
	t.Cleanup(func() { _ = s.Close() })
	s.Set("users.a.test.", dnstest.Addr("192.0.2.1"))
	s.Set("_http._tcp.users.a.test.", dnstest.SRV(0, 0, 80, "users.a.test."))
	for _, r := range []discovery.Resolver{
		discovery.DNS{Host: "users", Port: "80", Resolver: s.Pipe()},
		discovery.SRV{Name: "_http._tcp.users", Resolver: s.Pipe()},
	} {
		w := start(t, r)
		w.set([]string{"192.0.2.1:80 0 1"})
		for _, name := range []string{"users.a.test.", "_http._tcp.users.a.test."} {
			s.Break(name, 0, dnstest.ServFail)
		}
		w.holds(time.Hour)
		for _, name := range []string{"users.a.test.", "_http._tcp.users.a.test."} {
			s.Break(name, 0, dnstest.Absent)
		}
		w.set(nil) // now nobody knows the name
		for _, name := range []string{"users.a.test.", "_http._tcp.users.a.test."} {
			s.Break(name, 0, dnstest.None)
		}
	}
}
