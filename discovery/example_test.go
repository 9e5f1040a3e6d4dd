package discovery_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/tullemesh/tulle"
	"github.com/tullemesh/tulle/discovery"
)

// show prints the first n updates of a watch and ends it.
func show(r discovery.Resolver, n int) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	_ = r.Watch(ctx, func(u discovery.Update) {
		if n--; n < 0 {
			return
		}
		if n == 0 {
			cancel()
		}
		if u.Err != nil {
			fmt.Println("error:", u.Err)
			return
		}
		var addrs []string
		for _, e := range u.Endpoints {
			addrs = append(addrs, e.Addr)
		}
		fmt.Println(strings.Join(addrs, " "))
	}, nil)
}

// Most programs name a source in one string.
func ExampleParse() {
	r, err := discovery.Parse("static://10.0.0.1:80,10.0.0.2:80")
	if err != nil {
		fmt.Println(err)
		return
	}
	show(r, 1)

	_, err = discovery.Parse("redis://users")
	fmt.Println(err)
	// Output:
	// 10.0.0.1:80 10.0.0.2:80
	// discovery: target "redis://users": unknown scheme "redis"; want static://host:port,host:port, file:///path, dns://host:port or srv://name, with ?subset=20 or without
}

func ExampleStatic() {
	show(discovery.Static{{Addr: "10.0.0.1:80"}, {Addr: "10.0.0.2:80", Zone: "b"}}, 1)
	// Output: 10.0.0.1:80 10.0.0.2:80
}

func ExampleParseStatic() {
	s, err := discovery.ParseStatic("10.0.0.1:80, 10.0.0.2:80")
	fmt.Println(len(s), err)

	_, err = discovery.ParseStatic("10.0.0.1:80,10.0.0.2:http")
	fmt.Println(err)
	// Output:
	// 2 <nil>
	// discovery: static: item 2: tulle: endpoint addr "10.0.0.2:http": port "http": want 1 to 65535
}

// The built-in form is a JSON array of strings, objects or both.
func ExampleFile() {
	path := filepath.Join(os.TempDir(), "tulle-example-file.json")
	defer os.Remove(path)
	text := `["10.0.0.1:80", {"addr": "10.0.0.2:80", "zone": "b", "weight": 2}]`
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		fmt.Println(err)
		return
	}
	show(discovery.File{Path: path}, 1)
	// Output: 10.0.0.1:80 10.0.0.2:80
}

// Any other form needs a func: here one address per line.
func ExampleFile_decode() {
	path := filepath.Join(os.TempDir(), "tulle-example-file.txt")
	defer os.Remove(path)
	if err := os.WriteFile(path, []byte("10.0.0.1:80\n10.0.0.2:80\n"), 0o600); err != nil {
		fmt.Println(err)
		return
	}
	show(discovery.File{Path: path, Decode: func(data []byte) ([]tulle.Endpoint, error) {
		var set []tulle.Endpoint
		lines := bufio.NewScanner(bytes.NewReader(data))
		for lines.Scan() {
			set = append(set, tulle.Endpoint{Addr: lines.Text()})
		}
		return set, lines.Err()
	}}, 1)
	// Output: 10.0.0.1:80 10.0.0.2:80
}

// hosts is a Lookup that answers out of a table.
type hosts map[string][]netip.Addr

func (h hosts) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	if ips, ok := h[host]; ok {
		return ips, nil
	}
	return nil, fmt.Errorf("no such host")
}

// The Resolver is given here so that the output is certain; leave it nil for
// that of the machine.
func ExampleDNS() {
	table := hosts{"users.internal": {netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2")}}
	show(discovery.DNS{Host: "users.internal", Port: "8080", Resolver: table}, 1)
	show(discovery.DNS{Host: "user.internal", Port: "8080", Resolver: table}, 1)
	// Output:
	// 10.0.0.1:8080 10.0.0.2:8080
	// error: discovery: dns user.internal: no such host
}

// A name that somebody else chooses must not lead into the own network.
func ExampleDNS_refuseAddrs() {
	table := hosts{"hook.example": {netip.MustParseAddr("169.254.169.254")}}
	show(discovery.DNS{Host: "hook.example", Port: "80", Resolver: table, RefuseAddrs: discovery.NonPublic()}, 1)
	// Output:
	// error: discovery: dns hook.example: address 169.254.169.254 is refused: RefuseAddrs has 169.254.0.0/16
}

// zone is a SRVLookup that answers out of two tables.
type zone struct {
	hosts
	records map[string][]*net.SRV
}

func (z zone) LookupSRV(_ context.Context, _, _, name string) (string, []*net.SRV, error) {
	return name, z.records[name], nil
}

// SRV records say the ports, too, and who takes how much. As with DNS, leave the
// Resolver nil for that of the machine.
func ExampleSRV() {
	name := "_http._tcp.users.internal"
	show(discovery.SRV{Name: name, Resolver: zone{
		hosts: hosts{"a.internal.": {netip.MustParseAddr("10.0.0.1")}, "b.internal.": {netip.MustParseAddr("10.0.0.2")}},
		records: map[string][]*net.SRV{name: {
			{Target: "a.internal.", Port: 8080, Weight: 90},
			{Target: "b.internal.", Port: 8081, Weight: 10},
		}},
	}}, 1)
	// Output: 10.0.0.1:8080 10.0.0.2:8081
}

// The instances of two data centres as one set.
func ExampleMerge() {
	show(discovery.Merge(
		discovery.Static{{Addr: "10.1.0.1:80", Zone: "a"}},
		discovery.Static{{Addr: "10.2.0.1:80", Zone: "b"}},
	), 1)
	// Output: 10.1.0.1:80 10.2.0.1:80
}

// A fixed address stands in while the name server does not know the service.
func ExamplePrefer() {
	show(discovery.Prefer(
		discovery.DNS{Host: "users.internal", Port: "80", Resolver: hosts{}},
		discovery.Static{{Addr: "10.0.0.1:80"}},
	), 2)
	// Output:
	// 10.0.0.1:80
	// error: discovery: prefer: resolver 1 of 2: discovery: dns users.internal: no such host
}

// A watch that ends is started again, and its error told.
func ExampleKeep() {
	tries := 0
	flaky := discovery.Func(func(ctx context.Context, report func(discovery.Update), _ <-chan struct{}) error {
		if tries++; tries == 1 {
			return fmt.Errorf("connection lost")
		}
		report(discovery.Update{Endpoints: []tulle.Endpoint{{Addr: "10.0.0.1:80"}}})
		<-ctx.Done()
		return ctx.Err()
	})
	show(discovery.Keep(flaky), 2)
	// Output:
	// error: connection lost
	// 10.0.0.1:80
}

// The seed is given so that the output is certain; leave it 0, so that each
// client takes other endpoints.
func ExampleSubset() {
	all := make(discovery.Static, 100)
	for i := range all {
		all[i].Addr = fmt.Sprintf("10.0.0.%d:80", i)
	}
	show(discovery.Subset{Resolver: all, Size: 3, Seed: 1}, 1)
	show(discovery.Subset{Resolver: all, Size: 3, Seed: 2}, 1)
	// Output:
	// 10.0.0.50:80 10.0.0.51:80 10.0.0.93:80
	// 10.0.0.16:80 10.0.0.40:80 10.0.0.85:80
}
