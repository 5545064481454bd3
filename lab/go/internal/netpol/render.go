package netpol

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"
	"sort"
	"strings"
)

// Table is the one nftables table that the enforcer owns.
const Table = "inet bulkhead_netpol"

// RemoveScript deletes the table and succeeds if it is not there.
const RemoveScript = "add table " + Table + "\ndelete table " + Table + "\n"

// Render writes the model as a script for `nft -f`, which the kernel takes as
// one transaction: the old table is replaced by the new one or stays whole.
//
// Rules sit in the forward hook only, so traffic between a pod and its own node
// is never judged. Service addresses are already translated there, and source
// addresses not yet. A reply is judged by the rules of its flow's first packet,
// mirrored: a reply passes exactly as long as the flow it answers would.
func Render(model Model) string {
	r := renderer{sets: map[string]string{}, deny: denial(model.Deny)}
	egress := r.direction("egress", model.Egress)
	ingress := r.direction("ingress", model.Ingress)

	var out strings.Builder
	out.WriteString(RemoveScript)
	fmt.Fprintf(&out, "table %s {\n", Table)
	r.addressSet(&out, "pods4", "ipv4_addr", onlyFamily(model.Addresses, 32))
	r.addressSet(&out, "pods6", "ipv6_addr", onlyFamily(model.Addresses, 128))
	r.pairSet(&out, "self4", "ipv4_addr", onlyFamily(model.Addresses, 32))
	r.pairSet(&out, "self6", "ipv6_addr", onlyFamily(model.Addresses, 128))
	for _, name := range sortedKeys(r.sets) {
		out.WriteString(r.sets[name])
	}
	out.WriteString(egress.chains)
	out.WriteString(ingress.chains)
	for _, d := range []direction{egress, ingress} {
		out.WriteString(d.maps)
	}
	out.WriteString(baseChain(model.Uplink))
	out.WriteString("}\n")
	return out.String()
}

// baseChain is the order of judgement. Priority -10 puts it before the filter
// rules of kube-proxy and the CNI, whose accept cannot override a drop here.
func baseChain(uplink string) string {
	lines := []string{
		"type filter hook forward priority filter - 10; policy accept;",
	}
	if uplink != "" {
		lines = append(lines,
			fmt.Sprintf("iifname %q ip saddr @pods4 drop comment \"pod addresses are not believed outside\"", uplink),
			fmt.Sprintf("iifname %q ip6 saddr @pods6 drop", uplink),
		)
	}
	lines = append(lines,
		"ct state related meta l4proto { icmp, ipv6-icmp } accept comment \"errors about allowed flows\"",
		"ip saddr . ip daddr @self4 accept comment \"a pod always reaches itself\"",
		"ip6 saddr . ip6 daddr @self6 accept",
		"ct direction reply goto replies",
		"iifname vmap @egress_if",
		"ip saddr vmap @egress4",
		"ip6 saddr vmap @egress6",
		"ip daddr vmap @ingress4",
		"ip6 daddr vmap @ingress6",
	)
	replies := []string{
		"oifname vmap @egress_if_reply",
		"ip daddr vmap @egress4_reply",
		"ip6 daddr vmap @egress6_reply",
		"ip saddr vmap @ingress4_reply",
		"ip6 saddr vmap @ingress6_reply",
	}
	return chainText("replies", replies) + chainText("forward", lines)
}

func chainText(name string, lines []string) string {
	return fmt.Sprintf("\tchain %s {\n\t\t%s\n\t}\n", name, strings.Join(lines, "\n\t\t"))
}

type renderer struct {
	// sets holds the text of each shared set by its name; the name is derived
	// from the content, so equal peer groups share one set.
	sets map[string]string
	// deny ends each chain of first packets.
	deny []string
}

// denial is the end of a chain: what becomes of a packet that nothing allows.
func denial(kind Denial) []string {
	switch kind {
	case DenyPortUnreachable, DenyAdminProhibited:
		return []string{"reject with icmpx " + string(kind)}
	case DenyReset:
		return []string{"meta l4proto tcp reject with tcp reset", "reject with icmpx " + string(DenyPortUnreachable)}
	}
	return []string{"drop"}
}

// direction is the rendered half of the table for egress or ingress.
type direction struct {
	chains, maps string
}

// direction renders one nft chain per Chain and way (original, reply), and the
// verdict maps that lead to them.
func (r *renderer) direction(name string, chains []Chain) direction {
	var text strings.Builder
	var jumps4, jumps6, jumpsIf []jump
	for _, chain := range chains {
		original := r.rules(name, chain.Rules, false)
		chainName := name + "_" + digest(strings.Join(original, "\n"))
		// Nobody waits for an answer to a reply: those are dropped.
		text.WriteString(chainText(chainName, append(original, r.deny...)))
		text.WriteString(chainText(chainName+"_reply", append(r.rules(name, chain.Rules, true), "drop")))
		for _, address := range chain.Addresses {
			if address.Is4() {
				jumps4 = append(jumps4, jump{address.String(), chainName})
			} else {
				jumps6 = append(jumps6, jump{address.String(), chainName})
			}
		}
		for _, device := range chain.Interfaces {
			jumpsIf = append(jumpsIf, jump{fmt.Sprintf("%q", device), chainName})
		}
	}
	maps := verdictMaps(name+"4", "ipv4_addr", jumps4) + verdictMaps(name+"6", "ipv6_addr", jumps6)
	if name == "egress" {
		maps += verdictMaps("egress_if", "ifname", jumpsIf)
	}
	return direction{chains: text.String(), maps: maps}
}

type jump struct{ key, chain string }

// verdictMaps renders the map for original packets and its twin for replies.
func verdictMaps(name, keyType string, jumps []jump) string {
	var text strings.Builder
	for _, suffix := range []string{"", "_reply"} {
		var elements []string
		for _, j := range jumps {
			elements = append(elements, fmt.Sprintf("%s : jump %s%s", j.key, j.chain, suffix))
		}
		text.WriteString(block("map", name+suffix, keyType+" : verdict", "", elements))
	}
	return text.String()
}

// rules renders the allowed packets of one chain, one statement per line. An
// allowed packet returns to the base chain, where the other direction judges it.
func (r *renderer) rules(direction string, rules []Rule, reply bool) []string {
	peer, port, destination := "saddr", "dport", "daddr"
	if (direction == "egress") != reply {
		peer = "daddr"
	}
	if reply {
		port, destination = "sport", "saddr"
	}
	var lines []string
	for _, rule := range rules {
		for _, peerMatch := range r.peerMatches(rule, peer) {
			for _, portMatch := range portMatches(rule, port) {
				lines = append(lines, strings.TrimSpace(peerMatch+" "+portMatch)+" return")
			}
		}
		lines = append(lines, r.destinationMatches(rule, destination, port)...)
	}
	return lines
}

// peerMatches returns one expression per family that has peers; "" matches all.
func (r *renderer) peerMatches(rule Rule, field string) []string {
	if rule.AnyPeer {
		return []string{""}
	}
	var matches []string
	for _, f := range []struct {
		bits            int
		header, keyType string
	}{{32, "ip", "ipv4_addr"}, {128, "ip6", "ipv6_addr"}} {
		ranges := family(rule.Peers, f.bits)
		if len(ranges) == 0 {
			continue
		}
		var elements []string
		for _, span := range ranges {
			elements = append(elements, span.String())
		}
		set := r.set("peers", f.header, f.keyType, "interval", elements)
		matches = append(matches, fmt.Sprintf("%s %s @%s", f.header, field, set))
	}
	return matches
}

// portMatches returns one expression per protocol; "" matches all.
func portMatches(rule Rule, field string) []string {
	if rule.AnyPort {
		return []string{""}
	}
	spans := map[string][]string{}
	for _, port := range rule.Ports {
		protocol := strings.ToLower(string(port.Protocol))
		switch {
		case port.First == 0 && port.Last == 65535:
			spans[protocol] = append(spans[protocol], "")
		case port.First == port.Last:
			spans[protocol] = append(spans[protocol], fmt.Sprint(port.First))
		default:
			spans[protocol] = append(spans[protocol], fmt.Sprintf("%d-%d", port.First, port.Last))
		}
	}
	var matches []string
	for _, protocol := range sortedKeys(spans) {
		if spans[protocol][0] == "" {
			matches = append(matches, "meta l4proto "+protocol)
			continue
		}
		matches = append(matches, fmt.Sprintf("%s %s { %s }", protocol, field, strings.Join(spans[protocol], ", ")))
	}
	return matches
}

func (r *renderer) destinationMatches(rule Rule, addressField, portField string) []string {
	var lines []string
	for _, f := range []struct {
		bits            int
		header, keyType string
	}{{32, "ip", "ipv4_addr"}, {128, "ip6", "ipv6_addr"}} {
		var elements []string
		for _, endpoint := range rule.Destinations {
			if endpoint.Address.BitLen() == f.bits {
				protocol := strings.ToLower(string(endpoint.Protocol))
				elements = append(elements, fmt.Sprintf("%s . %s . %d", endpoint.Address, protocol, endpoint.Port))
			}
		}
		if len(elements) == 0 {
			continue
		}
		set := r.set("ports", f.header, f.keyType+" . inet_proto . inet_service", "", elements)
		lines = append(lines, fmt.Sprintf("%s %s . meta l4proto . th %s @%s return", f.header, addressField, portField, set))
	}
	return lines
}

// set registers a shared set and returns its name.
func (r *renderer) set(kind, header, keyType, flags string, elements []string) string {
	name := kind + "_" + header + "_" + digest(strings.Join(elements, ","))
	r.sets[name] = block("set", name, keyType, flags, elements)
	return name
}

func (r *renderer) addressSet(out *strings.Builder, name, keyType string, addresses []netip.Addr) {
	var elements []string
	for _, address := range addresses {
		elements = append(elements, address.String())
	}
	out.WriteString(block("set", name, keyType, "", elements))
}

// pairSet lists every address paired with itself: nft cannot compare two fields of a packet.
func (r *renderer) pairSet(out *strings.Builder, name, keyType string, addresses []netip.Addr) {
	var elements []string
	for _, address := range addresses {
		elements = append(elements, fmt.Sprintf("%s . %s", address, address))
	}
	out.WriteString(block("set", name, keyType+" . "+keyType, "", elements))
}

// block renders a named set or map.
func block(kind, name, keyType, flags string, elements []string) string {
	var text strings.Builder
	fmt.Fprintf(&text, "\t%s %s {\n\t\ttype %s\n", kind, name, keyType)
	if flags != "" {
		fmt.Fprintf(&text, "\t\tflags %s\n", flags)
	}
	if len(elements) > 0 {
		fmt.Fprintf(&text, "\t\telements = { %s }\n", strings.Join(elements, ", "))
	}
	text.WriteString("\t}\n")
	return text.String()
}

func onlyFamily(addresses []netip.Addr, bits int) []netip.Addr {
	var kept []netip.Addr
	for _, address := range addresses {
		if address.BitLen() == bits {
			kept = append(kept, address)
		}
	}
	return kept
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	sort.Strings(keys)
	return keys
}

// digest names a chain or set by its content: 12 of 64 hexadecimal digits are
// unique enough for the few hundred names of one node.
func digest(content string) string {
	sum := sha256.Sum256([]byte(content))
	return hex.EncodeToString(sum[:])[:12]
}
