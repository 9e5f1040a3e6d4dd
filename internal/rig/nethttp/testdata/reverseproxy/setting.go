package httputil

// setting stands for the package internal/godebug: every setting has its
// default.
type setting struct{}

func (setting) Value() string  { return "" }
func (setting) IncNonDefault() {}
