// Package netpol enforces networking.k8s.io/v1 NetworkPolicies on the lab's
// node: objects are compiled to a model, the model is rendered as one nftables
// table, and a daemon keeps that table up to date.
package netpol

import (
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// Pod is what a policy can say about a pod, and where its packets are seen.
type Pod struct {
	Namespace, Name string
	Labels          labels.Set
	// Addresses holds the pod's own addresses, of both families.
	Addresses []netip.Addr
	// HostInterface is the node's end of the pod's link. "" = unknown: the
	// pod's packets are then recognised by their source address only.
	HostInterface string
	Ports         []NamedPort
	// Subject: policies that select the pod are enforced on it.
	Subject bool
	// Peer: the pod's addresses count for selectors in `from` and `to`.
	Peer bool
}

// NamedPort is a container port that policies may refer to by name.
type NamedPort struct {
	Name     string
	Protocol corev1.Protocol
	Port     uint16
}

// Input is everything the rules depend on.
type Input struct {
	Pods       []Pod
	Namespaces map[string]labels.Set
	Policies   []*networkingv1.NetworkPolicy
	// Uplink is the node's interface to the outside: pod addresses are never
	// believed there. "" = no such check.
	Uplink string
}

// Model is the compiled state: which packets are judged by which chain.
type Model struct {
	Uplink string
	// Deny is what becomes of a packet that no rule allows.
	Deny Denial
	// Addresses are those of all known pods.
	Addresses       []netip.Addr
	Egress, Ingress []Chain
	// Isolated counts the pods that some policy selects.
	Isolated int
	// Warnings name policies with parts that cannot be understood.
	Warnings []string
}

// Chain is the verdict of one direction for all pods that share it. A packet
// that no rule allows is dropped, so a chain without rules denies everything.
type Chain struct {
	// Interfaces (egress only) and Addresses together name the chain's pods;
	// a pod stands in one of the two.
	Interfaces []string
	Addresses  []netip.Addr
	Rules      []Rule
}

// Rule allows a packet whose peer and port both match, or whose destination is listed.
type Rule struct {
	// AnyPeer allows every address; otherwise Peers says which (none = no peer).
	AnyPeer bool
	Peers   []Range
	// AnyPort allows every protocol and port; otherwise Ports says which (none = no port).
	AnyPort bool
	Ports   []PortRange
	// Destinations are exact endpoints: the named ports of an egress rule,
	// which mean another number on each destination pod.
	Destinations []Endpoint
}

// PortRange is an inclusive span of ports of one protocol; 0-65535 is the whole protocol.
type PortRange struct {
	Protocol    corev1.Protocol
	First, Last uint16
}

// Endpoint is one port of one address.
type Endpoint struct {
	Address  netip.Addr
	Protocol corev1.Protocol
	Port     uint16
}

// allowsNothing is true for a rule that no packet can match.
func (r Rule) allowsNothing() bool {
	peers := r.AnyPeer || len(r.Peers) > 0
	ports := r.AnyPort || len(r.Ports) > 0
	return !(peers && ports) && len(r.Destinations) == 0
}
