// Package dnstest is a name server for tests. It speaks enough of DNS for a
// net.Resolver: A, AAAA, CNAME and SRV over UDP, TCP and pipes in memory, and
// the faults that real servers have.
//
// [Server.Pipe] is for tests in a testing/synctest bubble: the resolver that it
// returns is the real one of package net, but its waiting costs no time (see
// [Prepare]).
// [Server.Listen] opens sockets, for what only those have: truncated answers and
// refused connections.
//
// The package is for tests only and no model of a name server: the answer to
// anything unexpected is FORMERR, and no record is ever signed or cached.
package dnstest
