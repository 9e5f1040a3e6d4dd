package client

import "slices"

// HTTP are the contenders of the HTTP tables, besides Bare.
func HTTP() []Contender {
	return slices.Concat([]Contender{oneAddress()}, floors(), tulles(), plains(), otels(), naives(), httplbs(), kratoses())
}
