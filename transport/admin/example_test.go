package admin_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/tullemesh/tulle/discovery"
	"github.com/tullemesh/tulle/transport"
	"github.com/tullemesh/tulle/transport/admin"
	"github.com/tullemesh/tulle/transport/telemetry"
)

func ExampleNew() {
	t, err := transport.New(transport.Config{
		Services: map[string]transport.Service{
			"users": {Resolver: discovery.Static{{Addr: "10.0.0.1:80"}, {Addr: "10.0.0.2:80"}}},
		},
		Telemetry: telemetry.Config{Sample: 10}, // ten calls a second are recorded
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer t.Close()
	if err := t.Ready(context.Background(), "users"); err != nil {
		fmt.Println(err)
		return
	}

	h, err := admin.New(t, admin.Config{Title: "shop"})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer h.Close()
	mux := http.NewServeMux()
	mux.Handle("/mesh/", http.StripPrefix("/mesh", h))

	// http.ListenAndServe("localhost:8089", mux) would serve the page at
	// http://localhost:8089/mesh/. A script asks for its JSON.
	w := httptest.NewRecorder()
	mux.ServeHTTP(w, httptest.NewRequest("GET", "/mesh/snapshot.json", nil))
	var state admin.State
	if err := json.Unmarshal(w.Body.Bytes(), &state); err != nil {
		fmt.Println(err)
		return
	}
	for _, s := range state.Services {
		fmt.Println(s.Name, "has", s.States.Healthy, "healthy endpoints")
	}
	// Output: users has 2 healthy endpoints
}
