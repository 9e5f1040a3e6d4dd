package balancertest

import "fmt"

// CheckOne runs one check by its name, as Check would.
func CheckOne(name string, c Config) error {
	for _, k := range checks {
		if k.name == name {
			return k.run(c.Policy)
		}
	}
	return fmt.Errorf("no check is called %q", name)
}

// Names are the names of all checks.
func Names() []string {
	var names []string
	for _, k := range checks {
		names = append(names, k.name)
	}
	return names
}
