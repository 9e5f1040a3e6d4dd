package sim

import (
	"embed"
	"fmt"
	"strings"
)

// scenarios are the scenarios that come with the package.
//
//go:embed scenarios/*.json
var scenarios embed.FS

// Names are the names of the scenarios that come with the package.
func Names() []string {
	entries, err := scenarios.ReadDir("scenarios")
	if err != nil {
		return nil // the folder is part of the program
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = strings.TrimSuffix(e.Name(), ".json")
	}
	return names
}

// Named is one of the scenarios that come with the package. An unknown name is an
// error that lists them.
func Named(name string) (Scenario, error) {
	data, err := scenarios.ReadFile("scenarios/" + name + ".json")
	if err != nil {
		return Scenario{}, fmt.Errorf("sim: scenario %q: want one of %s", name, strings.Join(Names(), ", "))
	}
	return Parse(data)
}
