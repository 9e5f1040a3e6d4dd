// Package server is the server that all contenders call, in a process of its
// own, so that a process that measures its own processor time and allocations
// measures the client alone.
//
// The process is the program itself, started again: main and TestMain call Main
// first.
package server
