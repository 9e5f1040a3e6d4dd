package http2_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"text/template"
	"time"

	"github.com/tullemesh/tulle/internal/rig/http2/badserver"
)

// nginxConfig is a proxy in front of one backend, listening at several
// addresses.
var nginxConfig = template.Must(template.New("nginx").Parse(`
daemon off;
worker_processes 1;
{{if .Root}}user root;{{end}}
pid {{.Dir}}/pid;
error_log {{.Dir}}/error.log error;
events { worker_connections 512; }
http {
	access_log off;
	client_body_temp_path {{.Dir}}/body;
	proxy_temp_path {{.Dir}}/proxy;
	fastcgi_temp_path {{.Dir}}/fastcgi;
	uwsgi_temp_path {{.Dir}}/uwsgi;
	scgi_temp_path {{.Dir}}/scgi;
	{{.Settings}}
	{{range .Addrs}}
	server {
		listen {{.}} {{if $.TLS}}ssl{{end}} http2;
		{{if $.TLS}}
		ssl_certificate {{$.Dir}}/cert.pem;
		ssl_certificate_key {{$.Dir}}/key.pem;
		{{end}}
		location / { proxy_pass http://{{$.Backend}}; }
	}
	{{end}}
}
`))

// nginx is a running nginx.
type nginx struct {
	Dir, Settings, Backend string
	Addrs                  []string
	TLS, Root              bool

	cmd *exec.Cmd
	out bytes.Buffer
}

// startNginx starts nginx in front of backend. The test is skipped where there
// is no nginx.
func startNginx(t *testing.T, p protocol, backend, settings string, cert *tls.Config) *nginx {
	t.Helper()
	path, err := exec.LookPath("nginx")
	if err != nil {
		path, err = exec.LookPath("/usr/sbin/nginx") // not on the path of every user
	}
	if err != nil {
		t.Skip("SKIPPED, THIS IS NOT TESTED: nginx is not installed; internal/rig/tools.sh installs it")
	}
	n := &nginx{Dir: t.TempDir(), Settings: settings, Backend: backend, TLS: p.secure(), Root: os.Geteuid() == 0, Addrs: freeAddrs(t, endpoints)}
	if n.TLS {
		n.writeCertificate(t, cert)
	}
	var config bytes.Buffer
	if err := nginxConfig.Execute(&config, n); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(n.Dir, "nginx.conf")
	if err := os.WriteFile(file, config.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	n.cmd = exec.Command(path, "-p", n.Dir, "-c", file, "-e", filepath.Join(n.Dir, "error.log"))
	n.cmd.Stdout, n.cmd.Stderr = &n.out, &n.out
	if err := n.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.stop(t) })
	n.await(t)
	return n
}

// stop ends nginx and waits for it.
func (n *nginx) stop(t *testing.T) {
	if err := n.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Errorf("nginx: %v", err)
	}
	if err := n.cmd.Wait(); err != nil {
		t.Errorf("nginx: %v", err)
	}
	if t.Failed() {
		log, _ := os.ReadFile(filepath.Join(n.Dir, "error.log")) // it is there for people only
		t.Logf("nginx said: %s%s", n.out.String(), log)
	}
}

// await waits until nginx accepts connections.
func (n *nginx) await(t *testing.T) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for range 500 {
		c, err := net.Dial("tcp", n.Addrs[len(n.Addrs)-1])
		if err == nil {
			_ = c.Close() // it was only a question
			return
		}
		<-tick.C
	}
	t.Fatal("nginx does not listen")
}

// freeAddrs finds addresses that nobody listens at.
func freeAddrs(t *testing.T, n int) []string {
	t.Helper()
	addrs := make([]string, n)
	for i := range addrs {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close() // all at the end, so that no address comes twice
		addrs[i] = l.Addr().String()
	}
	return addrs
}

// writeCertificate writes a certificate and its key where the configuration
// says.
func (n *nginx) writeCertificate(t *testing.T, cert *tls.Config) {
	t.Helper()
	key, err := x509.MarshalPKCS8PrivateKey(cert.Certificates[0].PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{
		"cert.pem": {Type: "CERTIFICATE", Bytes: cert.Certificates[0].Certificate[0]},
		"key.pem":  {Type: "PRIVATE KEY", Bytes: key},
	} {
		if err := os.WriteFile(filepath.Join(n.Dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// Nginx ends connections after a number of requests by GOAWAY, allows few
// streams, and replaces its workers on a reload. None of it costs a call.
func TestNginx(t *testing.T) {
	for name, c := range map[string]struct {
		settings string
		reload   bool
		dials    int64 // that show that it has happened, at least
	}{
		"goaway all the time": {settings: "keepalive_requests 5;", dials: 3 * perKind / 5},
		"one stream":          {settings: "http2_max_concurrent_streams 1;", dials: endpoints + 1},
		"reload":              {reload: true, dials: 2 * endpoints},
		"all of it":           {settings: "keepalive_requests 5; http2_max_concurrent_streams 2;", reload: true, dials: 3 * perKind / 5},
	} {
		t.Run(name, func(t *testing.T) {
			protocols(t, allHTTP2, func(t *testing.T, p protocol) {
				ledger := new(badserver.Ledger)
				backend := startGo(t, &goServer{handler: answers(ledger, time.Millisecond)})
				cert, roots := certificate(t)
				n := startNginx(t, p, backend.addr, c.settings, cert)
				base, dials := countDials(p)
				client, url := newClient(t, options{protocol: p, endpoints: n.Addrs, roots: roots, base: base})
				list := calls(get, post, stream)
				runWhile(t, client, url, list, func(ticks <-chan struct{}) {
					for range ticks {
						if !c.reload {
							continue
						}
						if err := n.cmd.Process.Signal(syscall.SIGHUP); err != nil {
							t.Errorf("reload: %v", err)
						}
					}
				})
				if got := dials.Load(); got < c.dials {
					t.Errorf("got %d connections, want %d: nginx did not do what it was set to do", got, c.dials)
				}
				// net/http gives no proof for a connection that ends while it is
				// set up, so a POST may fail there; it must not be executed twice.
				v := verdict{ledger: ledger, postMayFail: true, streamMayFail: true, slowest: slow}
				v.judge(t, list)
			})
		})
	}
}
