// Command nethttp runs the tests of Go's own HTTP client and reverse proxy with
// tulle in the way, and compares.
//
//	go run ./nethttp [-modes bare,pass] [-race] [-v]
//
// in the folder of the module. It copies the test files from the installed Go,
// drops what only compiles inside the standard library, and runs the rest in
// each mode; package shim tells the modes. A test that passes bare and not with
// a wrapper in front must be in differences.txt with a reason, and each line
// there must still be needed. It exits with 1 when the list is wrong either way,
// and when so few tests or requests took part that the result means nothing.
package main

import (
	"context"
	_ "embed"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"

	"github.com/tullemesh/tulle/internal/rig/nethttp/shim"
)

//go:embed differences.txt
var differencesText string

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	modes := flag.String("modes", strings.Join(shim.Modes(), ","),
		"`modes` to run; the first must be bare, as it is what the others are compared with")
	race := flag.Bool("race", false, "run with the race detector")
	verbose := flag.Bool("v", false, "print the pruned declarations")
	flag.Parse()

	found, err := runAll(ctx, options{modes: strings.Split(*modes, ","), race: *race, verbose: *verbose})
	if err != nil {
		fmt.Fprintln(os.Stderr, "nethttp:", err)
		os.Exit(1)
	}
	if found > 0 {
		fmt.Printf("FAIL: %d findings\n", found)
		os.Exit(1)
	}
	fmt.Println("ok")
}
