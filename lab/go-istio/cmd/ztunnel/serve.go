package main

import (
	"fmt"
	"net/http"
	"sync/atomic"

	"bulkhead.mesh/lab-istio/internal/ztunnel/report"
)

// Ports of the chart's DaemonSet.
const (
	adminAddress     = "localhost:15000"
	metricsAddress   = ":15020"
	readinessAddress = ":15021"
)

// readiness: ready once istiod has told everything and istio-cni has handed over all pods.
type readiness struct{ mesh, pods atomic.Bool }

func (r *readiness) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	switch {
	case !r.mesh.Load():
		http.Error(w, "waiting for the first answer of istiod", http.StatusServiceUnavailable)
	case !r.pods.Load():
		http.Error(w, "waiting for the first snapshot of istio-cni", http.StatusServiceUnavailable)
	}
}

func handlers(ready *readiness, reporter *report.Reporter, dump func() report.Dump) map[string]http.Handler {
	readinessMux, metrics, admin := http.NewServeMux(), http.NewServeMux(), http.NewServeMux()
	readinessMux.Handle("/healthz/ready", ready)
	metrics.Handle("/metrics", reporter.Handler())
	admin.HandleFunc("/config_dump", func(w http.ResponseWriter, _ *http.Request) {
		content, err := dump().JSON()
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(content)
	})
	return map[string]http.Handler{readinessAddress: readinessMux, metricsAddress: metrics, adminAddress: admin}
}

// serveHTTP serves this pod's own ports; the channel gets the first that fails.
func serveHTTP(ready *readiness, reporter *report.Reporter, dump func() report.Dump) <-chan error {
	failed := make(chan error, 1)
	for address, handler := range handlers(ready, reporter, dump) {
		go func() {
			err := http.ListenAndServe(address, handler)
			select {
			case failed <- fmt.Errorf("port %s: %w", address, err):
			default:
			}
		}()
	}
	return failed
}
