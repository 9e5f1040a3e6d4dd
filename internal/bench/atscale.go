package main

import (
	"context"
	"fmt"
	"time"

	"github.com/tullemesh/tulle/internal/bench/scale"
	"github.com/tullemesh/tulle/internal/bench/server"
)

// sizes are the numbers of endpoints.
func (o options) sizes() []int {
	if o.quick {
		return []int{10, 100}
	}
	return []int{10, 100, 1000, 10000}
}

// patience is how long a library may take to settle.
func (o options) patience() time.Duration {
	if o.quick {
		return 5 * time.Second
	}
	return 45 * time.Second
}

// atScale measures libraries that know many endpoints.
func (b *bench) atScale(srv *server.Process) error {
	web, rpc := srv.Ports()
	for _, name := range scale.Libraries() {
		for _, n := range b.opt.sizes() {
			b.progress(fmt.Sprintf("scale: %s, %d endpoints", name, n))
			job := scale.Job{Library: name, N: n, HTTP: web, GRPC: rpc, Patience: b.opt.patience()}
			f, err := job.Run(context.Background())
			if err != nil {
				b.missing("%v", err)
				continue
			}
			b.report.Scale = append(b.report.Scale, ScaleRow{Name: name, N: n, Figures: f})
		}
	}
	return nil
}
