package tulle

// Load is what an endpoint reports of itself: the part of an Open Request Cost
// Aggregation report (ORCA, xds.data.orca.v3.OrcaLoadReport) that is about the
// whole endpoint.
type Load struct {
	// CPU, Memory and Application are utilizations: 1 is all that there is;
	// CPU and Application may be above it. 0 is also "not reported".
	CPU         float64 `json:"cpu,omitempty"`
	Memory      float64 `json:"memory,omitempty"`
	Application float64 `json:"application,omitempty"`

	// QPS are the requests that it serves a second, EPS its errors a second.
	QPS float64 `json:"qps,omitempty"`
	EPS float64 `json:"eps,omitempty"`

	// Utilization and Named are figures of the application's own, by name.
	Utilization map[string]float64 `json:"utilization,omitempty"`
	Named       map[string]float64 `json:"named,omitempty"`
}
