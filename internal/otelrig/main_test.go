package otelrig_test

import (
	"fmt"
	"os"
	"testing"

	"github.com/tullemesh/tulle/internal/leak"
)

// serverEnv has the test program be the servers instead.
const serverEnv = "TULLE_OTELRIG_SERVER"

func TestMain(m *testing.M) {
	if collector := os.Getenv(serverEnv); collector != "" {
		if err := runServers(collector); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	leak.Main(m)
}
