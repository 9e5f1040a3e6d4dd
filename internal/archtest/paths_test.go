package archtest_test

import (
	"fmt"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// machinePath matches absolute paths that are true on one machine only. A name
// before the slash makes it part of a URL or of a relative path.
var machinePath = regexp.MustCompile(`(^|[^A-Za-z0-9._/>)}*-])/(tmp|root|home|work|Users|var/folders)/[A-Za-z0-9.]`)

// TestNoMachinePaths wants files that mean the same everywhere: no path of the
// machine they were written on, and no host that its modules came from.
func TestNoMachinePaths(t *testing.T) {
	hosts := registryHosts(t)
	for _, name := range repoFiles(t) {
		text := readRepo(t, name)
		if !utf8.ValidString(text) {
			continue // a binary
		}
		for i, line := range strings.Split(text, "\n") {
			if why := machineBound(line, hosts); why != "" {
				t.Errorf("%s:%d: %s", name, i+1, why)
			}
		}
	}
}

// machineBound says what in the line is bound to a machine, or "".
func machineBound(line string, hosts []string) string {
	if m := machinePath.FindString(line); m != "" {
		return fmt.Sprintf("a path of a machine: %q", m)
	}
	for _, h := range hosts {
		if strings.Contains(line, h) {
			return "the host of a proxy or registry that this machine is set up with"
		}
	}
	return ""
}

// registryHosts are the hosts that this machine is told to use. They are read
// from its settings, so that the test need not name any.
func registryHosts(t *testing.T) []string {
	t.Helper()
	out, err := run("go", "env", "GOPROXY", "GOSUMDB")
	if err != nil {
		t.Fatal(err)
	}
	settings := string(out)
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"} {
		settings += " " + os.Getenv(name)
	}
	return hostsIn(settings)
}

// hostsIn are the names with a dot among URLs and words; those of the loopback
// interface stand in many tests and tell nothing.
func hostsIn(settings string) []string {
	var hosts []string
	for _, word := range strings.FieldsFunc(settings, func(r rune) bool { return strings.ContainsRune(" \n,|", r) }) {
		if !strings.Contains(word, "://") {
			word = "https://" + word
		}
		u, err := url.Parse(word)
		if err != nil || !strings.Contains(u.Hostname(), ".") || strings.HasPrefix(u.Hostname(), "127.") {
			continue
		}
		hosts = append(hosts, u.Hostname())
	}
	return hosts
}

func TestNoMachinePathsFires(t *testing.T) {
	slash := "/" // so that this file does not break its own rule
	hosts := []string{"goproxy.example.com"}
	tests := []struct {
		line string
		want bool
	}{
		{"cd " + slash + "tmp/x", true},
		{`"` + slash + `home/me/src"`, true},
		{slash + "root/go", true},
		{"see " + slash + "Users/me", true},
		{"http://users/home/page", false},
		{"$HOME/tmp/x", false},
		{"./tmp/x", false},
		{slash + "tmp", false},
		{slash + "homepage/x", false},
		{"GOPROXY=https://goproxy.example.com", true},
		{"https://example.com", false},
	}
	for _, tt := range tests {
		if got := machineBound(tt.line, hosts); (got != "") != tt.want {
			t.Errorf("%q: got %q, want a message: %v", tt.line, got, tt.want)
		}
	}
	got := hostsIn("https://user:pw@a.example.com:80/x,direct|off\nsum.example.com http://127.0.0.1:3128\n")
	if want := []string{"a.example.com", "sum.example.com"}; !slices.Equal(got, want) {
		t.Errorf("hosts: got %q, want %q", got, want)
	}
}
