package report

import (
	"cmp"
	"encoding/json"
	"net/netip"
	"slices"
	"time"

	"bulkhead.mesh/lab-istio/internal/ztunnel/identity"
	"bulkhead.mesh/lab-istio/internal/ztunnel/mesh"
	"istio.io/istio/pkg/workloadapi"
	"istio.io/istio/pkg/zdsapi"
)

// Dump is what istioctl and checks read at /config_dump. Keys are Istio's; a key
// that says nothing about the lab is left out.
type Dump struct {
	Workloads     []WorkloadDump    `json:"workloads"`
	Services      []ServiceDump     `json:"services"`
	Policies      []PolicyDump      `json:"policies"`
	Certificates  []CertificateDump `json:"certificates"`
	WorkloadState map[string]Served `json:"workloadState"`
}

// WorkloadDump is one workload of the mesh.
type WorkloadDump struct {
	UID                   string   `json:"uid"`
	WorkloadIPs           []string `json:"workloadIps"`
	Waypoint              *Gateway `json:"waypoint,omitempty"`
	Protocol              string   `json:"protocol"`
	Name                  string   `json:"name"`
	Namespace             string   `json:"namespace"`
	ServiceAccount        string   `json:"serviceAccount"`
	TrustDomain           string   `json:"trustDomain,omitempty"`
	WorkloadName          string   `json:"workloadName"`
	ClusterID             string   `json:"clusterId"`
	Node                  string   `json:"node"`
	Status                string   `json:"status"`
	AuthorizationPolicies []string `json:"authorizationPolicies,omitempty"`
}

// Gateway names a waypoint: a host name or an address, with the tunnel's port.
type Gateway struct {
	Destination string `json:"destination"`
}

// ServiceDump is one service of the mesh.
type ServiceDump struct {
	Name      string            `json:"name"`
	Namespace string            `json:"namespace"`
	Hostname  string            `json:"hostname"`
	Addresses []string          `json:"vips"`
	Ports     map[uint32]uint32 `json:"ports"`
	Waypoint  *Gateway          `json:"waypoint,omitempty"`
}

// PolicyDump is one authorization policy; its conditions are left out.
type PolicyDump struct {
	Name      string `json:"name"`
	Namespace string `json:"namespace"`
	Scope     string `json:"scope"`
	Action    string `json:"action"`
}

// CertificateDump is one certificate that is held now.
type CertificateDump struct {
	Identity string            `json:"identity"`
	State    string            `json:"state"`
	Chain    []CertificateLife `json:"certChain"`
}

// CertificateLife is how long one certificate is valid.
type CertificateLife struct {
	SerialNumber   string `json:"serialNumber"`
	ValidFrom      string `json:"validFrom"`
	ExpirationTime string `json:"expirationTime"`
}

// Served is one pod of this node whose connections go through here.
type Served struct {
	State string     `json:"state"`
	Info  ServedInfo `json:"info"`
}

// ServedInfo is what istio-cni said of the pod.
type ServedInfo struct {
	Name           string `json:"name"`
	Namespace      string `json:"namespace"`
	TrustDomain    string `json:"trustDomain"`
	ServiceAccount string `json:"serviceAccount"`
}

// MakeDump collects the dump, in a stable order.
func MakeDump(state *mesh.State, certificates *identity.Cache, pods map[string]*zdsapi.WorkloadInfo) Dump {
	dump := Dump{
		Workloads: []WorkloadDump{}, Services: []ServiceDump{}, Policies: []PolicyDump{}, Certificates: []CertificateDump{},
		WorkloadState: map[string]Served{},
	}
	addresses, policies := state.Snapshot()
	for _, address := range addresses {
		if workload := address.GetWorkload(); workload != nil {
			dump.Workloads = append(dump.Workloads, dumpWorkload(workload))
		} else if service := address.GetService(); service != nil {
			dump.Services = append(dump.Services, dumpService(service))
		}
	}
	for _, policy := range policies {
		dump.Policies = append(dump.Policies, PolicyDump{policy.Name, policy.Namespace, policy.Scope.String(), policy.Action.String()})
	}
	slices.SortFunc(dump.Policies, func(a, b PolicyDump) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	for id, leaf := range certificates.Leaves() {
		dump.Certificates = append(dump.Certificates, CertificateDump{id.String(), "Available", []CertificateLife{{
			leaf.SerialNumber.String(), leaf.NotBefore.UTC().Format(time.RFC3339), leaf.NotAfter.UTC().Format(time.RFC3339),
		}}})
	}
	slices.SortFunc(dump.Certificates, func(a, b CertificateDump) int { return cmp.Compare(a.Identity, b.Identity) })
	for uid, info := range pods {
		dump.WorkloadState[uid] = Served{"Up", ServedInfo{info.Name, info.Namespace, identity.DefaultTrustDomain, info.ServiceAccount}}
	}
	return dump
}

func dumpWorkload(w *workloadapi.Workload) WorkloadDump {
	protocol, status := "TCP", "Healthy"
	if w.TunnelProtocol == workloadapi.TunnelProtocol_HBONE {
		protocol = "HBONE"
	}
	if w.Status != workloadapi.WorkloadStatus_HEALTHY {
		status = "Unhealthy"
	}
	id := mesh.Identity(w)
	dump := WorkloadDump{
		UID: w.Uid, WorkloadIPs: []string{}, Waypoint: dumpGateway(w.Waypoint), Protocol: protocol, Name: w.Name, Namespace: w.Namespace,
		ServiceAccount: id.ServiceAccount, TrustDomain: id.TrustDomain, WorkloadName: w.WorkloadName, ClusterID: w.ClusterId, Node: w.Node,
		Status: status, AuthorizationPolicies: w.AuthorizationPolicies,
	}
	for _, bytes := range w.Addresses {
		dump.WorkloadIPs = append(dump.WorkloadIPs, ipText(bytes))
	}
	return dump
}

func dumpService(s *workloadapi.Service) ServiceDump {
	dump := ServiceDump{
		Name: s.Name, Namespace: s.Namespace, Hostname: s.Hostname, Addresses: []string{}, Ports: map[uint32]uint32{},
		Waypoint: dumpGateway(s.Waypoint),
	}
	for _, address := range s.Addresses {
		dump.Addresses = append(dump.Addresses, address.Network+"/"+ipText(address.Address))
	}
	for _, port := range s.Ports {
		dump.Ports[port.ServicePort] = port.TargetPort
	}
	return dump
}

func dumpGateway(gateway *workloadapi.GatewayAddress) *Gateway {
	if name := gateway.GetHostname(); name != nil {
		return &Gateway{name.Namespace + "/" + name.Hostname}
	}
	if address := gateway.GetAddress(); address != nil {
		return &Gateway{address.Network + "/" + ipText(address.Address)}
	}
	return nil
}

func ipText(bytes []byte) string {
	ip, _ := netip.AddrFromSlice(bytes)
	return ip.Unmap().String()
}

// JSON is the dump as it is served.
func (d Dump) JSON() ([]byte, error) { return json.MarshalIndent(d, "", "  ") }
