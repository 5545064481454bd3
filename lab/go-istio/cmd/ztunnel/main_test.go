package main

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"bulkhead.mesh/lab-istio/internal/ztunnel/report"
)

func environment() map[string]string {
	return map[string]string{
		"INSTANCE_IP": "10.0.0.9", "POD_NAME": "ztunnel-1", "POD_NAMESPACE": "istio-system", "NODE_NAME": "node",
		"TERMINATION_GRACE_PERIOD_SECONDS": "30", "XDS_ADDRESS": "istiod-blue.istio-system.svc:15012",
	}
}

func TestReadSettings(t *testing.T) {
	values := environment()
	got, err := readSettings(func(name string) string { return values[name] })
	if err != nil {
		t.Fatal(err)
	}
	if got.discovery != "istiod-blue.istio-system.svc:15012" || got.authority != "istiod.istio-system.svc:15012" ||
		got.grace != 29*time.Second || got.node.Name != "ztunnel-1" || got.node.KubernetesNode != "node" || got.node.Cluster != "Kubernetes" {
		t.Errorf("%+v", got)
	}
	for name, change := range map[string]string{
		"INSTANCE_IP": "", "POD_NAME": "", "POD_NAMESPACE": "", "NODE_NAME": "", "TERMINATION_GRACE_PERIOD_SECONDS": "soon",
	} {
		values := environment()
		values[name] = change
		if _, err := readSettings(func(name string) string { return values[name] }); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s=%q: %v", name, change, err)
		}
	}
}

func TestFirstNameserver(t *testing.T) {
	for content, want := range map[string]string{
		"search x\nnameserver 10.96.0.53\nnameserver 10.96.0.54\n": "10.96.0.53:53",
		"nameserver fd00:10:96::53":                                "[fd00:10:96::53]:53",
		"nameserver\nnameserver none\nnameserver 10.96.0.53 #x":    "10.96.0.53:53",
		"":         "invalid AddrPort",
		"search x": "invalid AddrPort",
	} {
		if got := firstNameserver(content).String(); got != want {
			t.Errorf("%q: %s", content, got)
		}
	}
}

func TestArguments(t *testing.T) {
	if err := run(t.Context(), []string{"proxy"}, report.NewLog(&bytes.Buffer{})); err == nil || !strings.Contains(err.Error(), `["proxy"]`) {
		t.Error(err)
	}
}

func TestHandlers(t *testing.T) {
	ready := &readiness{}
	served := handlers(ready, report.NewReporter(report.NewLog(&bytes.Buffer{})), func() report.Dump { return report.Dump{} })
	get := func(port, path string) (int, string) {
		answer := httptest.NewRecorder()
		served[port].ServeHTTP(answer, httptest.NewRequest("GET", path, nil))
		return answer.Code, answer.Body.String()
	}
	if code, text := get(readinessAddress, "/healthz/ready"); code != http.StatusServiceUnavailable || !strings.Contains(text, "istiod") {
		t.Errorf("at the start: %d %s", code, text)
	}
	ready.mesh.Store(true)
	if code, text := get(readinessAddress, "/healthz/ready"); code != http.StatusServiceUnavailable || !strings.Contains(text, "istio-cni") {
		t.Errorf("without pods: %d %s", code, text)
	}
	ready.pods.Store(true)
	if code, _ := get(readinessAddress, "/healthz/ready"); code != http.StatusOK {
		t.Errorf("ready: %d", code)
	}
	if code, text := get(adminAddress, "/config_dump"); code != http.StatusOK || !strings.Contains(text, "workloadState") {
		t.Errorf("dump: %d %s", code, text)
	}
	if code, _ := get(metricsAddress, "/metrics"); code != http.StatusOK {
		t.Errorf("metrics: %d", code)
	}
	for _, port := range []string{readinessAddress, metricsAddress} { // the dump is for the pod itself only
		if code, _ := get(port, "/config_dump"); code != http.StatusNotFound {
			t.Errorf("the dump is at port %s too", port)
		}
	}
}
