//go:build race

package transport_test

// raceDetector says that the tests run with the race detector, under which a
// sync.Pool forgets what it was given now and then.
const raceDetector = true
