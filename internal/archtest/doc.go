// Package archtest holds the tests of the repository as a whole: what may
// import what, which calls are not made and why, that everything exported is
// documented and frozen, that the snippets of the documentation compile.
//
// It has no code of its own. Each test reads the source tree, so a rule that
// fails names the file and line, the reason of the rule, and where an exception
// would have to be written down. Each rule is also tested against input that
// breaks it, so that no rule can fall asleep.
//
// Run it alone with
//
//	go test ./internal/archtest
//
// and accept a change of the exported API with
//
//	go test ./internal/archtest -run TestAPI -update
package archtest
