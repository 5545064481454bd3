package report

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"istio.io/istio/pkg/workloadapi"
)

// labels are those of Istio's TCP metrics that checks and dashboards select by.
var labels = []string{
	"reporter", "connection_security_policy", "request_protocol",
	"source_workload", "source_workload_namespace", "source_principal",
	"destination_workload", "destination_workload_namespace", "destination_principal",
	"destination_service", "destination_service_namespace",
}

// Reporter writes the access log and counts.
type Reporter struct {
	Log      *Log
	registry *prometheus.Registry
	opened   *prometheus.CounterVec
	closed   *prometheus.CounterVec
	sent     *prometheus.CounterVec
	received *prometheus.CounterVec
	asked    prometheus.Counter
}

// NewReporter makes a reporter with all counters at zero.
func NewReporter(log *Log) *Reporter {
	r := &Reporter{Log: log, registry: prometheus.NewRegistry()}
	counter := func(name, help string) *prometheus.CounterVec {
		vector := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
		r.registry.MustRegister(vector)
		return vector
	}
	r.opened = counter("istio_tcp_connections_opened_total", "Connections that were accepted.")
	r.closed = counter("istio_tcp_connections_closed_total", "Accepted connections that have ended.")
	r.sent = counter("istio_tcp_sent_bytes_total", "Bytes of responses.")
	r.received = counter("istio_tcp_received_bytes_total", "Bytes of requests.")
	r.asked = prometheus.NewCounter(prometheus.CounterOpts{Name: "istio_dns_requests_total", Help: "DNS questions that pods' rules sent here."})
	r.registry.MustRegister(r.asked)
	return r
}

// Handler serves the metrics.
func (r *Reporter) Handler() http.Handler {
	return promhttp.HandlerFor(r.registry, promhttp.HandlerOpts{})
}

// Opened counts a connection that is allowed and has its far end.
func (r *Reporter) Opened(c *Connection) { r.opened.With(c.labels()).Inc() }

// Closed counts the end of a connection that was opened, and logs it.
func (r *Reporter) Closed(c *Connection, failure error) {
	labels := c.labels()
	r.closed.With(labels).Inc()
	request, response := c.Sent, c.Received
	if c.Direction == Inbound {
		request, response = response, request
	}
	r.received.With(labels).Add(float64(request))
	r.sent.With(labels).Add(float64(response))
	r.write(c, failure)
}

// Refused logs a connection that never was opened.
func (r *Reporter) Refused(c *Connection, reason error) { r.write(c, reason) }

// Asked counts a captured DNS question.
func (r *Reporter) Asked() { r.asked.Inc() }

func (r *Reporter) write(c *Connection, failure error) {
	level := Info
	if failure != nil {
		level = Error
	}
	r.Log.Printf(level, "access", "%s", c.line(r.Log.now(), failure))
}

func (c *Connection) labels() prometheus.Labels {
	reporter, security := "source", "unknown"
	if c.Direction == Inbound {
		reporter = "destination"
	}
	if c.MutualTLS() {
		security = "mutual_tls"
	}
	serviceNamespace := ""
	if c.Destination.Service != "" {
		serviceNamespace = c.Destination.Workload.GetNamespace()
	}
	return prometheus.Labels{
		"reporter":                       reporter,
		"connection_security_policy":     security,
		"request_protocol":               "tcp",
		"source_workload":                workloadName(c.Source.Workload),
		"source_workload_namespace":      or(c.Source.Workload.GetNamespace()),
		"source_principal":               or(c.Source.Identity.String()),
		"destination_workload":           workloadName(c.Destination.Workload),
		"destination_workload_namespace": or(c.Destination.Workload.GetNamespace()),
		"destination_principal":          or(c.Destination.Identity.String()),
		"destination_service":            or(c.Destination.Service),
		"destination_service_namespace":  or(serviceNamespace),
	}
}

func workloadName(workload *workloadapi.Workload) string { return or(workload.GetWorkloadName()) }

// or is how Istio's metrics write what is not known.
func or(value string) string {
	if value == "" {
		return "unknown"
	}
	return value
}
