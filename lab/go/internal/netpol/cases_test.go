package netpol

import (
	"fmt"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"
)

// casesFile is shared with the runner that tries the same cases in the lab.
const casesFile = "../../../../tests/lab/netpol/cases.yaml"

// The outside addresses that the cases call target4 and target6.
var targets = map[string]netip.Addr{
	"target4": netip.MustParseAddr("203.0.113.10"),
	"target6": netip.MustParseAddr("2001:db8:113::10"),
}

type castPod struct {
	Namespace    string            `json:"namespace"`
	Labels       map[string]string `json:"labels"`
	Ports        map[string]string `json:"ports"`
	SidecarPorts map[string]string `json:"sidecar_ports"`
	HostNetwork  bool              `json:"host_network"`
}

type expectation struct {
	From     string `json:"from"`
	To       string `json:"to"`
	Protocol string `json:"protocol"`
	Family   any    `json:"family"`
	Allowed  bool   `json:"allowed"`
	Survives bool   `json:"survives"`
}

type policyCase struct {
	Name     string `json:"name"`
	Policies []struct {
		Namespace string                         `json:"namespace"`
		Name      string                         `json:"name"`
		Spec      networkingv1.NetworkPolicySpec `json:"spec"`
	} `json:"policies"`
	Expect []expectation `json:"expect"`
	Flows  []expectation `json:"flows"`
}

type caseFile struct {
	Cast struct {
		Listen     []int                        `json:"listen"`
		Namespaces map[string]map[string]string `json:"namespaces"`
		Pods       map[string]castPod           `json:"pods"`
	} `json:"cast"`
	Cases []policyCase `json:"cases"`
}

// cast is the file with addresses given to its pods.
type cast struct {
	caseFile
	addresses map[string][]netip.Addr // IPv4 first; host-network pods have the node's
}

func loadCases(t *testing.T) cast {
	t.Helper()
	text, err := os.ReadFile(casesFile)
	if err != nil {
		t.Fatal(err)
	}
	plain := caseFile{}
	if err := yaml.Unmarshal(text, &plain); err != nil {
		t.Fatal(err)
	}
	c := cast{addresses: map[string][]netip.Addr{}}
	for i, name := range sortedKeys(plain.Cast.Pods) {
		c.addresses[name] = []netip.Addr{
			netip.MustParseAddr(fmt.Sprintf("10.244.0.%d", i+2)),
			netip.MustParseAddr(fmt.Sprintf("fd00:10:244::%x", i+2)),
		}
		if plain.Cast.Pods[name].HostNetwork {
			c.addresses[name] = []netip.Addr{netip.MustParseAddr("172.30.0.10"), netip.MustParseAddr("2001:db8:30::10")}
		}
	}
	filled := regexp.MustCompile(`\$ip([46])\(([a-z-]+)\)`).ReplaceAllStringFunc(string(text), func(match string) string {
		name := match[5 : len(match)-1]
		if name == "POD" {
			return match
		}
		return c.addresses[name][map[byte]int{'4': 0, '6': 1}[match[3]]].String()
	})
	if err := yaml.Unmarshal([]byte(filled), &c.caseFile); err != nil {
		t.Fatal(err)
	}
	return c
}

func (c cast) policies(of policyCase) []*networkingv1.NetworkPolicy {
	var policies []*networkingv1.NetworkPolicy
	for _, p := range of.Policies {
		policies = append(policies, &networkingv1.NetworkPolicy{
			ObjectMeta: metav1.ObjectMeta{Namespace: p.Namespace, Name: p.Name}, Spec: p.Spec,
		})
	}
	return policies
}

func (c cast) namespaceObjects() []*corev1.Namespace {
	var objects []*corev1.Namespace
	for _, name := range sortedKeys(c.Cast.Namespaces) {
		labels := map[string]string{corev1.LabelMetadataName: name}
		for key, value := range c.Cast.Namespaces[name] {
			labels[key] = value
		}
		objects = append(objects, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}})
	}
	return objects
}

func (c cast) podObjects() []*corev1.Pod {
	var objects []*corev1.Pod
	for _, name := range sortedKeys(c.Cast.Pods) {
		p := c.Cast.Pods[name]
		always := corev1.ContainerRestartPolicyAlways
		pod := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: p.Namespace, Name: name, UID: types.UID("uid-" + name), Labels: p.Labels},
			Spec: corev1.PodSpec{
				NodeName: "node", HostNetwork: p.HostNetwork,
				Containers: []corev1.Container{{Name: "agent", Ports: containerPorts(p.Ports)}},
			},
			Status: corev1.PodStatus{Phase: corev1.PodRunning},
		}
		if p.SidecarPorts != nil {
			pod.Spec.InitContainers = []corev1.Container{{Name: "side", RestartPolicy: &always, Ports: containerPorts(p.SidecarPorts)}}
		}
		for _, address := range c.addresses[name] {
			pod.Status.PodIPs = append(pod.Status.PodIPs, corev1.PodIP{IP: address.String()})
		}
		objects = append(objects, pod)
	}
	return objects
}

func containerPorts(named map[string]string) []corev1.ContainerPort {
	var ports []corev1.ContainerPort
	for _, name := range sortedKeys(named) {
		number, protocol, _ := strings.Cut(named[name], "/")
		port, _ := strconv.Atoi(number)
		ports = append(ports, corev1.ContainerPort{Name: name, ContainerPort: int32(port), Protocol: corev1.Protocol(protocol)})
	}
	return ports
}

// probe is one expectation of one family with addresses filled in.
type probe struct {
	label, from, to string // pod names; to may be a target
	source, dest    netip.Addr
	port            uint16
	protocol        string
	allowed         bool
}

// probes spreads expectations over families; those by way of a service need a cluster.
func (c cast) probes(t *testing.T, expectations []expectation) []probe {
	t.Helper()
	var probes []probe
	for _, e := range expectations {
		name, portText, _ := strings.Cut(e.To, ":")
		if strings.HasSuffix(name, "-svc") {
			continue
		}
		port, _ := strconv.Atoi(portText)
		p := probe{from: e.From, to: name, port: uint16(port), protocol: e.Protocol, allowed: e.Allowed || e.Survives}
		if p.protocol == "" {
			p.protocol = "TCP"
		}
		for i, f := range []string{"4", "6"} {
			if want := fmt.Sprint(e.Family); e.Family != nil && want != "both" && want != f {
				continue
			}
			if len(c.addresses[e.From]) == 0 {
				t.Fatalf("%s is not in the cast", e.From)
			}
			p.source = c.addresses[e.From][i]
			if target, ok := targets[name]; ok {
				p.dest = target
			} else if len(c.addresses[name]) > 0 {
				p.dest = c.addresses[name][i]
			} else {
				t.Fatalf("%s is not in the cast", name)
			}
			p.label = fmt.Sprintf("%s -> %s %s v%s", e.From, e.To, p.protocol, f)
			probes = append(probes, p)
		}
	}
	return probes
}

// judge applies a model to a first packet the way the base chain does.
func judge(m Model, p probe, nodeAddresses ...netip.Addr) bool {
	if p.source == p.dest || slices.Contains(nodeAddresses, p.source) || slices.Contains(nodeAddresses, p.dest) {
		return true
	}
	return judgeChains(m.Egress, p.source, p.dest, p) && judgeChains(m.Ingress, p.dest, p.source, p)
}

func judgeChains(chains []Chain, subject, peer netip.Addr, p probe) bool {
	for _, chain := range chains {
		if !slices.Contains(chain.Addresses, subject) {
			continue
		}
		return slices.ContainsFunc(chain.Rules, func(r Rule) bool {
			peers := r.AnyPeer || contains(r.Peers, peer)
			ports := r.AnyPort || slices.ContainsFunc(r.Ports, func(s PortRange) bool {
				return string(s.Protocol) == p.protocol && s.First <= p.port && p.port <= s.Last
			})
			return peers && ports || slices.Contains(r.Destinations, Endpoint{Address: p.dest, Protocol: corev1.Protocol(p.protocol), Port: p.port})
		})
	}
	return true
}

// TestCasesCompile judges the lab's table of cases by the compiled model alone.
func TestCasesCompile(t *testing.T) {
	c := loadCases(t)
	if len(c.Cases) < 44 {
		t.Fatalf("only %d cases", len(c.Cases))
	}
	names := map[string]bool{}
	for _, one := range c.Cases {
		if names[one.Name] {
			t.Fatalf("two cases are called %s", one.Name)
		}
		names[one.Name] = true
		t.Run(one.Name, func(t *testing.T) {
			state := NewState("node", "eth0", Mode{}, func() {})
			for _, namespace := range c.namespaceObjects() {
				state.SetNamespace(namespace)
			}
			for _, pod := range c.podObjects() {
				state.SetPod(pod)
			}
			for _, policy := range c.policies(one) {
				state.SetPolicy(policy)
			}
			model := Compile(state.View(epoch).Input)
			if len(model.Warnings) > 0 {
				t.Fatal(model.Warnings)
			}
			verdicts := map[bool]int{}
			for _, p := range c.probes(t, one.Expect) {
				verdicts[p.allowed]++
				if got := judge(model, p, c.addresses["red-host"]...); got != p.allowed {
					t.Errorf("%s: allowed %v, want %v", p.label, got, p.allowed)
				}
			}
			if verdicts[true] == 0 || verdicts[false] == 0 {
				t.Errorf("the case proves nothing: %d allowed, %d denied", verdicts[true], verdicts[false])
			}
		})
	}
}
