// Package scale measures what a library costs that knows many endpoints, at rest
// and in use. Each measurement has a process of its own, so that its memory,
// goroutines and sockets are those of the library: the program itself, started
// again, whose main and TestMain call Main first.
package scale
