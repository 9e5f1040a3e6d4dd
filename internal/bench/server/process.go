package server

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strconv"
)

// A Process is a server in a process of its own.
type Process struct {
	cmd   *exec.Cmd
	until io.Closer
	ports ports
}

// Start starts the program again as a server. Close ends it.
func Start() (*Process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("server: %w", err)
	}
	p := &Process{cmd: exec.Command(self)}
	p.cmd.Env = append(os.Environ(), role+"=1")
	p.cmd.Stderr = os.Stderr
	if p.until, err = p.cmd.StdinPipe(); err != nil {
		return nil, fmt.Errorf("server: %w", err)
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("server: %w", err)
	}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("server: %w", err)
	}
	if err := json.NewDecoder(out).Decode(&p.ports); err != nil {
		_ = p.Close() // the error is that of the start
		return nil, fmt.Errorf("server: it did not say where it listens: %w", err)
	}
	return p, nil
}

// PID is the process.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// HTTP are n addresses of the HTTP server.
func (p *Process) HTTP(n int) []string { return Addrs(n, p.ports.HTTP) }

// GRPC are n addresses of the gRPC server.
func (p *Process) GRPC(n int) []string { return Addrs(n, p.ports.GRPC) }

// Ports are those of the two servers.
func (p *Process) Ports() (web, rpc int) { return p.ports.HTTP, p.ports.GRPC }

// Addrs are n loopback addresses with that port, from 127.0.1.0 on. A server
// listens at all of them. n is up to 16 million.
func Addrs(n, port int) []string {
	const first = 1 << 8
	all := make([]string, n)
	for i := range all {
		a := first + i
		all[i] = fmt.Sprintf("127.%d.%d.%d:%d", a>>16, a>>8&255, a&255, port)
	}
	return all
}

// Count is the number of calls that the server has answered.
func (p *Process) Count() (int64, error) {
	resp, err := http.Get("http://" + p.HTTP(1)[0] + countPath)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close() // read to its end
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(string(text), 10, 64)
}

// Close ends the server and waits for it.
func (p *Process) Close() error {
	_ = p.until.Close() // it has ended, or ends now
	return p.cmd.Wait()
}
