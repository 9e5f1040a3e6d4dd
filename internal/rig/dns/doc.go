// Package dns holds tests of the library's DNS discovery against real name
// servers: Knot, whose zone the tests change while a watch runs, and dnsmasq,
// which caches in front of it as on many machines. It has no code besides its
// tests, and they skip, saying so, where the servers are not installed.
//
// They take real time: a watch asks once a second at most, and believes that a
// service has shrunk after five.
package dns
