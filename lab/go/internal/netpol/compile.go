package netpol

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// Compile turns the cluster's objects into the model of the node's rules. It is
// a pure function; the order of the input does not change the result.
//
// A part that cannot be understood never opens anything: a broken peer matches
// no one, a broken podSelector selects every pod of its namespace.
func Compile(in Input) Model {
	c := compiler{in: in}
	c.policies = slices.Clone(in.Policies)
	slices.SortFunc(c.policies, func(a, b *networkingv1.NetworkPolicy) int {
		return strings.Compare(a.Namespace+"/"+a.Name, b.Namespace+"/"+b.Name)
	})
	pods := slices.Clone(in.Pods)
	slices.SortFunc(pods, func(a, b Pod) int {
		return strings.Compare(a.Namespace+"/"+a.Name, b.Namespace+"/"+b.Name)
	})
	c.in.Pods = pods

	model := Model{Uplink: in.Uplink}
	egress, ingress := newChains(), newChains()
	for _, pod := range pods {
		model.Addresses = append(model.Addresses, pod.Addresses...)
		if !pod.Subject || len(pod.Addresses) == 0 {
			continue
		}
		egressRules, egressIsolated := c.rules(pod, networkingv1.PolicyTypeEgress)
		ingressRules, ingressIsolated := c.rules(pod, networkingv1.PolicyTypeIngress)
		if egressIsolated || ingressIsolated {
			model.Isolated++
		}
		if egressIsolated {
			chain := egress.get(egressRules)
			if pod.HostInterface != "" {
				chain.Interfaces = append(chain.Interfaces, pod.HostInterface)
			} else {
				chain.Addresses = append(chain.Addresses, pod.Addresses...)
			}
		}
		if ingressIsolated {
			chain := ingress.get(ingressRules)
			chain.Addresses = append(chain.Addresses, pod.Addresses...)
		}
	}
	slices.SortFunc(model.Addresses, netip.Addr.Compare)
	model.Addresses = slices.Compact(model.Addresses)
	model.Egress, model.Ingress = egress.list(), ingress.list()
	slices.Sort(c.warnings)
	model.Warnings = slices.Compact(c.warnings)
	return model
}

// chains collects the pods that share the same rules.
type chains struct {
	byRules map[string]*Chain
	order   []string
}

func newChains() *chains { return &chains{byRules: map[string]*Chain{}} }

func (c *chains) get(rules []Rule) *Chain {
	key := fmt.Sprint(rules)
	if c.byRules[key] == nil {
		c.byRules[key] = &Chain{Rules: rules}
		c.order = append(c.order, key)
	}
	return c.byRules[key]
}

func (c *chains) list() []Chain {
	var list []Chain
	for _, key := range c.order {
		list = append(list, *c.byRules[key])
	}
	return list
}

type compiler struct {
	in       Input
	policies []*networkingv1.NetworkPolicy
	warnings []string
}

// rules returns what policies of one direction allow the pod, and whether any
// policy of that direction selects it at all.
func (c *compiler) rules(pod Pod, direction networkingv1.PolicyType) (rules []Rule, isolated bool) {
	for _, policy := range c.policies {
		if policy.Namespace != pod.Namespace || !hasType(policy, direction) || !c.selects(policy, pod) {
			continue
		}
		isolated = true
		if direction == networkingv1.PolicyTypeIngress {
			for _, rule := range policy.Spec.Ingress {
				rules = append(rules, c.rule(policy, rule.From, ingressPorts(rule.Ports, pod)))
			}
			continue
		}
		for _, rule := range policy.Spec.Egress {
			compiled := c.rule(policy, rule.To, numberedPorts(rule.Ports))
			compiled.Destinations = c.destinations(policy, rule)
			rules = append(rules, compiled)
		}
	}
	return slices.DeleteFunc(rules, Rule.allowsNothing), isolated
}

// hasType applies the default of policyTypes: Ingress always, Egress if there are egress rules.
func hasType(policy *networkingv1.NetworkPolicy, direction networkingv1.PolicyType) bool {
	if len(policy.Spec.PolicyTypes) > 0 {
		return slices.Contains(policy.Spec.PolicyTypes, direction)
	}
	return direction == networkingv1.PolicyTypeIngress || len(policy.Spec.Egress) > 0
}

func (c *compiler) selects(policy *networkingv1.NetworkPolicy, pod Pod) bool {
	selector, err := metav1.LabelSelectorAsSelector(&policy.Spec.PodSelector)
	if err != nil {
		c.warn(policy, "podSelector", err)
		return true
	}
	return selector.Matches(pod.Labels)
}

// portMatch is the port half of a rule.
type portMatch struct {
	any    bool
	ranges []PortRange
}

func (c *compiler) rule(policy *networkingv1.NetworkPolicy, peers []networkingv1.NetworkPolicyPeer, ports portMatch) Rule {
	return Rule{
		AnyPeer: len(peers) == 0,
		Peers:   c.peers(policy, peers),
		AnyPort: ports.any,
		Ports:   ports.ranges,
	}
}

// peers returns the addresses of a rule's peers, merged; peers are ORed.
func (c *compiler) peers(policy *networkingv1.NetworkPolicy, peers []networkingv1.NetworkPolicyPeer) []Range {
	var ranges []Range
	for _, peer := range peers {
		if peer.IPBlock != nil {
			ranges = append(ranges, c.block(policy, peer.IPBlock)...)
			continue
		}
		for _, pod := range c.peerPods(policy, peer) {
			for _, address := range pod.Addresses {
				ranges = append(ranges, single(address))
			}
		}
	}
	return merge(ranges)
}

// block returns the addresses of an ipBlock; one bad CIDR in it makes it match nothing.
func (c *compiler) block(policy *networkingv1.NetworkPolicy, block *networkingv1.IPBlock) []Range {
	whole, err := prefixRange(block.CIDR)
	if err != nil {
		c.warn(policy, "ipBlock", err)
		return nil
	}
	var holes []Range
	for _, except := range block.Except {
		hole, err := prefixRange(except)
		if err != nil {
			c.warn(policy, "ipBlock.except", err)
			return nil
		}
		holes = append(holes, hole)
	}
	return subtract([]Range{whole}, holes)
}

// peerPods returns the pods a peer's selectors match. A namespaceSelector alone
// takes all pods of its namespaces, a podSelector alone looks in the policy's
// namespace, both together must both match. A peer with neither matches no pod.
func (c *compiler) peerPods(policy *networkingv1.NetworkPolicy, peer networkingv1.NetworkPolicyPeer) []Pod {
	if peer.PodSelector == nil && peer.NamespaceSelector == nil {
		return nil
	}
	podSelector, namespaceSelector := labels.Everything(), labels.Everything()
	var err error
	if peer.PodSelector != nil {
		if podSelector, err = metav1.LabelSelectorAsSelector(peer.PodSelector); err != nil {
			c.warn(policy, "podSelector of a peer", err)
			return nil
		}
	}
	if peer.NamespaceSelector != nil {
		if namespaceSelector, err = metav1.LabelSelectorAsSelector(peer.NamespaceSelector); err != nil {
			c.warn(policy, "namespaceSelector", err)
			return nil
		}
	}
	var pods []Pod
	for _, pod := range c.in.Pods {
		if !pod.Peer || !podSelector.Matches(pod.Labels) {
			continue
		}
		if peer.NamespaceSelector == nil {
			if pod.Namespace != policy.Namespace {
				continue
			}
		} else {
			// A namespace that is not known (yet) matches nothing, not even an empty selector.
			namespaceLabels, known := c.in.Namespaces[pod.Namespace]
			if !known || !namespaceSelector.Matches(namespaceLabels) {
				continue
			}
		}
		pods = append(pods, pod)
	}
	return pods
}

// destinations resolves the named ports of an egress rule on each pod the rule
// reaches. Addresses outside the cluster have no named ports.
func (c *compiler) destinations(policy *networkingv1.NetworkPolicy, rule networkingv1.NetworkPolicyEgressRule) []Endpoint {
	names := namedPorts(rule.Ports)
	if len(names) == 0 {
		return nil
	}
	peers := rule.To
	if len(peers) == 0 {
		peers = []networkingv1.NetworkPolicyPeer{{NamespaceSelector: &metav1.LabelSelector{}}}
	}
	var endpoints []Endpoint
	for _, peer := range peers {
		for _, pod := range c.endpointPods(policy, peer) {
			for _, port := range resolve(names, pod) {
				for _, address := range pod.Addresses {
					endpoints = append(endpoints, Endpoint{Address: address, Protocol: port.Protocol, Port: port.First})
				}
			}
		}
	}
	slices.SortFunc(endpoints, compareEndpoints)
	return slices.Compact(endpoints)
}

// endpointPods is peerPods that also finds the pods inside an ipBlock. Only the
// pod's addresses inside the block are kept.
func (c *compiler) endpointPods(policy *networkingv1.NetworkPolicy, peer networkingv1.NetworkPolicyPeer) []Pod {
	if peer.IPBlock == nil {
		return c.peerPods(policy, peer)
	}
	block := c.block(policy, peer.IPBlock)
	var pods []Pod
	for _, pod := range c.in.Pods {
		if !pod.Peer {
			continue
		}
		pod.Addresses = slices.DeleteFunc(slices.Clone(pod.Addresses), func(address netip.Addr) bool {
			return !contains(block, address)
		})
		if len(pod.Addresses) > 0 {
			pods = append(pods, pod)
		}
	}
	return pods
}

func contains(ranges []Range, address netip.Addr) bool {
	return slices.ContainsFunc(ranges, func(r Range) bool {
		return r.First.BitLen() == address.BitLen() && !address.Less(r.First) && !r.Last.Less(address)
	})
}

func (c *compiler) warn(policy *networkingv1.NetworkPolicy, part string, err error) {
	c.warnings = append(c.warnings, fmt.Sprintf("NetworkPolicy %s/%s: %s: %v", policy.Namespace, policy.Name, part, err))
}

func compareEndpoints(a, b Endpoint) int {
	if order := a.Address.Compare(b.Address); order != 0 {
		return order
	}
	if order := strings.Compare(string(a.Protocol), string(b.Protocol)); order != 0 {
		return order
	}
	return int(a.Port) - int(b.Port)
}
