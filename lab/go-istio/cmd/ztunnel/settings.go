package main

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"bulkhead.mesh/lab-istio/internal/ztunnel/mesh"
)

// Mounts of the chart's DaemonSet.
const (
	rootFile  = "/var/run/secrets/istio/root-cert.pem"
	tokenFile = "/var/run/secrets/tokens/istio-token"
)

// settings are what the chart's DaemonSet says in the environment.
type settings struct {
	authority, discovery string // addresses of istiod
	socket               string // of istio-cni's node agent
	node                 mesh.Node
	grace                time.Duration // for open connections at the end
}

// readSettings has the chart's defaults for what is unset, but none for who this is.
func readSettings(variable func(string) string) (settings, error) {
	or := func(name, fallback string) string {
		if value := variable(name); value != "" {
			return value
		}
		return fallback
	}
	for _, name := range []string{"INSTANCE_IP", "POD_NAME", "POD_NAMESPACE", "NODE_NAME"} {
		if variable(name) == "" {
			return settings{}, fmt.Errorf("environment variable %s is not set: the DaemonSet sets it from the pod's own fields", name)
		}
	}
	grace := or("TERMINATION_GRACE_PERIOD_SECONDS", "30")
	seconds, err := strconv.Atoi(grace)
	if err != nil || seconds < 1 {
		return settings{}, fmt.Errorf("TERMINATION_GRACE_PERIOD_SECONDS is %q, not a number of seconds", grace)
	}
	return settings{
		authority: or("CA_ADDRESS", "istiod.istio-system.svc:15012"),
		discovery: or("XDS_ADDRESS", "istiod.istio-system.svc:15012"),
		socket:    or("INPOD_UDS", "/var/run/ztunnel/ztunnel.sock"),
		node: mesh.Node{
			Address: variable("INSTANCE_IP"), Name: variable("POD_NAME"), Namespace: variable("POD_NAMESPACE"),
			KubernetesNode: variable("NODE_NAME"), Cluster: or("ISTIO_META_CLUSTER_ID", "Kubernetes"),
		},
		// The kubelet kills at the end of the grace period: be through a moment before.
		grace: max(time.Duration(seconds)*time.Second-time.Second, time.Second/2),
	}, nil
}

// firstNameserver of a resolv.conf, invalid if there is none.
func firstNameserver(content string) netip.AddrPort {
	for line := range strings.Lines(content) {
		fields := strings.Fields(line)
		if len(fields) < 2 || fields[0] != "nameserver" {
			continue
		}
		if ip, err := netip.ParseAddr(fields[1]); err == nil {
			return netip.AddrPortFrom(ip, 53)
		}
	}
	return netip.AddrPort{}
}
