// Package destination is what the protocols of package transport share of one
// destination: its name, its limits, its engine, and the options of a call. It
// knows neither HTTP nor gRPC. Transport hands it to adapters such as tullegrpc,
// which bring what their protocol needs.
package destination
