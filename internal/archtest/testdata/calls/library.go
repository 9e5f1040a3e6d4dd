// path: balancer/bad.go

package balancer

import (
	"context"
	_ "embed"
	. "errors" // want import
	"fmt"
	_ "image/png" // want import
	"io"
	"log" // want import
	"log/slog"
	"math/rand" // want import
	v2 "math/rand/v2"
	"net/http"
	"os"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing" // want import
	clock "time"
)

var (
	mu      sync.Mutex                // want global-state
	n       atomic.Int64              // want global-state
	seen    = make(map[string]int)    // want global-state
	source  = v2.New(v2.NewPCG(1, 2)) // want global-state
	pool    = sync.Pool{}             // no state that anyone sees
	table   = map[string]int{"a": 1}  // read only
	once    = sync.OnceValue(func() []int { return make([]int, 3) })
	ErrGone = New("gone")
)

func init() {} // want init

var _ sync.Locker = new(sync.Mutex)

type server struct {
	mu sync.Mutex
}

// init of a type is no init.
func (server) init() {}

func after() {
	<-clock.After(1) // want after
	<-clock.Tick(1)  // want after
	clock.Sleep(1)   // want sleep
	f := clock.After // want after
	_, _ = f, clock.Second
	_ = clock.Now() // want clock
	var t clock.Time
	_ = clock.Since(t) // want clock
}

func shadowed(clock struct{ Sleep func(int) }) {
	clock.Sleep(1)
	panic := func(string) {}
	panic("fine")
}

func output(err error) {
	panic(err)                 // want panic
	fmt.Println(err)           // want print
	println("x")               // want print
	log.Printf("x")            // want print
	log.Fatal(err)             // want exit
	os.Exit(1)                 // want exit
	slog.Info("x")             // want print
	fmt.Fprintln(os.Stderr, 1) // want print
	_ = fmt.Sprintln(err)
	_ = rand.Int()
	_ = testing.Short()
}

func clients() {
	_ = http.DefaultClient                                            // want global-client
	http.Get("http://a")                                              // want global-client
	http.HandleFunc("/", func(http.ResponseWriter, *http.Request) {}) // want global-mux
	_ = http.DefaultTransport
	_ = context.TODO() // want todo-context
	_ = context.Background()
}

// Is must compare.
func (server) Is(target error) bool { return target == ErrGone }

func compare(err error) bool {
	if err == nil || nil != err {
		return false
	}
	if err == ErrGone || err != http.ErrServerClosed { // want error-compare
		return true
	}
	switch err {
	case context.Canceled: // want error-compare
		return true
	case nil:
		return false
	}
	if err.Error() == "gone" { // want error-text
		return true
	}
	if strings.Contains(err.Error(), "gone") { // want error-text
		return true
	}
	if regexp.MustCompile("gone").MatchString(err.Error()) { // want error-text
		return true
	}
	// FIXME: later // want todo
	// TODO(#7) has an issue.
	_ = strings.ToUpper(err.Error())
	return err == io.EOF || Is(err, ErrGone)
}
