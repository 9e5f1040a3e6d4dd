package dnstest_test

import (
	"encoding/hex"
	"strings"
	"testing"

	"github.com/tullemesh/tulle/internal/dnstest"
)

// asked is a query for web.test. with the id 0x1234, recursion desired.
const asked = "123401000001000000000000" + "03776562" + "0474657374" + "00"

func unhex(t testing.TB, text string) []byte {
	b, err := hex.DecodeString(strings.ReplaceAll(text, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The bytes of RFC 1035, worked out by hand.
func TestWire(t *testing.T) {
	s := dnstest.New()
	defer s.Close()
	s.Set("web.test.", dnstest.Record{}, withTTL(dnstest.Addr("192.0.2.1"), 5), dnstest.SRV(1, 2, 80, "a."))
	s.Set("bare.test.")
	for _, c := range []struct{ name, query, want string }{
		{"A", asked + "00010001", "1234 8500 0001 0001 0000 0000" + "03776562 0474657374 00 0001 0001" + "c00c 0001 0001 00000005 0004 c0000201"},
		{"SRV", asked + "00210001", "1234 8500 0001 0001 0000 0000" + "03776562 0474657374 00 0021 0001" + "c00c 0021 0001 00000000 0009 0001 0002 0050 016100"},
		{"none of the type", asked + "001c0001", "1234 8500 0001 0000 0001 0000" + "03776562 0474657374 00 001c 0001" +
			"00 0006 0001 00000000 0024 026e7300 0a686f73746d617374657200" + strings.Repeat("00000000", 5)},
		{"class CH", asked + "00010003", "1234 8001 0000 0000 0000 0000"},
		{"two questions", "123401000002" + asked[12:] + "00010001", "1234 8001 0000 0000 0000 0000"},
		{"an answer", "12348100" + asked[8:] + "00010001", "1234 8001 0000 0000 0000 0000"},
		{"a pointer in the name", "123401000001000000000000c00c00010001", "1234 8001 0000 0000 0000 0000"},
		{"cut in the name", asked[:len(asked)-4], "1234 8001 0000 0000 0000 0000"},
		{"cut in the type", asked + "0001", "1234 8001 0000 0000 0000 0000"},
		{"cut in the header", asked[:22], ""},
	} {
		got := s.Answer(unhex(t, c.query), "tcp")
		if want := unhex(t, c.want); string(got) != string(want) {
			t.Errorf("%s: got %x, want %x", c.name, got, want)
		}
	}
}

func withTTL(r dnstest.Record, ttl uint32) dnstest.Record {
	r.TTL = ttl
	return r
}

// FuzzAnswer: no message panics, and answers repeat the id.
func FuzzAnswer(f *testing.F) {
	for _, text := range []string{asked + "00010001", asked + "001c0001", asked, asked[:24], "", "1234010000010000000000013f"} {
		f.Add(unhex(f, text))
	}
	s := dnstest.New()
	f.Cleanup(func() { _ = s.Close() })
	s.Set("web.test.", dnstest.Addr("192.0.2.1"))
	f.Fuzz(func(t *testing.T, msg []byte) {
		for _, network := range []string{"udp", "tcp"} {
			a := s.Answer(msg, network)
			if len(msg) >= 12 && (len(a) < 12 || a[0] != msg[0] || a[1] != msg[1]) {
				t.Fatalf("got %x for %x, want an answer with its id", a, msg)
			}
		}
	})
}
