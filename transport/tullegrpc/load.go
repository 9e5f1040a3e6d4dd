package tullegrpc

import (
	"maps"
	"reflect"

	// It has gRPC read the load reports of servers from trailers.
	_ "google.golang.org/grpc/orca"

	"github.com/tullemesh/tulle"
)

// orcaReport is the part of a load report (xds.data.orca.v3.OrcaLoadReport) that is
// kept.
type orcaReport interface {
	GetCpuUtilization() float64
	GetMemUtilization() float64
	GetApplicationUtilization() float64
	GetRpsFractional() float64
	GetEps() float64
	GetUtilization() map[string]float64
	GetNamedMetrics() map[string]float64
}

// loadOf is the load that a server reported with a call, nil if it reported none:
// gRPC then gives a nil pointer in an interface that is not nil.
func loadOf(report any) *tulle.Load {
	if v := reflect.ValueOf(report); v.Kind() != reflect.Pointer || v.IsNil() {
		return nil
	}
	r, ok := report.(orcaReport)
	if !ok {
		return nil
	}
	return &tulle.Load{
		CPU:         r.GetCpuUtilization(),
		Memory:      r.GetMemUtilization(),
		Application: r.GetApplicationUtilization(),
		QPS:         r.GetRpsFractional(),
		EPS:         r.GetEps(),
		Utilization: maps.Clone(r.GetUtilization()),
		Named:       maps.Clone(r.GetNamedMetrics()),
	}
}
