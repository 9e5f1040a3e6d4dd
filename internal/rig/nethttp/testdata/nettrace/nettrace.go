// Package nettrace stands for internal/nettrace of the standard library. Nobody
// reads this key: the tests' names are answered by a name server.
package nettrace

// LookupIPAltResolverKey is the key of a context value.
type LookupIPAltResolverKey struct{}
