package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tullemesh/tulle/transport/config"
)

// parse reads a file of the name tulle.yaml, with these variables.
func parse(text string, env ...string) (*config.Result, error) {
	return config.Parse("tulle.yaml", []byte(text), config.Options{LookupEnv: variables(env...)})
}

// variables are an environment of names and values in turn.
func variables(env ...string) func(string) (string, bool) {
	return func(name string) (string, bool) {
		for i := 0; i+1 < len(env); i += 2 {
			if env[i] == name {
				return env[i+1], true
			}
		}
		return "", false
	}
}

// mustParse is parse of what must be good.
func mustParse(t *testing.T, text string, env ...string) *config.Result {
	t.Helper()
	r, err := parse(text, env...)
	if err != nil {
		t.Fatalf("Parse: %v", err)
	}
	return r
}

// write puts files into a folder, name and content in turn.
func write(t testing.TB, dir string, files ...string) {
	t.Helper()
	for i := 0; i+1 < len(files); i += 2 {
		path := filepath.Join(dir, files[i])
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(files[i+1]), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// lines are the lines of an error, none for nil.
func lines(err error) []string {
	if err == nil {
		return nil
	}
	return strings.Split(err.Error(), "\n")
}

// replace puts a file in the place of another at one stroke.
func replace(t testing.TB, dir, name, text string) {
	t.Helper()
	write(t, dir, name+".new", text)
	if err := os.Rename(filepath.Join(dir, name+".new"), filepath.Join(dir, name)); err != nil {
		t.Fatal(err)
	}
}
