package discovery

import "time"

// What the black-box tests of pure helpers need.
var (
	DecodeJSON = decodeJSON
	JSONField  = jsonField
	SameSet    = sameSet
	Doubled    = doubled
)

// Patience is how long combinations wait for a silent resolver.
const Patience = patience

// Looker returns the look of a watch that has no hints.
func Looker(path string) func() {
	w := fileWatch{File: File{Path: path}, report: func(Update) {}}
	return func() { w.look(time.Now(), false) }
}
