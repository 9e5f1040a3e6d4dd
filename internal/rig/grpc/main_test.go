package grpc_test

import (
	"os"
	"testing"

	"github.com/tullemesh/tulle/internal/leak"
)

// The test binary is also the client of one interop case, as those end their
// process when they fail.
func TestMain(m *testing.M) {
	if name := os.Getenv(caseVar); name != "" {
		os.Exit(runCase(name))
	}
	leak.Main(m)
}
