package admin

import (
	"math"
	"net/http"
	"time"

	"github.com/tullemesh/tulle/transport"
)

// hystrixInterval is the time between two events for each destination, which is
// what Hystrix has. The counts of an event are over the last hystrixWindow.
const (
	hystrixInterval = 500 * time.Millisecond
	hystrixWindow   = 10 * time.Second
	hystrixTicks    = int(hystrixWindow / hystrixInterval)
)

// A hystrixCommand is a message of hystrix.stream: the fields which the README of
// Netflix's hystrix-metrics-event-stream lists, and rollingCountBadRequests, for
// which its dashboard looks as well. The unit of counts is the attempt. Of what has
// no counterpart here the numbers are 0; those of settings are 0 too, as a
// Transport does not show its settings.
type hystrixCommand struct {
	Type        string `json:"type"`
	Name        string `json:"name"`
	Group       string `json:"group"`
	CurrentTime int64  `json:"currentTime"` // milliseconds

	IsCircuitBreakerOpen bool  `json:"isCircuitBreakerOpen"`
	ErrorPercentage      int64 `json:"errorPercentage"`
	ErrorCount           int64 `json:"errorCount"`
	RequestCount         int64 `json:"requestCount"`

	RollingCountBadRequests        int64 `json:"rollingCountBadRequests"`
	RollingCountCollapsedRequests  int64 `json:"rollingCountCollapsedRequests"`
	RollingCountExceptionsThrown   int64 `json:"rollingCountExceptionsThrown"`
	RollingCountFailure            int64 `json:"rollingCountFailure"`
	RollingCountFallbackFailure    int64 `json:"rollingCountFallbackFailure"`
	RollingCountFallbackRejection  int64 `json:"rollingCountFallbackRejection"`
	RollingCountFallbackSuccess    int64 `json:"rollingCountFallbackSuccess"`
	RollingCountResponsesFromCache int64 `json:"rollingCountResponsesFromCache"`
	RollingCountSemaphoreRejected  int64 `json:"rollingCountSemaphoreRejected"`
	RollingCountShortCircuited     int64 `json:"rollingCountShortCircuited"`
	RollingCountSuccess            int64 `json:"rollingCountSuccess"`
	RollingCountThreadPoolRejected int64 `json:"rollingCountThreadPoolRejected"`
	RollingCountTimeout            int64 `json:"rollingCountTimeout"`

	CurrentConcurrentExecutionCount int `json:"currentConcurrentExecutionCount"`

	LatencyExecuteMean int64            `json:"latencyExecute_mean"`
	LatencyExecute     map[string]int64 `json:"latencyExecute"`
	LatencyTotalMean   int64            `json:"latencyTotal_mean"`
	LatencyTotal       map[string]int64 `json:"latencyTotal"`

	RequestVolumeThreshold     int     `json:"propertyValue_circuitBreakerRequestVolumeThreshold"`
	SleepWindow                int     `json:"propertyValue_circuitBreakerSleepWindowInMilliseconds"`
	ErrorThreshold             int     `json:"propertyValue_circuitBreakerErrorThresholdPercentage"`
	ForceOpen                  bool    `json:"propertyValue_circuitBreakerForceOpen"`
	ForceClosed                bool    `json:"propertyValue_circuitBreakerForceClosed"`
	BreakerEnabled             bool    `json:"propertyValue_circuitBreakerEnabled"`
	IsolationStrategy          string  `json:"propertyValue_executionIsolationStrategy"`
	ThreadTimeout              int     `json:"propertyValue_executionIsolationThreadTimeoutInMilliseconds"`
	ThreadInterruptOnTimeout   bool    `json:"propertyValue_executionIsolationThreadInterruptOnTimeout"`
	ThreadPoolKeyOverride      *string `json:"propertyValue_executionIsolationThreadPoolKeyOverride"`
	SemaphoreRequests          int     `json:"propertyValue_executionIsolationSemaphoreMaxConcurrentRequests"`
	FallbackRequests           int     `json:"propertyValue_fallbackIsolationSemaphoreMaxConcurrentRequests"`
	RollingStatisticalWindowMS int64   `json:"propertyValue_metricsRollingStatisticalWindowInMilliseconds"`
	RequestCacheEnabled        bool    `json:"propertyValue_requestCacheEnabled"`
	RequestLogEnabled          bool    `json:"propertyValue_requestLogEnabled"`

	ReportingHosts int `json:"reportingHosts"`
}

// refusals count what never became an attempt, since the start.
type refusals struct{ breaker, limit uint64 }

// A window remembers the refusals of the last ten seconds, tick by tick. It
// belongs to one stream.
type window struct {
	ticks [hystrixTicks]map[key]refusals
	n     int
}

// put takes in the counters of now and returns those of ten seconds ago, or of the
// first tick.
func (w *window) put(snap *transport.Snapshot) map[key]refusals {
	now := make(map[key]refusals, len(snap.Services))
	for i := range snap.Services {
		s := &snap.Services[i]
		now[keyOf(s)] = refusals{s.BreakerRejected, s.Limit.Refused}
	}
	slot := w.n % hystrixTicks
	was := w.ticks[slot]
	if was == nil && w.n > 0 {
		was = w.ticks[0]
	}
	w.ticks[slot] = now
	w.n++
	return was
}

// serveHystrix serves what a Hystrix dashboard or Turbine reads.
func (h *Handler) serveHystrix(w http.ResponseWriter, r *http.Request) {
	var past window
	h.stream(w, r, hystrixInterval, func(s *stream) error {
		read := h.look()
		was := past.put(&read.snap)
		if len(read.snap.Services) == 0 {
			s.text("ping: \n\n") // what Hystrix says while it has no commands
		}
		for i := range read.snap.Services {
			if err := s.event("", hystrixOf(read, i, was)); err != nil {
				return err
			}
		}
		return nil
	})
}

// hystrixOf is the message for the i-th destination.
func hystrixOf(r *reading, i int, past map[key]refusals) *hystrixCommand {
	svc, sum := &r.snap.Services[i], &r.services[i]
	c := &hystrixCommand{
		Type: "HystrixCommand", Name: label(svc.Name, svc.Environment), Group: svc.Name, CurrentTime: r.at.UnixMilli(),
		IsCircuitBreakerOpen:            refusing(svc), // half open is open to Hystrix
		RollingCountSuccess:             int64(math.Round(svc.Successes)),
		RollingCountFailure:             int64(math.Round(svc.Failures)),
		CurrentConcurrentExecutionCount: sum.Waiting + sum.Streaming,
		LatencyExecuteMean:              svc.Mean.Milliseconds(), LatencyExecute: percentiles(svc),
		LatencyTotalMean: svc.Mean.Milliseconds(), LatencyTotal: percentiles(svc),
		BreakerEnabled: true, IsolationStrategy: "SEMAPHORE",
		RollingStatisticalWindowMS: hystrixWindow.Milliseconds(), ReportingHosts: 1,
	}
	if was, ok := past[keyOf(svc)]; ok {
		c.RollingCountShortCircuited = int64(svc.BreakerRejected - min(was.breaker, svc.BreakerRejected))
		c.RollingCountSemaphoreRejected = int64(svc.Limit.Refused - min(was.limit, svc.Limit.Refused))
	}
	c.ErrorCount = c.RollingCountFailure + c.RollingCountShortCircuited + c.RollingCountSemaphoreRejected
	c.RequestCount = c.RollingCountSuccess + c.ErrorCount
	c.RollingCountExceptionsThrown = c.ErrorCount // there are no fallbacks that would hide them
	if c.RequestCount > 0 {
		c.ErrorPercentage = c.ErrorCount * 100 / c.RequestCount
	}
	return c
}

// percentiles are the times to headers as Hystrix has them, in milliseconds.
func percentiles(s *transport.ServiceSnapshot) map[string]int64 {
	p := &s.Spread
	return map[string]int64{
		"0": p.Min.Milliseconds(), "25": p.P25.Milliseconds(), "50": s.Median.Milliseconds(), "75": p.P75.Milliseconds(),
		"90": p.P90.Milliseconds(), "95": p.P95.Milliseconds(), "99": p.P99.Milliseconds(), "99.5": p.P995.Milliseconds(),
		"100": p.Max.Milliseconds(),
	}
}

// label is the name of a destination in one word, as telemetry has it.
func label(service, environment string) string {
	if environment == "" {
		return service
	}
	return service + "@" + environment
}
