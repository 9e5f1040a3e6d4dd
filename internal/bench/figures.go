package main

import "github.com/tullemesh/tulle/internal/bench/client"

// A figure is looked up in a report; false if it is not there.
type figure func(*Report) (float64, bool)

// stub is one of a row over the stub.
func stub(name string, f func(*Cost) float64) figure {
	return func(r *Report) (float64, bool) {
		if c := r.stub(name); c != nil {
			return f(c), true
		}
		return 0, false
	}
}

// beyondPlain is what a row of tulle has more than tulle alone.
func beyondPlain(name string, f func(*Cost) float64) figure {
	return less(stub(name, f), stub(plain, f))
}

// beyondCopy is what a floor has more than the copy alone.
func beyondCopy(name string, f func(*Cost) float64) figure {
	return less(stub(name, f), stub(client.FloorCopy, f))
}

// less is the difference of two figures.
func less(a, b figure) figure {
	return func(r *Report) (float64, bool) {
		x, hasX := a(r)
		y, hasY := b(r)
		return x - y, hasX && hasY
	}
}

// over is the quotient of two figures.
func over(a, b figure) figure {
	return func(r *Report) (float64, bool) {
		x, hasX := a(r)
		y, hasY := b(r)
		return x / y, hasX && hasY && y != 0
	}
}

// wire is a figure of a row over loopback.
func wire(name string, f func(*Cost) float64) figure {
	return func(r *Report) (float64, bool) { return wireOf(r.HTTP, name, f) }
}

// grpc is a figure of a row of gRPC.
func grpc(name string, f func(*Cost) float64) figure {
	return func(r *Report) (float64, bool) { return wireOf(r.GRPC, name, f) }
}

func wireOf(rows []Overhead, name string, f func(*Cost) float64) (float64, bool) {
	for _, row := range rows {
		if row.Name == name && row.Wire != nil {
			return f(row.Wire), true
		}
	}
	return 0, false
}

func p50Added(r SidecarRow) float64 { return r.At[0].P50Added.Median }
func cpuAdded(r SidecarRow) float64 { return r.At[0].CPUAdded.Median }

// sidecar is what tulle adds, as a part of what a proxy adds, with one
// goroutine.
func sidecar(name, proxy string, f func(SidecarRow) float64) figure {
	return func(r *Report) (float64, bool) {
		own, other := r.sidecar(name), r.sidecar(proxy)
		if own == nil || other == nil {
			return 0, false
		}
		return f(*own) / f(*other), true
	}
}

// sidecar is a row of that table, or nil.
func (r *Report) sidecar(name string) *SidecarRow {
	for i := range r.Sidecar {
		if r.Sidecar[i].Name == name {
			return &r.Sidecar[i]
		}
	}
	return nil
}

func scaled(name string, n int, f func(ScaleRow) float64) figure {
	return func(r *Report) (float64, bool) {
		for _, row := range r.Scale {
			if row.Name == name && row.N == n {
				return f(row), true
			}
		}
		return 0, false
	}
}

// body is what the largest body allocates more than none.
func body(name string) figure {
	return func(r *Report) (float64, bool) {
		for _, row := range r.Bodies {
			if row.Name == name && len(row.Sizes) > 0 {
				return row.Sizes[len(row.Sizes)-1].Bytes - row.Sizes[0].Bytes, true
			}
		}
		return 0, false
	}
}
