package netpol

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/yaml"
)

func ranges(texts ...string) []Range {
	var list []Range
	for _, text := range texts {
		first, last, span := strings.Cut(text, "-")
		switch {
		case span:
			list = append(list, Range{netip.MustParseAddr(first), netip.MustParseAddr(last)})
		case strings.Contains(text, "/"):
			r, err := prefixRange(text)
			if err != nil {
				panic(err)
			}
			list = append(list, r)
		default:
			list = append(list, single(netip.MustParseAddr(text)))
		}
	}
	return list
}

func TestRanges(t *testing.T) {
	for name, c := range map[string]struct{ got, want []Range }{
		"prefix":             {ranges("10.0.0.7/29"), ranges("10.0.0.0-10.0.0.7")},
		"prefix of all":      {ranges("0.0.0.0/0"), ranges("0.0.0.0-255.255.255.255")},
		"prefix of one":      {ranges("::1/128"), ranges("::1")},
		"prefix odd":         {ranges("2001:db8::/33"), ranges("2001:db8::-2001:db8:7fff:ffff:ffff:ffff:ffff:ffff")},
		"hole inside":        {subtract(ranges("10.0.0.0/24"), ranges("10.0.0.4/30")), ranges("10.0.0.0-10.0.0.3", "10.0.0.8-10.0.0.255")},
		"hole at first":      {subtract(ranges("10.0.0.0/24"), ranges("10.0.0.0")), ranges("10.0.0.1-10.0.0.255")},
		"hole at last":       {subtract(ranges("10.0.0.0/24"), ranges("10.0.0.255")), ranges("10.0.0.0-10.0.0.254")},
		"hole is all":        {subtract(ranges("10.0.0.0/24"), ranges("10.0.0.0/16")), nil},
		"hole beside":        {subtract(ranges("10.0.0.0/24"), ranges("10.0.1.0/24")), ranges("10.0.0.0/24")},
		"hole of other kind": {subtract(ranges("0.0.0.0/0"), ranges("::/0")), ranges("0.0.0.0/0")},
		"two holes":          {subtract(ranges("10.0.0.0/30"), ranges("10.0.0.1", "10.0.0.2")), ranges("10.0.0.0", "10.0.0.3")},
		"hole to the end":    {subtract(ranges("0.0.0.0/0"), ranges("128.0.0.0/1")), ranges("0.0.0.0/1")},
		"merge overlap":      {merge(ranges("10.0.0.5-10.0.0.9", "10.0.0.1-10.0.0.6")), ranges("10.0.0.1-10.0.0.9")},
		"merge touching":     {merge(ranges("10.0.0.2", "10.0.0.1")), ranges("10.0.0.1-10.0.0.2")},
		"merge inside":       {merge(ranges("10.0.0.0/24", "10.0.0.9")), ranges("10.0.0.0/24")},
		"merge apart":        {merge(ranges("10.0.0.3", "10.0.0.1")), ranges("10.0.0.1", "10.0.0.3")},
		"merge families":     {merge(ranges("::", "255.255.255.255")), ranges("255.255.255.255", "::")},
	} {
		if !slices.Equal(c.got, c.want) {
			t.Errorf("%s: got %v, want %v", name, c.got, c.want)
		}
	}
	if _, err := prefixRange("10.0.0.0"); err == nil {
		t.Error("an address without a length passes for a CIDR")
	}
}

func policyOf(t *testing.T, namespace, spec string) *networkingv1.NetworkPolicy {
	t.Helper()
	policy := &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "p"}}
	if err := yaml.Unmarshal([]byte(spec), &policy.Spec); err != nil {
		t.Fatal(err)
	}
	return policy
}

func plainPod(namespace, name, ip string) Pod {
	return Pod{
		Namespace: namespace, Name: name, Labels: labels.Set{"name": name}, Subject: true, Peer: true,
		Addresses: []netip.Addr{netip.MustParseAddr(ip)},
		Ports:     []NamedPort{{"sig", corev1.ProtocolSCTP, 3868}, {"www", corev1.ProtocolTCP, 80}},
	}
}

// TestCompileDetails covers what the cases of the lab cannot show with traffic:
// SCTP, one-node blind spots, and objects that the API server would refuse.
func TestCompileDetails(t *testing.T) {
	to := func(from, dest string, port uint16, protocol string) probe {
		return probe{source: netip.MustParseAddr(from), dest: netip.MustParseAddr(dest), port: port, protocol: protocol}
	}
	const a, b, other = "10.244.0.1", "10.244.0.2", "10.244.0.3"
	const toEgress = "podSelector: {}\npolicyTypes: [Egress]\negress: "
	cases := []struct {
		name, spec string
		edit       func(*Input)
		packet     probe
		want       bool
		warnings   int
	}{
		{"sctp port", "ingress: [{ports: [{port: 3868, protocol: SCTP}]}]", nil, to(a, b, 3868, "SCTP"), true, 0},
		{"sctp port is no tcp port", "ingress: [{ports: [{port: 3868, protocol: SCTP}]}]", nil, to(a, b, 3868, "TCP"), false, 0},
		{"sctp named", "ingress: [{ports: [{port: sig, protocol: SCTP}]}]", nil, to(a, b, 3868, "SCTP"), true, 0},
		{"sctp name asked as tcp", "ingress: [{ports: [{port: sig}]}]", nil, to(a, b, 3868, "SCTP"), false, 0},
		{"sctp egress named", toEgress + "[{ports: [{port: sig, protocol: SCTP}]}]", nil, to(a, b, 3868, "SCTP"), true, 0},
		{"sctp egress named, other port", toEgress + "[{ports: [{port: sig, protocol: SCTP}]}]", nil, to(a, b, 3869, "SCTP"), false, 0},
		{"whole sctp", "ingress: [{ports: [{protocol: SCTP}]}]", nil, to(a, b, 1, "SCTP"), true, 0},
		{"a peer that is none", "ingress: [{from: [{podSelector: {}}]}]", func(in *Input) { in.Pods[0].Peer = false }, to(a, b, 1, "TCP"), false, 0},
		{"a named port of a pod that is no peer", toEgress + "[{ports: [{port: www}]}]", func(in *Input) { in.Pods[1].Peer = false }, to(a, b, 80, "TCP"), false, 0},
		{"a subject that is none", "{}", func(in *Input) { in.Pods[1].Subject = false }, to(a, b, 1, "TCP"), true, 0},
		{"namespace not known yet", "ingress: [{from: [{namespaceSelector: {}}]}]", func(in *Input) { delete(in.Namespaces, "far") }, to(other, b, 1, "TCP"), false, 0},
		{"namespace known", "ingress: [{from: [{namespaceSelector: {}}]}]", nil, to(other, b, 1, "TCP"), true, 0},
		{"peer without selector", "ingress: [{from: [{}]}]", nil, to(a, b, 1, "TCP"), false, 0},
		{"broken own selector denies", "podSelector: {matchExpressions: [{key: x, operator: Sometimes}]}", nil, to(a, b, 1, "TCP"), false, 1},
		{"broken peer selector opens nothing", "ingress: [{from: [{podSelector: {matchExpressions: [{key: x, operator: In}]}}]}]", nil, to(a, b, 1, "TCP"), false, 1},
		{"broken namespace selector opens nothing", "ingress: [{from: [{namespaceSelector: {matchExpressions: [{key: x, operator: In}]}}]}]", nil, to(a, b, 1, "TCP"), false, 1},
		{"broken cidr opens nothing", "ingress: [{from: [{ipBlock: {cidr: 10.244.0.1}}]}]", nil, to(a, b, 1, "TCP"), false, 1},
		{"broken except opens nothing", "ingress: [{from: [{ipBlock: {cidr: 10.244.0.0/24, except: [x]}}]}]", nil, to(a, b, 1, "TCP"), false, 1},
		{"endPort below port", "ingress: [{ports: [{port: 80, endPort: 79}]}]", nil, to(a, b, 80, "TCP"), false, 0},
		{"last port", "ingress: [{ports: [{port: 65530, endPort: 65535}]}]", nil, to(a, b, 65535, "TCP"), true, 0},
		{"named egress port inside a block", toEgress + "[{to: [{ipBlock: {cidr: 10.244.0.2/32}}], ports: [{port: www}]}]", nil, to(a, b, 80, "TCP"), true, 0},
		{"named egress port outside a block", toEgress + "[{to: [{ipBlock: {cidr: 10.244.0.3/32}}], ports: [{port: www}]}]", nil, to(a, b, 80, "TCP"), false, 0},
		{"named and numbered egress ports", toEgress + "[{ports: [{port: www}, {port: 90}]}]", nil, to(a, "192.0.2.1", 90, "TCP"), true, 0},
		{"name on outside address", toEgress + "[{ports: [{port: www}, {port: 90}]}]", nil, to(a, "192.0.2.1", 80, "TCP"), false, 0},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			in := Input{
				Pods:       []Pod{plainPod("ns", "a", a), plainPod("ns", "b", b), plainPod("far", "c", other)},
				Namespaces: map[string]labels.Set{"ns": {}, "far": {}},
				Policies:   []*networkingv1.NetworkPolicy{policyOf(t, "ns", c.spec)},
			}
			if c.edit != nil {
				c.edit(&in)
			}
			model := Compile(in)
			if got := judge(model, c.packet); got != c.want {
				t.Errorf("allowed %v, want %v", got, c.want)
			}
			if len(model.Warnings) != c.warnings {
				t.Errorf("warnings %v, want %d", model.Warnings, c.warnings)
			}
		})
	}
}

func TestCompileIsStable(t *testing.T) {
	var in Input
	in.Namespaces = map[string]labels.Set{"ns": {}}
	for i := range 20 {
		pod := plainPod("ns", fmt.Sprint("pod", i), fmt.Sprint("10.244.0.", i+1))
		pod.HostInterface = fmt.Sprint("veth", i)
		in.Pods = append(in.Pods, pod)
	}
	for i := range 5 {
		policy := policyOf(t, "ns", fmt.Sprintf("podSelector: {}\npolicyTypes: [Ingress, Egress]\ningress: [{from: [{podSelector: {}}], ports: [{port: %d}]}]", i+1))
		policy.Name = fmt.Sprint("p", i)
		in.Policies = append(in.Policies, policy)
	}
	model := Compile(in)
	text := Render(model)
	slices.Reverse(in.Pods)
	slices.Reverse(in.Policies)
	if again := Render(Compile(in)); again != text {
		t.Error("the order of the input changes the rules")
	}
	if len(model.Egress) != 1 || len(model.Ingress) != 1 || model.Isolated != 20 {
		t.Errorf("%d egress and %d ingress chains for %d equal pods", len(model.Egress), len(model.Ingress), model.Isolated)
	}
	if strings.Count(text, "set peers_") != 1 {
		t.Error("equal peer groups do not share one set")
	}
	if strings.Count(text, "type filter hook") != 1 || !strings.Contains(text, "hook forward") {
		t.Error("the table must hook into forward only: a pod's own node always reaches it")
	}
}
