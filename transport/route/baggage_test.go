package route_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/tullemesh/tulle/transport/route"
)

func TestReadBaggage(t *testing.T) {
	for _, test := range []struct {
		header map[string][]string
		want   string
	}{
		{nil, ""},
		{map[string][]string{"Baggage": {"user=7,region=eu"}}, ""},
		{map[string][]string{"Baggage": {"tulle-route=users%3Dstaging"}}, "users=staging"},
		{map[string][]string{"Baggage": {"user=7 , tulle-route = users%3Dstaging%3Borders%3Dlocal ;ttl=1, x=y"}}, "orders=local;users=staging"},
		{map[string][]string{"Baggage": {"user=7", "tulle-route=users%3Dstaging"}}, "users=staging"},
		{map[string][]string{"Baggage": {"tulle-route=users=staging"}}, "users=staging"}, // "=" may stand in a value
		{map[string][]string{"Baggage": {"x=tulle-route"}}, ""},
		{map[string][]string{"Baggage": {"tulle-route-2=users%3Dstaging"}}, ""},
		{map[string][]string{"Baggage": {"tulle-route=a%3Db,tulle-route=a%3Dc"}}, "error"},
		{map[string][]string{"Baggage": {"tulle-route=%zz"}}, "error"},
		{map[string][]string{"Baggage": {"tulle-route="}}, "error"},
		{map[string][]string{"Baggage": {"tulle-route=nonsense"}}, "error"},
		{map[string][]string{"Baggage": {strings.Repeat("a=b,", 2100) + "tulle-route=a%3Db"}}, "error"},
		{map[string][]string{"Baggage": {"tulle-route=a%3Db"}, route.Header: {"a=c"}}, "a=c"},
		{map[string][]string{route.Header: {"a=b", "a=c"}}, "error"},
	} {
		o, err := route.Read(test.header)
		got := o.String()
		if err != nil {
			got = "error"
		}
		if got != test.want {
			t.Errorf("%.80v: got %q (%v), want %q", test.header, got, err, test.want)
		}
	}
}

func TestWrite(t *testing.T) {
	o, err := route.Parse("users=staging;orders=local")
	if err != nil {
		t.Fatal(err)
	}
	old := []string{"user=7;p=1", " tulle-route=x%3Dy ", "a=b"}
	header := map[string][]string{"Baggage": old, route.Header: {"x=y"}}
	o.Write(header)
	if err := o.WriteBaggage(header); err != nil {
		t.Fatal(err)
	}
	if got, want := header[route.Header][0], "orders=local;users=staging"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := header["Baggage"], "user=7;p=1,a=b,tulle-route=orders%3Dlocal%3Busers%3Dstaging"; len(got) != 1 || got[0] != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if old[1] != " tulle-route=x%3Dy " {
		t.Errorf("got %q, want the caller's slice unchanged", old)
	}
	var none *route.Overrides
	none.Write(header)
	if err := none.WriteBaggage(header); err != nil {
		t.Fatal(err)
	}
	if got := header["Baggage"]; header[route.Header] != nil || len(got) != 1 || got[0] != "user=7;p=1,a=b" {
		t.Errorf("got %v, want ours gone", header)
	}
}

func TestBaggageIsFull(t *testing.T) {
	o, err := route.Parse("users=staging")
	if err != nil {
		t.Fatal(err)
	}
	var members []string
	for i := range 64 {
		members = append(members, fmt.Sprintf("k%d=v", i))
	}
	for name, full := range map[string]string{"bytes": "k=" + strings.Repeat("v", 8180), "members": strings.Join(members, ",")} {
		header := map[string][]string{"Baggage": {full}}
		if err := o.WriteBaggage(header); !errors.Is(err, route.ErrBaggage) || header["Baggage"][0] != full {
			t.Errorf("%s: got %v, want ErrBaggage and the header as it was", name, err)
		}
	}
}

func TestStrip(t *testing.T) {
	header := map[string][]string{
		"Tulle-Route": {"a=b"}, "tulle-route": {"a=b"}, "TULLE-ROUTE": {"a=b"},
		"Baggage": {"user=7,tulle-route=a%3Db"}, "baggage": {"tulle-route=a%3Db"},
		"X-Other": {"tulle-route"}, "Tulle-Timeout": {"1S"},
	}
	route.Strip(header)
	if got, want := slices.Sorted(maps.Keys(header)), []string{"Baggage", "Tulle-Timeout", "X-Other"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if got := header["Baggage"]; len(got) != 1 || got[0] != "user=7" {
		t.Errorf("got %q, want the others' members", got)
	}
	untouched := map[string][]string{"Baggage": {"user=7, a=b", "c=d"}}
	route.Strip(untouched)
	if got := untouched["Baggage"]; len(got) != 2 || got[0] != "user=7, a=b" {
		t.Errorf("got %q, want it as it was", got)
	}
}

// TestBaggageRoundTrip: signed text survives, and baggage cannot hide overrides
// in what is not ours.
func TestBaggageRoundTrip(t *testing.T) {
	text, err := route.Sign([]route.Override{{Service: "users:80", Environment: "staging"}}, key(), now())
	if err != nil {
		t.Fatal(err)
	}
	o, err := route.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	header := map[string][]string{}
	if err := o.WriteBaggage(header); err != nil {
		t.Fatal(err)
	}
	back, err := route.Read(header)
	if err != nil || back.String() != text {
		t.Errorf("got %q, %v, want %q", back, err, text)
	}
}
