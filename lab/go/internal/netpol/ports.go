package netpol

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// portName is a named port of a rule, not yet resolved.
type portName struct {
	protocol corev1.Protocol
	name     string
}

// protocolOf applies the default of a policy port's protocol.
func protocolOf(port networkingv1.NetworkPolicyPort) corev1.Protocol {
	if port.Protocol == nil {
		return corev1.ProtocolTCP
	}
	return *port.Protocol
}

// numberedPorts returns the port half of a rule without its named ports: no
// list or an empty one allows everything; an entry without a port its whole protocol.
func numberedPorts(ports []networkingv1.NetworkPolicyPort) portMatch {
	if len(ports) == 0 {
		return portMatch{any: true}
	}
	var ranges []PortRange
	for _, port := range ports {
		span := PortRange{Protocol: protocolOf(port), First: 0, Last: 65535}
		if port.Port != nil {
			if port.Port.Type == intstr.String {
				continue
			}
			span.First = uint16(port.Port.IntVal)
			span.Last = span.First
			if port.EndPort != nil {
				span.Last = uint16(*port.EndPort)
			}
			if span.Last < span.First {
				continue
			}
		}
		ranges = append(ranges, span)
	}
	return portMatch{ranges: mergePorts(ranges)}
}

// namedPorts returns the named ports of a rule.
func namedPorts(ports []networkingv1.NetworkPolicyPort) []portName {
	var names []portName
	for _, port := range ports {
		if port.Port != nil && port.Port.Type == intstr.String {
			names = append(names, portName{protocol: protocolOf(port), name: port.Port.StrVal})
		}
	}
	return names
}

// resolve returns the numbers that the names have on a pod. A name that the pod
// lacks, or has for another protocol, resolves to nothing.
func resolve(names []portName, pod Pod) []PortRange {
	var ranges []PortRange
	for _, name := range names {
		for _, port := range pod.Ports {
			if port.Name == name.name && port.Protocol == name.protocol {
				ranges = append(ranges, PortRange{Protocol: port.Protocol, First: port.Port, Last: port.Port})
			}
		}
	}
	return ranges
}

// ingressPorts returns the port half of an ingress rule on the pod it protects.
func ingressPorts(ports []networkingv1.NetworkPolicyPort, pod Pod) portMatch {
	match := numberedPorts(ports)
	match.ranges = mergePorts(append(match.ranges, resolve(namedPorts(ports), pod)...))
	return match
}

// mergePorts sorts by protocol and port and joins spans that overlap or touch.
func mergePorts(ranges []PortRange) []PortRange {
	sorted := slices.Clone(ranges)
	slices.SortFunc(sorted, func(a, b PortRange) int {
		if order := strings.Compare(string(a.Protocol), string(b.Protocol)); order != 0 {
			return order
		}
		return int(a.First) - int(b.First)
	})
	var merged []PortRange
	for _, r := range sorted {
		if len(merged) > 0 {
			previous := &merged[len(merged)-1]
			if previous.Protocol == r.Protocol && int(r.First) <= int(previous.Last)+1 {
				previous.Last = max(previous.Last, r.Last)
				continue
			}
		}
		merged = append(merged, r)
	}
	return merged
}
