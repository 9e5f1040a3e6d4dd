package measure_test

import (
	"testing"

	"github.com/tullemesh/tulle/internal/leak"
)

func TestMain(m *testing.M) { leak.Main(m) }
