package tullegrpc

// What tests in package tullegrpc_test look at.
var (
	Pushback  = pushback
	ServiceOf = serviceOf
)

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
