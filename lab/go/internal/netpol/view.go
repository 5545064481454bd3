package netpol

import (
	"net/netip"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// View is one consistent look at the state.
type View struct {
	Revision int64
	Mode     Mode
	Input    Input
	// Open lists the pods whose window (mode late) is still open.
	Open []string
	// Next is when the first window closes and the view changes by itself; zero = never.
	Next time.Time
}

// View decides who owns which address and returns what the rules are made from.
//
// Sandboxes reported by CNI own their addresses. The other pods (they existed
// before the daemon did) are taken at their status's word where no sandbox
// contradicts it; of two that claim one address the younger has it.
func (s *State) View(now time.Time) View {
	s.mu.Lock()
	defer s.mu.Unlock()
	view := View{Revision: s.revision, Mode: s.mode, Input: Input{
		Uplink: s.uplink, Namespaces: map[string]labels.Set{},
	}}
	for name, namespace := range s.namespaces {
		view.Input.Namespaces[name] = labelsOf(namespace.Labels)
	}
	for _, id := range sortedKeys(s.policies) {
		view.Input.Policies = append(view.Input.Policies, s.policies[id])
	}

	owned := map[netip.Addr]bool{}
	for _, id := range sortedKeys(s.bindings) {
		binding := s.bindings[id]
		for _, address := range binding.Addresses {
			owned[address] = true
		}
		if binding.pod == nil || binding.pod.Spec.HostNetwork {
			continue
		}
		pod := describe(binding.pod)
		pod.Addresses, pod.HostInterface = binding.Addresses, binding.HostInterface
		if pod.HostInterface == s.uplink {
			pod.HostInterface = ""
		}
		pod.Peer = !binding.gone && !finished(binding.pod)
		pod.Subject = !binding.OpenUntil.After(now)
		if !pod.Subject {
			view.Open = append(view.Open, key(pod.Namespace, pod.Name))
			if view.Next.IsZero() || binding.OpenUntil.Before(view.Next) {
				view.Next = binding.OpenUntil
			}
		}
		view.Input.Pods = append(view.Input.Pods, pod)
	}
	for _, object := range s.byAge() {
		if s.managed[object.UID] || s.isBound(object) || object.Spec.HostNetwork || finished(object) {
			continue
		}
		pod := describe(object)
		for _, address := range statusAddresses(object) {
			if !owned[address] {
				owned[address] = true
				pod.Addresses = append(pod.Addresses, address)
			}
		}
		if len(pod.Addresses) == 0 {
			continue
		}
		pod.Peer = true
		pod.Subject = s.node == "" || object.Spec.NodeName == s.node
		view.Input.Pods = append(view.Input.Pods, pod)
	}
	return view
}

// isBound covers mirror pods, whose uid is not the one CNI reported.
func (s *State) isBound(pod *corev1.Pod) bool {
	for _, binding := range s.bindings {
		if binding.owns(pod) {
			return true
		}
	}
	return false
}

// byAge returns the pod objects, youngest first.
func (s *State) byAge() []*corev1.Pod {
	var pods []*corev1.Pod
	for _, id := range sortedKeys(s.pods) {
		pods = append(pods, s.pods[id])
	}
	slices.SortStableFunc(pods, func(a, b *corev1.Pod) int {
		return b.CreationTimestamp.Compare(a.CreationTimestamp.Time)
	})
	return pods
}

func finished(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
}

func statusAddresses(pod *corev1.Pod) []netip.Addr {
	var addresses []netip.Addr
	for _, ip := range pod.Status.PodIPs {
		if address, err := netip.ParseAddr(ip.IP); err == nil {
			addresses = append(addresses, address.Unmap())
		}
	}
	return addresses
}

// describe takes from a pod what selectors and ports need. Restartable init
// containers (native sidecars) serve as long as the pod does, so their ports count.
func describe(object *corev1.Pod) Pod {
	pod := Pod{Namespace: object.Namespace, Name: object.Name, Labels: labelsOf(object.Labels)}
	containers := slices.Clone(object.Spec.Containers)
	for _, container := range object.Spec.InitContainers {
		if container.RestartPolicy != nil && *container.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			containers = append(containers, container)
		}
	}
	for _, container := range containers {
		for _, port := range container.Ports {
			if port.Name == "" {
				continue
			}
			protocol := port.Protocol
			if protocol == "" {
				protocol = corev1.ProtocolTCP
			}
			pod.Ports = append(pod.Ports, NamedPort{Name: port.Name, Protocol: protocol, Port: uint16(port.ContainerPort)})
		}
	}
	return pod
}

// Objects are the resource versions of everything the state holds, by kind and key.
type Objects map[string]map[string]uint64

// Kinds of Objects.
const (
	kindPod       = "pod"
	kindNamespace = "namespace"
	kindPolicy    = "policy"
)

// NewObjects is an empty list.
func NewObjects() Objects {
	return Objects{kindPod: {}, kindNamespace: {}, kindPolicy: {}}
}

func (o Objects) addPod(pod *corev1.Pod) {
	o[kindPod][key(pod.Namespace, pod.Name)] = version(pod.ResourceVersion)
}

func (o Objects) addNamespace(namespace *corev1.Namespace) {
	o[kindNamespace][namespace.Name] = version(namespace.ResourceVersion)
}

func (o Objects) addPolicy(policy *networkingv1.NetworkPolicy) {
	o[kindPolicy][key(policy.Namespace, policy.Name)] = version(policy.ResourceVersion)
}

// Covers tells whether o is at least as new as other in each object, and holds nothing else.
func (o Objects) Covers(other Objects) bool {
	for kind, objects := range other {
		if len(o[kind]) != len(objects) {
			return false
		}
		for id, resourceVersion := range objects {
			have, known := o[kind][id]
			if !known || have < resourceVersion {
				return false
			}
		}
	}
	return true
}

// Objects lists what the state holds, and the revision of that list.
func (s *State) Objects() (Objects, int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	objects := NewObjects()
	for _, pod := range s.pods {
		objects.addPod(pod)
	}
	for _, namespace := range s.namespaces {
		objects.addNamespace(namespace)
	}
	for _, policy := range s.policies {
		objects.addPolicy(policy)
	}
	return objects, s.revision
}
