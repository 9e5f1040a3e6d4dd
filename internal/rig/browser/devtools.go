package browser

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"time"
)

// A Browser is a running Chromium.
type Browser struct {
	cmd  *exec.Cmd
	dir  string
	to   io.WriteCloser
	done chan struct{} // closed when nothing more is read

	mu      sync.Mutex
	next    int                     // guarded by mu: id of the last command
	waiting map[int]chan reply      // guarded by mu, nil at the end
	events  map[string]func(*event) // guarded by mu: by session
}

// reply is what comes back for a command, event what comes by itself.
type (
	reply struct {
		Result json.RawMessage `json:"result"`
		Error  *struct {
			Message string `json:"message"`
		} `json:"error"`
	}
	event struct {
		Method string          `json:"method"`
		Params json.RawMessage `json:"params"`
	}
)

// Find is the path of a Chromium, or an error.
func Find() (string, error) {
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", errors.New("browser: no chromium among the programs (internal/rig/tools.sh installs it)")
}

// Start runs the browser at path, with a profile of its own that goes with Close.
func Start(path string) (*Browser, error) {
	dir, err := os.MkdirTemp("", "tulle-browser")
	if err != nil {
		return nil, err
	}
	theirIn, ourOut, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	ourIn, theirOut, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(path, "--headless=new", "--remote-debugging-pipe", "--user-data-dir="+dir,
		"--no-first-run", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
		"--disable-sync", "--disable-quic",
		// Several tabs are looked at by turns; none may be slowed down for that.
		"--disable-background-timer-throttling", "--disable-backgrounding-occluded-windows", "--disable-renderer-backgrounding",
		"--disable-dev-shm-usage", "--hide-scrollbars", "--force-color-profile=srgb",
		"--no-sandbox") // it sees our own page only, and root cannot have the sandbox
	cmd.ExtraFiles = []*os.File{theirIn, theirOut} // descriptors 3 and 4
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	_ = theirIn.Close()
	_ = theirOut.Close()
	b := &Browser{
		cmd: cmd, dir: dir, to: ourOut, done: make(chan struct{}),
		waiting: map[int]chan reply{}, events: map[string]func(*event){},
	}
	go b.read(ourIn)
	return b, nil
}

// Close ends the browser and waits for that.
func (b *Browser) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_ = b.call(ctx, "", "Browser.close", nil, nil) // where it fails, the pipe's end does it
	err := b.to.Close()
	<-b.done
	_ = b.cmd.Wait() // how it ends says nothing
	for range 50 {   // its helpers may be writing into the profile for a moment
		if err := os.RemoveAll(b.dir); err == nil {
			break
		}
	}
	return err
}

// read hands out what the browser says: texts, each with a NUL at its end.
func (b *Browser) read(from io.ReadCloser) {
	defer close(b.done)
	defer from.Close()
	in := bufio.NewReader(from)
	for {
		text, err := in.ReadBytes(0)
		if err != nil {
			break
		}
		var msg struct {
			ID      int    `json:"id"`
			Session string `json:"sessionId"`
			event
			reply
		}
		if json.Unmarshal(text[:len(text)-1], &msg) != nil {
			continue
		}
		b.mu.Lock()
		wait, hear := b.waiting[msg.ID], b.events[msg.Session]
		delete(b.waiting, msg.ID)
		b.mu.Unlock()
		if wait != nil {
			wait <- msg.reply
		} else if hear != nil && msg.Method != "" {
			hear(&msg.event)
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, wait := range b.waiting {
		close(wait)
	}
	b.waiting = nil
}

// call runs a command, in a session or "" for the browser itself.
func (b *Browser) call(ctx context.Context, session, method string, params, result any) error {
	wait := make(chan reply, 1)
	b.mu.Lock()
	if b.waiting == nil {
		b.mu.Unlock()
		return errors.New("browser: it has ended")
	}
	b.next++
	id := b.next
	b.waiting[id] = wait
	text, err := json.Marshal(struct {
		ID      int    `json:"id"`
		Method  string `json:"method"`
		Params  any    `json:"params,omitempty"`
		Session string `json:"sessionId,omitempty"`
	}{id, method, params, session})
	if err == nil {
		_, err = b.to.Write(append(text, 0))
	}
	b.mu.Unlock()
	if err != nil {
		return fmt.Errorf("browser: %s: %w", method, err)
	}
	select {
	case r, ok := <-wait:
		switch {
		case !ok:
			return fmt.Errorf("browser: %s: it has ended", method)
		case r.Error != nil:
			return fmt.Errorf("browser: %s: %s", method, r.Error.Message)
		case result != nil:
			return json.Unmarshal(r.Result, result)
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("browser: %s: %w", method, context.Cause(ctx))
	}
}
