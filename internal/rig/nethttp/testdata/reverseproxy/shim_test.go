package httputil

import (
	"os"
	"testing"

	rigshim "github.com/tullemesh/tulle/internal/rig/nethttp/shim"
)

func TestMain(m *testing.M) {
	code := m.Run()
	rigshim.Finish()
	os.Exit(code)
}
