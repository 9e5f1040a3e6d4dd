package discovery_test

import (
	"fmt"
	"math"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/tullemesh/tulle/discovery"
)

// rec makes records out of "priority weight port target".
func recs(texts ...string) (records []*net.SRV) {
	for _, text := range texts {
		r := &net.SRV{}
		if _, err := fmt.Sscan(text, &r.Priority, &r.Weight, &r.Port, &r.Target); err != nil {
			r = nil
		}
		records = append(records, r)
	}
	return records
}

// hosted are targets with their addresses.
func hosted(texts map[string]string) map[string][]netip.Addr {
	ips := map[string][]netip.Addr{}
	for target, list := range texts {
		for text := range strings.FieldsSeq(list) {
			ips[target] = append(ips[target], netip.MustParseAddr(text))
		}
	}
	return ips
}

func TestSRVSet(t *testing.T) {
	ips := hosted(map[string]string{
		"a.": "192.0.2.1", "b.": "192.0.2.2", "c.": "192.0.2.3", "two.": "192.0.2.4 192.0.2.5", "also-a.": "192.0.2.1",
		"both.": "192.0.2.1 2001:db8::1 2001:db8::2", "six.": "2001:db8::1 192.0.2.1", "zed.": "192.0.2.1",
	})
	for _, c := range []struct {
		name    string
		records []*net.SRV
		want    []string
	}{
		{"weights as they are", recs("0 70 80 a.", "0 30 80 b."), []string{"192.0.2.1:80 a 0 70", "192.0.2.2:80 b 0 30"}},
		{"most", recs("65535 65535 65535 a."), []string{"192.0.2.1:65535 a 131070 65535"}},
		{"no weights", recs("0 0 80 a.", "0 0 80 b."), []string{"192.0.2.1:80 a 0 1", "192.0.2.2:80 b 0 1"}},
		{"0 beside others", recs("0 5 80 a.", "0 0 80 b."), []string{"192.0.2.1:80 a 0 5", "192.0.2.2:80 b 0 0.01"}},
		{"0 in another priority", recs("0 5 80 a.", "1 0 80 b."), []string{"192.0.2.1:80 a 0 5", "192.0.2.2:80 b 2 1"}},
		{"two addresses", recs("0 8 80 two.", "0 8 80 a."), []string{"192.0.2.1:80 a 0 8", "192.0.2.4:80 two 0 4", "192.0.2.5:80 two 0 4"}},
		{"two addresses, no weights", recs("0 0 80 two.", "0 0 80 a."), []string{"192.0.2.1:80 a 0 1", "192.0.2.4:80 two 0 0.5", "192.0.2.5:80 two 0 0.5"}},
		{"two families", recs("3 8 80 both."), []string{"192.0.2.1:80 both 6 8", "[2001:db8::1]:80 both 7 4", "[2001:db8::2]:80 both 7 4"}},
		{"two ports", recs("0 1 80 a.", "0 2 81 a."), []string{"192.0.2.1:80 a 0 1", "192.0.2.1:81 a 0 2"}},
		{"one address of two names", recs("0 1 80 a.", "0 2 80 also-a."), []string{"192.0.2.1:80 a 0 3"}},
		{"the same, preferred", recs("1 1 80 a.", "0 2 80 also-a."), []string{"192.0.2.1:80 also-a 0 2"}},
		{"the same, in the family that is used", recs("0 1 80 six.", "0 2 80 a.", "0 4 80 six."), []string{"192.0.2.1:80 a 0 2", "[2001:db8::1]:80 six 0 5"}},
		{"the same, first in the family that is not", recs("0 3 80 six.", "0 2 80 zed."), []string{"192.0.2.1:80 zed 0 2", "[2001:db8::1]:80 six 0 3"}},
		{"the same, in the family that is not", recs("0 3 80 six.", "0 2 80 also-a."), []string{"192.0.2.1:80 also-a 0 2", "[2001:db8::1]:80 six 0 3"}},
		{"upper case", recs("0 1 80 A."), []string{"192.0.2.1:80 a 0 1"}},
		{"no addresses", recs("0 1 80 unknown.", "0 1 80 a."), []string{"192.0.2.1:80 a 0 1"}},
		{"no service", recs("0 0 0 ."), nil},
		{"nothing", nil, nil},
	} {
		for range 3 { // any order
			got, err := discovery.SRVSet(c.records, ips)
			if text := shape(discovery.Update{Endpoints: got}); err != nil || !slices.Equal(text, c.want) {
				t.Errorf("%s: got %q, %v, want %q", c.name, text, err, c.want)
			}
			slices.Reverse(c.records)
		}
	}
}

// Records of a whole answer at one address stay in the range of a weight.
func TestSRVSetWeightIsBounded(t *testing.T) {
	var records []*net.SRV
	for range 100 {
		records = append(records, recs("0 65535 80 a.")...)
	}
	got, err := discovery.SRVSet(records, hosted(map[string]string{"a.": "192.0.2.1"}))
	if err != nil || len(got) != 1 || got[0].Weight != 1e6 || got[0].Validate() != nil {
		t.Errorf("got %v, %v, want one endpoint of weight 1e6", got, err)
	}
}

func TestSRVSetUnusable(t *testing.T) {
	for _, c := range []struct {
		records []*net.SRV
		want    string
	}{
		{recs("0 0 0 a."), `record "a." with port 0 cannot be used`},
		{recs("0 0 80 a:80"), `record "a:80" with port 80`},
		{recs("0 0 80 a/b"), `record "a/b"`},
		{recs("x"), "a record is nil"},
		{recs("0 0 0 a.", "0 0 0 b.", "0 0 0 c.", "0 0 0 d.", "0 0 0 e."), "and 2 more"},
	} {
		got, err := discovery.SRVSet(c.records, hosted(map[string]string{"a.": "192.0.2.1"}))
		if len(got) > 0 || err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got %v, %v, want an error with %q", got, err, c.want)
		}
	}
}

// FuzzSRVSet: whatever the records say, the set is one that can be used, and
// the target's share is that of its record.
func FuzzSRVSet(f *testing.F) {
	f.Add(uint16(0), uint16(0), uint16(80), "a.", uint16(0), uint16(7), uint16(80), "b.", uint8(3))
	f.Add(uint16(65535), uint16(65535), uint16(65535), "a.", uint16(1), uint16(0), uint16(0), ".", uint8(0))
	f.Add(uint16(1), uint16(1), uint16(1), "A\x00", uint16(1), uint16(0), uint16(9), "a.", uint8(255))
	f.Fuzz(func(t *testing.T, p1, w1, port1 uint16, t1 string, p2, w2, port2 uint16, t2 string, n uint8) {
		records := []*net.SRV{{Target: t1, Port: port1, Priority: p1, Weight: w1}, {Target: t2, Port: port2, Priority: p2, Weight: w2}}
		ips := map[string][]netip.Addr{}
		for i := range n % 8 {
			lower := strings.ToLower(t1)
			ips[lower] = append(ips[lower], netip.AddrFrom4([4]byte{10, 0, 0, i}))
			ips["b."] = append(ips["b."], netip.AddrFrom16([16]byte{0x20, 15: i}))
		}
		set, _ := discovery.SRVSet(records, ips)
		seen := map[string]bool{}
		sum := 0.0
		for i := range set {
			if err := set[i].Validate(); err != nil || seen[set[i].Addr] || set[i].Weight <= 0 {
				t.Fatalf("records %v, %v: got %v, %v, want valid endpoints with a weight, each once", *records[0], *records[1], set, err)
			}
			seen[set[i].Addr] = true
			sum += set[i].Weight
		}
		if len(set) > 0 && t1 != t2 && p1 != p2 && w1 > 0 && w2 > 0 && math.Abs(sum-float64(w1)) > 0.001 &&
			math.Abs(sum-float64(w2)) > 0.001 && math.Abs(sum-float64(w1)-float64(w2)) > 0.001 {
			t.Fatalf("records %v, %v: got the weight %v in all, want that of the records", *records[0], *records[1], sum)
		}
	})
}

func BenchmarkSRVSet(b *testing.B) {
	for _, size := range []int{10, 1000} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			var records []*net.SRV
			ips := map[string][]netip.Addr{}
			for i := range size {
				target := fmt.Sprintf("t%d.", i)
				records = append(records, &net.SRV{Target: target, Port: 80, Weight: 1})
				ips[target] = []netip.Addr{netip.AddrFrom4([4]byte{10, 0, byte(i / 256), byte(i)})}
			}
			b.ReportAllocs()
			for b.Loop() {
				if set, err := discovery.SRVSet(records, ips); err != nil || len(set) != size {
					b.Fatal(len(set), err)
				}
			}
		})
	}
}
