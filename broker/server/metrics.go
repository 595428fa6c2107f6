package server

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics count calls. Labels are methods and reasons: never an id, whose
// number has no bound.
type metrics struct {
	calls *prometheus.CounterVec
	took  *prometheus.HistogramVec
}

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		calls: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "valetkey_calls_total", Help: "Calls by method and reason; the reason of a success is OK.",
		}, []string{"method", "reason"}),
		took: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "valetkey_call_seconds", Help: "How long calls took, in seconds.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 15},
		}, []string{"method"}),
	}
	for _, c := range []prometheus.Collector{m.calls, m.took} {
		if err := reg.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func (m *metrics) count(method, reason string, began time.Time) {
	m.calls.WithLabelValues(method, reason).Inc()
	m.took.WithLabelValues(method).Observe(time.Since(began).Seconds())
}
