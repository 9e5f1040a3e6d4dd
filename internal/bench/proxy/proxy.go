// Package proxy starts the proxies that stand in for a sidecar: haproxy and
// nginx, from the system's packages, on the loopback interface.
package proxy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"text/template"
	"time"

	"github.com/tullemesh/tulle/internal/bench/measure"
)

// ErrMissing means that the program is not installed.
var ErrMissing = errors.New("proxy: not installed; internal/bench/tools.sh installs it")

// A Kind is a program that can be a proxy.
type Kind struct {
	Name string
	Note string

	version []string // arguments that make it tell its version
	start   []string // arguments; %d is its folder, %c the file of its configuration
	config  *template.Template
}

// Kinds are those that there are.
func Kinds() []Kind {
	return []Kind{
		{
			Name:    "haproxy",
			Note:    "one hop over loopback, two random choices, connections kept to all instances, no log, no TLS, a thread for each processor",
			version: []string{"-v"},
			start:   []string{"-db", "-f", "%c"},
			config:  haproxyConfig,
		},
		{
			Name:    "nginx",
			Note:    "the same, with a worker for each processor",
			version: []string{"-v"},
			start:   []string{"-p", "%d", "-c", "%c", "-e", "%d/error.log"},
			config:  nginxConfig,
		},
	}
}

// haproxyConfig are haproxy's defaults but for what the documentation of
// http-reuse advises for servers of one application.
var haproxyConfig = template.Must(template.New("haproxy").Parse(`
global
	maxconn 4096
defaults
	mode http
	timeout connect 5s
	timeout client 60s
	timeout server 60s
	http-reuse always
frontend in
	bind {{.Addr}}
	default_backend svc
backend svc
	balance random(2)
{{range $i, $s := .Servers}}	server s{{$i}} {{$s}}
{{end}}`))

// nginxConfig are nginx's defaults but for kept connections, set up as the
// documentation of keepalive in ngx_http_upstream_module says.
var nginxConfig = template.Must(template.New("nginx").Parse(`
daemon off;
worker_processes auto;
{{if .Root}}user root;{{end}}
pid {{.Dir}}/pid;
error_log {{.Dir}}/error.log error;
events { worker_connections 4096; }
http {
	access_log off;
	client_body_temp_path {{.Dir}}/body;
	proxy_temp_path {{.Dir}}/proxy;
	fastcgi_temp_path {{.Dir}}/fastcgi;
	uwsgi_temp_path {{.Dir}}/uwsgi;
	scgi_temp_path {{.Dir}}/scgi;
	upstream svc {
		random two least_conn;
{{range .Servers}}		server {{.}};
{{end}}		keepalive 128;
	}
	server {
		listen {{.Addr}};
		location / {
			proxy_pass http://svc;
			proxy_http_version 1.1;
			proxy_set_header Connection "";
		}
	}
}
`))

// Version is what the program says of itself, in one line.
func (k Kind) Version() (string, error) {
	path, err := k.find()
	if err != nil {
		return "", err
	}
	out, err := exec.Command(path, k.version...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("proxy: %s: %w", k.Name, err)
	}
	line, _, _ := strings.Cut(string(out), "\n")
	return strings.TrimSpace(line), nil
}

// find is where the program is; not every user has its folder on the path.
func (k Kind) find() (string, error) {
	for _, name := range []string{k.Name, "/usr/sbin/" + k.Name} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("%w: %s", ErrMissing, k.Name)
}

// A Proxy is a running one. Close ends it.
type Proxy struct {
	Addr string

	dir string
	cmd *exec.Cmd
	out bytes.Buffer
}

// setting is what the configurations are filled with.
type setting struct {
	Dir, Addr string
	Servers   []string
	Root      bool
}

// Start starts a proxy in front of the servers and waits until it listens. The
// error is ErrMissing if the program is not there.
func (k Kind) Start(ctx context.Context, servers []string) (*Proxy, error) {
	path, err := k.find()
	if err != nil {
		return nil, err
	}
	p := &Proxy{}
	if p.Addr, err = freeAddr(); err != nil {
		return nil, fmt.Errorf("proxy: %s: %w", k.Name, err)
	}
	if p.dir, err = os.MkdirTemp("", "tulle-bench-"); err != nil {
		return nil, fmt.Errorf("proxy: %s: %w", k.Name, err)
	}
	file := filepath.Join(p.dir, "config")
	var config bytes.Buffer
	err = k.config.Execute(&config, setting{p.dir, p.Addr, servers, os.Geteuid() == 0})
	if err == nil {
		err = os.WriteFile(file, config.Bytes(), 0o600)
	}
	if err == nil {
		var args []string
		for _, a := range k.start {
			args = append(args, strings.NewReplacer("%d", p.dir, "%c", file).Replace(a))
		}
		p.cmd = exec.Command(path, args...)
		p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.out
		err = p.cmd.Start()
	}
	if err != nil {
		return nil, fmt.Errorf("proxy: %s: %w", k.Name, errors.Join(err, os.RemoveAll(p.dir)))
	}
	if err := p.await(ctx); err != nil {
		closing := p.Close() // first, since it waits for what the program says
		return nil, fmt.Errorf("proxy: %s: %w", k.Name, errors.Join(err, closing, errors.New(p.out.String())))
	}
	return p, nil
}

// PIDs are its processes.
func (p *Proxy) PIDs() []int {
	pid := p.cmd.Process.Pid
	return append(measure.Children(pid), pid)
}

// patience is how long a proxy may take to begin.
const patience = 30 * time.Second

// await waits until the proxy answers. That it listens does not say that the
// processes are there that do the work.
func (p *Proxy) await(ctx context.Context) error {
	ctx, stop := context.WithTimeout(ctx, patience)
	defer stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := p.ask(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("it does not answer: %w", err)
		}
	}
}

// ask has the proxy answer what is no request, so that no server gets it.
func (p *Proxy) ask(ctx context.Context) error {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", p.Addr)
	if err != nil {
		return err
	}
	end, _ := ctx.Deadline() // await has set one
	err = conn.SetDeadline(end)
	if err == nil {
		_, err = conn.Write([]byte("nonsense\r\n\r\n"))
	}
	if err == nil {
		_, err = conn.Read(make([]byte, 1))
	}
	return errors.Join(err, conn.Close())
}

// Close ends the proxy and waits for it.
func (p *Proxy) Close() error {
	err := p.cmd.Process.Signal(syscall.SIGTERM)
	if waiting := p.cmd.Wait(); waiting != nil && !ended(waiting) {
		err = errors.Join(err, waiting)
	}
	return errors.Join(err, os.RemoveAll(p.dir))
}

// ended says that the process ended as Close has asked it to: some programs
// report the signal as their status.
func ended(err error) bool {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return false
	}
	const signalled = 128
	status, ok := exit.Sys().(syscall.WaitStatus)
	return ok && (status.Signaled() && status.Signal() == syscall.SIGTERM || status.ExitStatus() == signalled+int(syscall.SIGTERM))
}

// freeAddr is an address that nobody listens at.
func freeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}
