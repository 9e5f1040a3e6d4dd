// path: retry/bad_test.go

package retry_test

import (
	"log"
	"math/rand" // want import
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

var mu sync.Mutex

func TestSleep(t *testing.T) {
	time.Sleep(time.Second) // want sleep
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Second)
		<-time.After(time.Second)
		helper()
		twice()
		step{}.wait()
	})
	bubble(t, func() {
		time.Sleep(time.Second)
	})
	twice()
	select {
	case <-time.After(time.Second): // want after
	default:
	}
	if os.Getenv("X") != "" {
		panic("a test may")
	}
	_ = rand.Int()
	log.Print("a test may")
	os.Exit(1) // want exit
}

func TestWhole(t *testing.T) { synctest.Test(t, whole) }

func whole(*testing.T) { time.Sleep(time.Second) }

// bubble is a wrapper.
func bubble(t *testing.T, f func()) {
	synctest.Test(t, func(*testing.T) { f() })
}

// helper is called from a bubble only.
func helper() { deeper() }

func deeper() { time.Sleep(time.Second) }

// twice is called from a bubble and from outside.
func twice() { time.Sleep(time.Second) } // want sleep

// unused is called from nowhere.
func unused() { time.Sleep(time.Second) } // want sleep

type step struct{}

func (step) wait() { time.Sleep(time.Second) }
