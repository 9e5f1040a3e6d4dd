// path: examples/bad/main.go

package main

import (
	"flag"
	"fmt"
	"log"
	_ "net/http/pprof" // want import
	"os"
	"time"
)

func init() {} // want init

func main() {
	flag.Parse()
	time.Sleep(time.Second)
	_ = time.Now()
	fmt.Println("a program may")
	log.Fatal("a program may")
	panic("a program may not") // want panic
	os.Exit(1)
}
