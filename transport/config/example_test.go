package config_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/tullemesh/tulle/transport"
	"github.com/tullemesh/tulle/transport/config"
)

// folder makes a folder with the file tulle.yaml in it.
func folder(text string) (dir string, remove func()) {
	dir, err := os.MkdirTemp("", "config")
	if err != nil {
		panic(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "tulle.yaml"), []byte(text), 0o600); err != nil {
		panic(err)
	}
	return dir, func() { _ = os.RemoveAll(dir) }
}

// Open is what most programs want: a Transport, and a Loader that keeps it up to
// date.
func ExampleOpen() {
	dir, remove := folder("services: {users: {target: static://127.0.0.1:8080}}")
	defer remove()

	t, loader, err := config.Open(filepath.Join(dir, "tulle.yaml"), config.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer t.Close()
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- loader.Run(ctx, t.Update) }()

	fmt.Println(t.Ready(ctx, "users"))
	stop()
	fmt.Println(<-done)
	// Output:
	// <nil>
	// context canceled
}

// New is for programs that make the Transport themselves, or do something else
// with new settings.
func ExampleNew() {
	dir, remove := folder("defaults: {timeout: 2s}")
	defer remove()

	loader, err := config.New(filepath.Join(dir, "tulle.yaml"), config.Options{
		OnReload: func(s config.Status) { fmt.Println(s.Version, s.LastError) },
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	t, err := transport.New(loader.Result().Transport)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer t.Close()
	fmt.Println(loader.Result().Transport.Defaults.Timeout)
	// Output: 2s
}

// Parse tells everything that is wrong at once.
func ExampleParse() {
	_, err := config.Parse("tulle.yaml", []byte(`
defaults:
  timeout: 2
  retry: {atempts: 3}
services:
  users: {target: "dns://${USERS_HOST}"}
`), config.Options{LookupEnv: func(string) (string, bool) { return "", false }})
	for _, p := range config.Problems(err) {
		fmt.Printf("line %d: %s\n", p.Line, p.Key)
	}
	fmt.Println(err)
	// Output:
	// line 3: defaults.timeout
	// line 4: defaults.retry
	// line 6: services.users.target
	// tulle.yaml:3:12: defaults.timeout: 2 has no unit: want a duration such as 1s or 250ms: 1ms to 24h, or none
	// tulle.yaml:4:11: defaults.retry: unknown key "atempts": did you mean attempts? Want one of attempts, budget, dark, idempotent, maxBackoff, maxRetryAfter, minBackoff, replay
	// tulle.yaml:6:19: services.users.target: the reference ${USERS_HOST}: the environment has no such variable
}

// Settings tells what holds for a service, and where that was written.
func ExampleResult_Settings() {
	r, err := config.Parse("tulle.yaml", []byte("defaults: {timeout: 2s}\nservices:\n  users: {target: dns://users, attemptTimeout: 1s}\n"), config.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, s := range r.Settings("users", "") {
		if s.From != "default" {
			fmt.Println(s.Key, s.Value, s.From)
		}
	}
	// Output:
	// target dns://users tulle.yaml:3
	// timeout 2s tulle.yaml:1
	// attemptTimeout 1s tulle.yaml:3
}
