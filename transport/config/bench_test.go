package config_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tullemesh/tulle/transport/config"
)

// fleet is a file with n services.
func fleet(n int) []byte {
	var b strings.Builder
	b.WriteString("defaults: {timeout: 2s, attemptTimeout: 500ms}\nservices:\n")
	for i := range n {
		fmt.Fprintf(&b, "  s%d:\n    target: dns://s%d.internal:8080\n    retry: {attempts: 4, idempotent: [PUT]}\n    rules:\n"+
			"    - {match: [{path: {prefix: /v%d}, method: GET}], timeout: 1s}\n", i, i, i)
	}
	return []byte(b.String())
}

func BenchmarkParse(b *testing.B) {
	for _, n := range []int{1, 100, 1000} {
		data := fleet(n)
		b.Run(fmt.Sprintf("%d services", n), func(b *testing.B) {
			b.SetBytes(int64(len(data)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := config.Parse("tulle.yaml", data, config.Options{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkSchema(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if len(config.Schema()) == 0 {
			b.Fatal("no schema")
		}
	}
}

func BenchmarkLoad(b *testing.B) {
	dir := b.TempDir()
	write(b, dir, "tulle.yaml", string(fleet(100)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := config.Load(filepath.Join(dir, "tulle.yaml"), config.Options{}); err != nil {
			b.Fatal(err)
		}
	}
}
