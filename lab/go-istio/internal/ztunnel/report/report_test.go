package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"bulkhead.mesh/lab-istio/internal/ztunnel/identity"
	"bulkhead.mesh/lab-istio/internal/ztunnel/identity/identitytest"
	"bulkhead.mesh/lab-istio/internal/ztunnel/mesh"
	"istio.io/istio/pkg/workloadapi"
	"istio.io/istio/pkg/workloadapi/security"
	"istio.io/istio/pkg/zdsapi"
)

var (
	start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	alice = identity.ID{TrustDomain: "cluster.local", Namespace: "core", ServiceAccount: "alice"}
	bob   = identity.ID{TrustDomain: "cluster.local", Namespace: "downloads", ServiceAccount: "bob"}
)

func tunnelled(direction Direction) *Connection {
	return &Connection{
		Direction: direction, Start: start,
		Source: Party{
			Address: netip.MustParseAddrPort("10.0.0.1:40000"), Identity: alice,
			Workload: &workloadapi.Workload{Name: "alice-1", WorkloadName: "alice", Namespace: "core"},
		},
		Destination: Party{
			Address: netip.MustParseAddrPort("10.0.0.2:15008"), Tunnel: netip.MustParseAddrPort("10.0.0.2:8080"),
			Service: "web.downloads.svc.cluster.local", Identity: bob,
			Workload: &workloadapi.Workload{Name: "web-1", WorkloadName: "web", Namespace: "downloads"},
		},
		Sent: 10, Received: 20,
	}
}

func passthrough() *Connection {
	return &Connection{
		Direction: Outbound, Start: start,
		Source:      Party{Address: netip.MustParseAddrPort("[fd00::1]:40000")},
		Destination: Party{Address: netip.MustParseAddrPort("203.0.113.10:443")},
	}
}

func reporter() (*Reporter, *bytes.Buffer) {
	out := &bytes.Buffer{}
	log := NewLog(out)
	log.now = func() time.Time { return start.Add(1500 * time.Millisecond) }
	return NewReporter(log), out
}

func TestAccessLog(t *testing.T) {
	r, out := reporter()
	r.Closed(tunnelled(Outbound), nil)
	r.Closed(passthrough(), nil)
	r.Refused(tunnelled(Inbound), errors.New(`policy "x" says no`))
	const tunnel = `src.addr=10.0.0.1:40000 src.workload="alice-1" src.namespace="core" src.identity="spiffe://cluster.local/ns/core/sa/alice" ` +
		`dst.addr=10.0.0.2:15008 dst.hbone_addr=10.0.0.2:8080 dst.service="web.downloads.svc.cluster.local" dst.workload="web-1" dst.namespace="downloads" ` +
		`dst.identity="spiffe://cluster.local/ns/downloads/sa/bob" `
	want := strings.Join([]string{
		"2026-01-02T03:04:06.500000Z\tinfo\taccess\tconnection complete\t" + tunnel + `direction="outbound" bytes_sent=10 bytes_recv=20 duration="1500ms"`,
		"2026-01-02T03:04:06.500000Z\tinfo\taccess\tconnection complete\t" + `src.addr=[fd00::1]:40000 dst.addr=203.0.113.10:443 direction="outbound" bytes_sent=0 bytes_recv=0 duration="1500ms"`,
		"2026-01-02T03:04:06.500000Z\terror\taccess\tconnection complete\t" + tunnel + `direction="inbound" bytes_sent=10 bytes_recv=20 duration="1500ms" error="policy \"x\" says no"`,
	}, "\n") + "\n"
	if got := out.String(); got != want {
		t.Errorf("\n%s\nnot\n%s", got, want)
	}
}

func TestMetrics(t *testing.T) {
	r, _ := reporter()
	read := func() string {
		answer := httptest.NewRecorder()
		r.Handler().ServeHTTP(answer, httptest.NewRequest("GET", "/metrics", nil))
		return answer.Body.String()
	}
	if got := read(); strings.Contains(got, "istio_tcp") || !strings.Contains(got, "istio_dns_requests_total 0") {
		t.Errorf("before any connection:\n%s", got)
	}
	r.Refused(tunnelled(Inbound), errors.New("no"))
	if got := read(); strings.Contains(got, "istio_tcp") {
		t.Errorf("a refused connection was counted:\n%s", got)
	}
	r.Asked()
	inbound, outbound := tunnelled(Inbound), passthrough()
	r.Opened(inbound)
	r.Opened(inbound)
	r.Opened(outbound)
	r.Closed(inbound, nil)
	got := read()
	labels := `{connection_security_policy="mutual_tls",destination_principal="spiffe://cluster.local/ns/downloads/sa/bob",` +
		`destination_service="web.downloads.svc.cluster.local",destination_service_namespace="downloads",destination_workload="web",` +
		`destination_workload_namespace="downloads",reporter="destination",request_protocol="tcp",` +
		`source_principal="spiffe://cluster.local/ns/core/sa/alice",source_workload="alice",source_workload_namespace="core"}`
	for _, line := range []string{
		"istio_dns_requests_total 1",
		"istio_tcp_connections_opened_total" + labels + " 2",
		"istio_tcp_connections_closed_total" + labels + " 1",
		"istio_tcp_received_bytes_total" + labels + " 20",
		"istio_tcp_sent_bytes_total" + labels + " 10",
		`istio_tcp_connections_opened_total{connection_security_policy="unknown",destination_principal="unknown",`,
	} {
		if !strings.Contains(got, line) {
			t.Errorf("no %s in\n%s", line, got)
		}
	}
}

func TestMutualTLSNeedsBothIdentities(t *testing.T) {
	half := tunnelled(Outbound)
	half.Source.Identity = identity.ID{}
	if half.MutualTLS() || !tunnelled(Outbound).MutualTLS() || passthrough().MutualTLS() {
		t.Error("wrong")
	}
}

func TestDump(t *testing.T) {
	state := mesh.NewState()
	apply := func(kind string, named map[string]proto.Message) {
		t.Helper()
		response := &discovery.DeltaDiscoveryResponse{TypeUrl: kind}
		for name, message := range named {
			packed, err := anypb.New(message)
			if err != nil {
				t.Fatal(err)
			}
			response.Resources = append(response.Resources, &discovery.Resource{Name: name, Resource: packed})
		}
		if err := state.Apply(response, true); err != nil {
			t.Fatal(err)
		}
	}
	apply(mesh.AddressType, map[string]proto.Message{
		"u1": &workloadapi.Address{Type: &workloadapi.Address_Workload{Workload: &workloadapi.Workload{
			Uid: "u1", Name: "web-1", Namespace: "core", Addresses: [][]byte{{10, 0, 0, 1}}, TunnelProtocol: workloadapi.TunnelProtocol_HBONE,
		}}},
		"u2": &workloadapi.Address{Type: &workloadapi.Address_Workload{Workload: &workloadapi.Workload{
			Uid: "u2", Name: "plain", Namespace: "out", ServiceAccount: "x", Status: workloadapi.WorkloadStatus_UNHEALTHY,
		}}},
		"core/web": &workloadapi.Address{Type: &workloadapi.Address_Service{Service: &workloadapi.Service{
			Name: "web", Namespace: "core", Hostname: "web.core", Addresses: []*workloadapi.NetworkAddress{{Address: []byte{10, 96, 0, 1}}},
			Ports: []*workloadapi.Port{{ServicePort: 80, TargetPort: 8080}},
			Waypoint: &workloadapi.GatewayAddress{Destination: &workloadapi.GatewayAddress_Hostname{
				Hostname: &workloadapi.NamespacedHostname{Namespace: "core", Hostname: "way"},
			}},
		}}},
	})
	apply(mesh.PolicyType, map[string]proto.Message{
		"core/d": &security.Authorization{Name: "d", Namespace: "core", Scope: security.Scope_NAMESPACE, Action: security.Action_DENY},
	})
	cache := identity.NewCache(identity.Authority{Client: identitytest.New(t)}, t.Logf)
	if _, err := cache.Get(t.Context(), alice); err != nil {
		t.Fatal(err)
	}
	content, err := MakeDump(state, cache, map[string]*zdsapi.WorkloadInfo{"u1": {Name: "web-1", Namespace: "core", ServiceAccount: "alice"}}).JSON()
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Workloads []struct {
			Name, Namespace, ServiceAccount, Protocol, Status string
			WorkloadIPs                                       []string `json:"workloadIps"`
		}
		Services []struct {
			Hostname string
			VIPs     []string       `json:"vips"`
			Ports    map[string]int `json:"ports"`
			Waypoint struct{ Destination string }
		}
		Policies      []struct{ Name, Namespace, Scope, Action string }
		Certificates  []struct{ Identity, State string }
		WorkloadState map[string]struct {
			State string
			Info  struct{ Name, Namespace, ServiceAccount string }
		}
	}
	if err := json.Unmarshal(content, &got); err != nil {
		t.Fatal(err)
	}
	if len(got.Workloads) != 2 || got.Workloads[0].Protocol != "HBONE" || got.Workloads[0].WorkloadIPs[0] != "10.0.0.1" ||
		got.Workloads[0].ServiceAccount != "default" || got.Workloads[0].Status != "Healthy" ||
		got.Workloads[1].Protocol != "TCP" || got.Workloads[1].Status != "Unhealthy" {
		t.Errorf("workloads %+v", got.Workloads)
	}
	if len(got.Services) != 1 || got.Services[0].VIPs[0] != "/10.96.0.1" || got.Services[0].Ports["80"] != 8080 || got.Services[0].Waypoint.Destination != "core/way" {
		t.Errorf("services %+v", got.Services)
	}
	if len(got.Policies) != 1 || got.Policies[0].Action != "DENY" || got.Policies[0].Scope != "NAMESPACE" {
		t.Errorf("policies %+v", got.Policies)
	}
	if len(got.Certificates) != 1 || got.Certificates[0].Identity != alice.String() {
		t.Errorf("certificates %+v", got.Certificates)
	}
	if len(got.WorkloadState) != 1 || got.WorkloadState["u1"].State != "Up" || got.WorkloadState["u1"].Info.Name != "web-1" {
		t.Errorf("served %+v", got.WorkloadState)
	}
	if strings.Contains(string(content), "PRIVATE") {
		t.Error("a private key")
	}
}
