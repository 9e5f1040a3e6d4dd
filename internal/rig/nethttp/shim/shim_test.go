package shim_test

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/tullemesh/tulle/internal/leak"
	"github.com/tullemesh/tulle/internal/rig/nethttp/shim"
)

func TestMain(m *testing.M) { leak.Main(m) }

func TestBareIsTheTransportItself(t *testing.T) {
	t.Setenv(shim.ModeEnv, shim.Bare)
	tr := &http.Transport{}
	if shim.Wrap(t, tr) != shim.Client(tr) || shim.Front(tr) != http.RoundTripper(tr) || shim.Under(tr) != tr {
		t.Error("got a wrapper in mode bare")
	}
}

// Each mode gives one wrapper for one transport, which requests go through and
// are counted in.
func TestModes(t *testing.T) {
	s := httptest.NewServer(http.NotFoundHandler())
	defer s.Close()
	counts := filepath.Join(t.TempDir(), "count")
	t.Setenv(shim.CountEnv, counts)
	for _, mode := range []string{shim.Identity, shim.Pass, shim.Resolve} {
		t.Run(mode, func(t *testing.T) {
			t.Setenv(shim.ModeEnv, mode)
			tr := &http.Transport{}
			rt := shim.Wrap(t, tr)
			if rt == shim.Client(tr) || shim.Wrap(t, tr) != rt || shim.Under(rt) != tr {
				t.Error("got no wrapper, or another one the second time")
			}
			front := shim.Front(http.RoundTripper(&http.Transport{DisableKeepAlives: true}))
			for _, client := range []http.RoundTripper{rt, front} {
				resp, err := (&http.Client{Transport: client}).Get(s.URL)
				if err != nil {
					t.Fatal(err)
				}
				if err := resp.Body.Close(); err != nil || resp.StatusCode != http.StatusNotFound {
					t.Errorf("got %s, %v, want 404", resp.Status, err)
				}
			}
			rt.CloseIdleConnections()
		})
	}
	shim.Finish()
	if got, err := os.ReadFile(counts); err != nil || string(got) != "6" {
		t.Errorf("got count %q, %v, want 6", got, err)
	}
}
