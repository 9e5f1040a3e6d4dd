package dns_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tullemesh/tulle/internal/dnstest"
)

// A server is a name server in a process of its own, on a port of the loopback
// interface that stays the same when it is started again.
type server struct {
	t    *testing.T
	addr string
	dir  string
	make func() *exec.Cmd
	cmd  *exec.Cmd
	out  bytes.Buffer // read it when the process has ended only
	end  chan error
}

// program finds an executable, or skips the test.
func program(t *testing.T, name string) string {
	t.Helper()
	for _, dir := range append(filepath.SplitList(os.Getenv("PATH")), "/usr/sbin", "/sbin") {
		path := filepath.Join(dir, name)
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return path
		}
	}
	t.Skipf("SKIPPED, THIS IS NOT TESTED: %s is not installed; internal/rig/tools.sh installs it", name)
	return ""
}

// freeAddr is an address that is free for UDP and TCP at this moment.
func freeAddr(t *testing.T) string {
	t.Helper()
	for range 20 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		p, err := net.ListenPacket("udp", l.Addr().String())
		_ = l.Close()
		if err == nil {
			_ = p.Close()
			return l.Addr().String()
		}
	}
	t.Fatal("got no port that is free for UDP and TCP in 20 tries")
	return ""
}

// start runs the server and waits until it answers for name.
func (s *server) start(name string) {
	s.t.Helper()
	s.out.Reset()
	s.cmd, s.end = s.make(), make(chan error, 1)
	s.cmd.Stdout, s.cmd.Stderr = &s.out, &s.out
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	go func(cmd *exec.Cmd, end chan<- error) { end <- cmd.Wait() }(s.cmd, s.end)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if _, err := dnstest.At(s.addr).LookupNetIP(ctx, "ip4", name); err == nil {
			return
		}
		select {
		case err := <-s.end:
			s.cmd = nil
			s.t.Fatalf("the server has ended (%v) and said\n%s", err, s.out.String())
		case <-ctx.Done():
			s.t.Fatalf("the server at %s does not answer for %s within 20s", s.addr, name)
		case <-tick.C:
		}
	}
}

// stop ends the process and waits for that. It may be called when none runs.
func (s *server) stop() {
	s.t.Helper()
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	late := time.NewTimer(10 * time.Second)
	defer late.Stop()
	select {
	case <-s.end:
	case <-late.C:
		_ = s.cmd.Process.Kill()
		<-s.end
	}
	s.cmd = nil
	if s.t.Failed() {
		s.t.Logf("%s said\n%s", s.addr, s.out.String())
	}
}

// file writes a file of the server.
func (s *server) file(name, text string) {
	s.t.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, name), []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// dir is a folder with a short name, as the names of Unix sockets have a limit.
func dir(t *testing.T) string {
	t.Helper()
	d, err := os.MkdirTemp("", "tulle-dns-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(d) })
	return d
}

// A knot is Knot DNS with the zone mesh.test, which takes updates, and the zone
// broken.test, which it cannot load.
type knot struct {
	server
	update string // the program
}

const knotConf = `
server:
  listen: %[2]s
  rundir: %[1]s
  pidfile: %[1]s/knot.pid
  udp-workers: 1
  tcp-workers: 1
  background-workers: 1
database:
  storage: %[1]s/db
log:
  - target: stderr
    any: info
acl:
  - id: up
    address: 127.0.0.1
    action: update
zone:
  - domain: mesh.test
    file: %[1]s/mesh.test.zone
    acl: up
    zonefile-sync: -1
    journal-content: changes
  - domain: broken.test
    file: %[1]s/absent.zone
`

// zone is what mesh.test begins with. All other records come by updates.
const zone = `$ORIGIN mesh.test.
$TTL 1
@ IN SOA ns hostmaster 1 60 60 60 1
@ IN NS ns
ns IN A 127.0.0.1
`

// startKnot runs a Knot until the test ends.
func startKnot(t *testing.T) *knot {
	t.Helper()
	knotd := program(t, "knotd")
	k := &knot{server: server{t: t, addr: freeAddr(t), dir: dir(t)}, update: program(t, "knsupdate")}
	k.make = func() *exec.Cmd { return exec.Command(knotd, "-c", filepath.Join(k.dir, "knot.conf")) }
	k.file("knot.conf", fmt.Sprintf(knotConf, k.dir, strings.ReplaceAll(k.addr, ":", "@")))
	k.file("mesh.test.zone", zone)
	if err := os.Mkdir(filepath.Join(k.dir, "db"), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(k.stop)
	k.start("ns.mesh.test.")
	return k
}

// change is one dynamic update (RFC 2136), each line such as
// "add web.mesh.test. 1 A 192.0.2.1".
func (k *knot) change(lines ...string) {
	k.t.Helper()
	host, port, _ := net.SplitHostPort(k.addr)
	script := fmt.Sprintf("server %s %s\nzone mesh.test.\n", host, port)
	for _, line := range lines {
		script += "update " + line + "\n"
	}
	cmd := exec.Command(k.update)
	cmd.Stdin = strings.NewReader(script + "send\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		k.t.Fatalf("knsupdate: %v\n%s%s", err, script, out)
	}
}

// purge drops the zone, which is SERVFAIL from then on. Start restores it as it
// was at first, when its file is written again.
func (k *knot) purge() {
	k.t.Helper()
	cmd := exec.Command(program(k.t, "knotc"), "-c", filepath.Join(k.dir, "knot.conf"), "zone-purge", "-f", "mesh.test")
	if out, err := cmd.CombinedOutput(); err != nil {
		k.t.Fatalf("knotc: %v\n%s", err, out)
	}
}

// startDnsmasq runs dnsmasq with further arguments until the test ends, and waits
// until it answers for name.
func startDnsmasq(t *testing.T, name string, args ...string) *server {
	t.Helper()
	path := program(t, "dnsmasq")
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	s := &server{t: t, addr: freeAddr(t), dir: dir(t)}
	_, port, _ := net.SplitHostPort(s.addr)
	s.make = func() *exec.Cmd {
		return exec.Command(path, append([]string{
			"--keep-in-foreground", "--conf-file=/dev/null", "--port=" + port, "--listen-address=127.0.0.1", "--bind-interfaces",
			"--no-resolv", "--no-hosts", "--pid-file=", "--user=" + me.Username, "--log-facility=-",
		}, args...)...)
	}
	t.Cleanup(s.stop)
	s.start(name)
	return s
}
