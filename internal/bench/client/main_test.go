package client_test

import (
	"os"
	"testing"

	"github.com/tullemesh/tulle/internal/bench/client"
	"github.com/tullemesh/tulle/internal/bench/server"
)

// There is no look for goroutines that are left: go-zero starts some in every
// program that links it.
func TestMain(m *testing.M) {
	client.Quiet()
	server.Main()
	os.Exit(m.Run())
}
