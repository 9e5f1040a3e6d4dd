package tullegrpc

import "time"

// What tests in package tullegrpc_test look at.
var (
	Pushback  = pushback
	ServiceOf = serviceOf
)

// Pause is the longest pause before the nth repeat under a retryPolicy.
func Pause(first, most time.Duration, growth float64, n int32) time.Duration {
	return (&policy{min: first, max: most, growth: growth}).pause(n)
}

// MaxMethods is how many methods are remembered.
const MaxMethods = maxMethods

// Methods remembers methods.
type Methods = methods

// Safe asks for a method.
func Safe(m *Methods, method string) bool { return m.safe(method) }

// Remembered is how many methods are.
func Remembered(m *Methods) int {
	known := m.known.Load()
	if known == nil {
		return 0
	}
	return len(*known)
}
