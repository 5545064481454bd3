package mesh

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/emptypb"

	"bulkhead.mesh/lab-istio/internal/ztunnel/identity"
	"istio.io/istio/pkg/workloadapi"
	"istio.io/istio/pkg/workloadapi/security"
)

func ip(text string) []byte { return netip.MustParseAddr(text).AsSlice() }

// resources packs messages under names, as istiod does.
func resources(t *testing.T, kind string, named map[string]proto.Message) *discovery.DeltaDiscoveryResponse {
	t.Helper()
	response := &discovery.DeltaDiscoveryResponse{TypeUrl: kind, Nonce: "n"}
	for name, message := range named {
		packed, err := anypb.New(message)
		if err != nil {
			t.Fatal(err)
		}
		response.Resources = append(response.Resources, &discovery.Resource{Name: name, Resource: packed})
	}
	return response
}

func ofWorkload(w *workloadapi.Workload) *workloadapi.Address {
	return &workloadapi.Address{Type: &workloadapi.Address_Workload{Workload: w}}
}

func ofService(s *workloadapi.Service) *workloadapi.Address {
	return &workloadapi.Address{Type: &workloadapi.Address_Service{Service: s}}
}

func vip(text string) []*workloadapi.NetworkAddress {
	return []*workloadapi.NetworkAddress{{Address: ip(text)}}
}

func serves(service string, port, target uint32) map[string]*workloadapi.PortList {
	return map[string]*workloadapi.PortList{service: {Ports: []*workloadapi.Port{{ServicePort: port, TargetPort: target}}}}
}

const (
	web      = "core/web.core.svc.cluster.local"
	gateway  = "core/waypoint.core.svc.cluster.local"
	hbone    = workloadapi.TunnelProtocol_HBONE
	unwell   = workloadapi.WorkloadStatus_UNHEALTHY
	hostNode = workloadapi.NetworkMode_HOST_NETWORK
)

func byName(namespace, hostname string) *workloadapi.GatewayAddress {
	return &workloadapi.GatewayAddress{HboneMtlsPort: 15008, Destination: &workloadapi.GatewayAddress_Hostname{
		Hostname: &workloadapi.NamespacedHostname{Namespace: namespace, Hostname: hostname},
	}}
}

func byAddress(text string) *workloadapi.GatewayAddress {
	return &workloadapi.GatewayAddress{HboneMtlsPort: 15008, Destination: &workloadapi.GatewayAddress_Address{
		Address: &workloadapi.NetworkAddress{Address: ip(text)},
	}}
}

func example(t *testing.T) *State {
	t.Helper()
	waypointPorts := serves(gateway, 15008, 15008)
	state := NewState()
	err := state.Apply(resources(t, AddressType, map[string]proto.Message{
		"web-1":                              ofWorkload(&workloadapi.Workload{Uid: "web-1", Name: "web-1", Namespace: "core", Addresses: [][]byte{ip("10.0.0.1"), ip("fd00::1")}, TunnelProtocol: hbone, Services: serves(web, 80, 8080)}),
		"web-2":                              ofWorkload(&workloadapi.Workload{Uid: "web-2", Name: "web-2", Namespace: "core", Addresses: [][]byte{ip("10.0.0.2")}, TunnelProtocol: hbone, Status: unwell, Services: serves(web, 80, 8080)}),
		"plain":                              ofWorkload(&workloadapi.Workload{Uid: "plain", Name: "plain", Namespace: "out", Addresses: [][]byte{ip("10.0.0.3")}, Services: serves("out/plain.out.svc.cluster.local", 80, 8080)}),
		"node":                               ofWorkload(&workloadapi.Workload{Uid: "node", Name: "node", Addresses: [][]byte{ip("172.30.0.10")}, NetworkMode: hostNode}),
		"way":                                ofWorkload(&workloadapi.Workload{Uid: "way", Name: "way", Namespace: "core", Addresses: [][]byte{ip("10.0.0.9")}, Services: waypointPorts}),
		"own":                                ofWorkload(&workloadapi.Workload{Uid: "own", Name: "own", Namespace: "core", Addresses: [][]byte{ip("10.0.0.4")}, TunnelProtocol: hbone, Waypoint: byAddress("10.0.0.9")}),
		"lost":                               ofWorkload(&workloadapi.Workload{Uid: "lost", Name: "lost", Namespace: "core", Addresses: [][]byte{ip("10.0.0.5")}, TunnelProtocol: hbone, Waypoint: byAddress("10.0.0.99")}),
		web:                                  ofService(&workloadapi.Service{Name: "web", Namespace: "core", Hostname: "web.core.svc.cluster.local", Addresses: append(vip("10.96.0.1"), vip("fd00:96::1")...)}),
		"out/plain.out.svc.cluster.local":    ofService(&workloadapi.Service{Name: "plain", Namespace: "out", Hostname: "plain.out.svc.cluster.local", Addresses: vip("10.96.0.3")}),
		"core/ailing.core.svc.cluster.local": ofService(&workloadapi.Service{Name: "ailing", Namespace: "core", Hostname: "ailing.core.svc.cluster.local", Addresses: vip("10.96.0.4")}),
		"ailing":                             ofWorkload(&workloadapi.Workload{Uid: "ailing", Namespace: "core", Addresses: [][]byte{ip("10.0.0.6")}, Status: unwell, Services: serves("core/ailing.core.svc.cluster.local", 80, 81)}),
		"core/all.core.svc.cluster.local": ofService(&workloadapi.Service{Name: "all", Namespace: "core", Hostname: "all.core.svc.cluster.local", Addresses: vip("10.96.0.5"),
			LoadBalancing: &workloadapi.LoadBalancing{HealthPolicy: workloadapi.LoadBalancing_ALLOW_ALL}}),
		"all":                                 ofWorkload(&workloadapi.Workload{Uid: "all", Namespace: "core", Addresses: [][]byte{ip("10.0.0.7")}, Status: unwell, Services: serves("core/all.core.svc.cluster.local", 80, 81)}),
		"core/guarded.core.svc.cluster.local": ofService(&workloadapi.Service{Namespace: "core", Hostname: "guarded.core.svc.cluster.local", Addresses: vip("10.96.0.6"), Waypoint: byName("core", "waypoint.core.svc.cluster.local")}),
		"core/unmade.core.svc.cluster.local":  ofService(&workloadapi.Service{Namespace: "core", Hostname: "unmade.core.svc.cluster.local", Addresses: vip("10.96.0.7"), Waypoint: byName("core", "nowhere")}),
		gateway:                               ofService(&workloadapi.Service{Name: "waypoint", Namespace: "core", Hostname: "waypoint.core.svc.cluster.local", Addresses: vip("10.96.0.9")}),
		"out/raw.example": ofService(&workloadapi.Service{Namespace: "out", Hostname: "raw.example", Addresses: vip("203.0.113.5"),
			LoadBalancing: &workloadapi.LoadBalancing{Mode: workloadapi.LoadBalancing_PASSTHROUGH}}),
		"out/wide.example": ofService(&workloadapi.Service{Namespace: "out", Hostname: "wide.example", Waypoint: byName("core", "waypoint.core.svc.cluster.local"),
			Addresses: []*workloadapi.NetworkAddress{{Address: ip("198.51.100.0"), Length: proto.Uint32(24)}}}),
		"out/narrow.example": ofService(&workloadapi.Service{Namespace: "out", Hostname: "narrow.example",
			LoadBalancing: &workloadapi.LoadBalancing{Mode: workloadapi.LoadBalancing_PASSTHROUGH},
			Addresses:     []*workloadapi.NetworkAddress{{Address: ip("198.51.100.128"), Length: proto.Uint32(25)}}}),
	}), true)
	if err != nil {
		t.Fatal(err)
	}
	return state
}

func TestRoute(t *testing.T) {
	state := example(t)
	for name, test := range map[string]struct {
		destination, dial, tunnel, peer, service string
		err                                      error
	}{
		"stranger":                {"203.0.113.10:443", "203.0.113.10:443", "", "", "", nil},
		"service by HBONE":        {"10.96.0.1:80", "10.0.0.1:15008", "10.0.0.1:8080", "web-1", "web.core.svc.cluster.local", nil},
		"service by IPv6":         {"[fd00:96::1]:80", "[fd00::1]:15008", "[fd00::1]:8080", "web-1", "web.core.svc.cluster.local", nil},
		"service port unknown":    {"10.96.0.1:81", "10.96.0.1:81", "", "", "web.core.svc.cluster.local", ErrNoEndpoint},
		"service out of the mesh": {"10.96.0.3:80", "10.0.0.3:8080", "", "plain", "plain.out.svc.cluster.local", nil},
		"none is healthy":         {"10.96.0.4:80", "10.96.0.4:80", "", "", "ailing.core.svc.cluster.local", ErrNoEndpoint},
		"unhealthy ones too":      {"10.96.0.5:80", "10.0.0.7:81", "", "", "all.core.svc.cluster.local", nil},
		"pod by HBONE":            {"10.0.0.1:9999", "10.0.0.1:15008", "10.0.0.1:9999", "web-1", "", nil},
		"pod by IPv6":             {"[fd00::1]:9999", "[fd00::1]:15008", "[fd00::1]:9999", "web-1", "", nil},
		"pod out of the mesh":     {"10.0.0.3:22", "10.0.0.3:22", "", "plain", "", nil},
		"host network":            {"172.30.0.10:6443", "172.30.0.10:6443", "", "", "", nil},
		"service with waypoint":   {"10.96.0.6:80", "10.0.0.9:15008", "10.96.0.6:80", "way", "guarded.core.svc.cluster.local", nil},
		"waypoint is not there":   {"10.96.0.7:80", "10.96.0.7:80", "", "", "unmade.core.svc.cluster.local", ErrNoWaypoint},
		"pod with waypoint":       {"10.0.0.4:80", "10.0.0.9:15008", "10.0.0.4:80", "way", "", nil},
		"pod, waypoint gone":      {"10.0.0.5:80", "10.0.0.5:80", "", "", "", ErrNoWaypoint},
		"passthrough service":     {"203.0.113.5:443", "203.0.113.5:443", "", "", "raw.example", nil},
		"range with waypoint":     {"198.51.100.5:443", "10.0.0.9:15008", "198.51.100.5:443", "way", "wide.example", nil},
		"longest range wins":      {"198.51.100.200:443", "198.51.100.200:443", "", "", "narrow.example", nil},
	} {
		t.Run(name, func(t *testing.T) {
			for range 20 { // the choice among endpoints is random
				got, err := state.Route(netip.MustParseAddrPort(test.destination))
				tunnel := ""
				if got.Tunnel.IsValid() {
					tunnel = got.Tunnel.String()
				}
				if !errors.Is(err, test.err) || (err == nil) != (test.err == nil) || got.Dial.String() != test.dial || tunnel != test.tunnel ||
					got.Service != test.service || got.Peer.GetName() != test.peer {
					t.Fatalf("%+v %v", got, err)
				}
			}
		})
	}
}

func TestRouteBalances(t *testing.T) {
	state := example(t)
	err := state.Apply(resources(t, AddressType, map[string]proto.Message{
		"web-2": ofWorkload(&workloadapi.Workload{Uid: "web-2", Name: "web-2", Addresses: [][]byte{ip("10.0.0.2")}, TunnelProtocol: hbone, Services: serves(web, 80, 8080)}),
	}), false)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]int{}
	for range 200 {
		route, err := state.Route(netip.MustParseAddrPort("10.96.0.1:80"))
		if err != nil {
			t.Fatal(err)
		}
		seen[route.Peer.Name]++
	}
	if seen["web-1"] < 50 || seen["web-2"] < 50 {
		t.Errorf("%v", seen)
	}
}

func TestApply(t *testing.T) {
	state := example(t)
	remove := &discovery.DeltaDiscoveryResponse{TypeUrl: AddressType, RemovedResources: []string{"web-1", "never-was"}}
	if err := state.Apply(remove, false); err != nil {
		t.Fatal(err)
	}
	if state.Workload(netip.MustParseAddr("10.0.0.1")) != nil || state.Workload(netip.MustParseAddr("10.0.0.3")) == nil {
		t.Error("removed the wrong one")
	}
	before, _ := state.Snapshot()
	broken := resources(t, AddressType, map[string]proto.Message{"web-1": &security.Authorization{Name: "x"}})
	broken.RemovedResources = []string{"plain"}
	if err := state.Apply(broken, false); err == nil || !strings.Contains(err.Error(), "web-1") {
		t.Errorf("a policy among the addresses: %v", err)
	}
	if after, _ := state.Snapshot(); len(after) != len(before) || state.Workload(netip.MustParseAddr("10.0.0.3")) == nil {
		t.Error("a refused response changed something")
	}
	if err := state.Apply(&discovery.DeltaDiscoveryResponse{TypeUrl: "other"}, false); err == nil {
		t.Error("a type that was not asked for")
	}
	fresh := resources(t, AddressType, map[string]proto.Message{"new": ofWorkload(&workloadapi.Workload{Uid: "new", Addresses: [][]byte{ip("10.0.0.50")}})})
	if err := state.Apply(fresh, true); err != nil {
		t.Fatal(err)
	}
	if addresses, _ := state.Snapshot(); len(addresses) != 1 || state.Workload(netip.MustParseAddr("10.0.0.3")) != nil {
		t.Errorf("after a new stream: %v", addresses)
	}
}

func TestServiceOf(t *testing.T) {
	workload := example(t).Workload(netip.MustParseAddr("10.0.0.1"))
	if got := ServiceOf(workload, 8080); got != "web.core.svc.cluster.local" {
		t.Error(got)
	}
	if got := ServiceOf(workload, 80) + ServiceOf(nil, 80); got != "" {
		t.Error(got)
	}
}

func exact(values ...string) []*security.StringMatch {
	var matches []*security.StringMatch
	for _, value := range values {
		matches = append(matches, &security.StringMatch{MatchType: &security.StringMatch_Exact{Exact: value}})
	}
	return matches
}

func prefix(value string) []*security.StringMatch {
	return []*security.StringMatch{{MatchType: &security.StringMatch_Prefix{Prefix: value}}}
}

func suffix(value string) []*security.StringMatch {
	return []*security.StringMatch{{MatchType: &security.StringMatch_Suffix{Suffix: value}}}
}

func presence() []*security.StringMatch {
	return []*security.StringMatch{{MatchType: &security.StringMatch_Presence{Presence: &emptypb.Empty{}}}}
}

// when makes one group; each argument is a clause of it.
func when(clauses ...[]*security.Match) *security.Group {
	group := &security.Group{}
	for _, matches := range clauses {
		group.Rules = append(group.Rules, &security.Rules{Matches: matches})
	}
	return group
}

func one(match *security.Match) []*security.Match { return []*security.Match{match} }

func inbound(peer identity.ID) Inbound {
	return Inbound{netip.MustParseAddrPort("10.0.0.8:40000"), netip.MustParseAddrPort("10.0.0.1:8080"), peer}
}

var (
	alice  = identity.ID{TrustDomain: "cluster.local", Namespace: "core", ServiceAccount: "alice"}
	bob    = identity.ID{TrustDomain: "cluster.local", Namespace: "downloads", ServiceAccount: "bob"}
	nobody = identity.ID{}
)

func TestMatches(t *testing.T) {
	cidr := func(text string) []*security.Address {
		parsed := netip.MustParsePrefix(text)
		return []*security.Address{{Address: parsed.Addr().AsSlice(), Length: uint32(parsed.Bits())}}
	}
	for name, test := range map[string]struct {
		groups             []*security.Group
		alice, bob, nobody bool
	}{
		"no group":                {nil, false, false, false},
		"group without clauses":   {[]*security.Group{when()}, true, true, true},
		"clause without matches":  {[]*security.Group{when(nil)}, true, true, true},
		"match that says nothing": {[]*security.Group{when(one(&security.Match{}))}, false, false, false},
		"nothing beside a match":  {[]*security.Group{when([]*security.Match{{}, {DestinationPorts: []uint32{8080}}})}, true, true, true},
		"principal":               {[]*security.Group{when(one(&security.Match{Principals: exact(alice.Principal())}))}, true, false, false},
		"principal with scheme":   {[]*security.Group{when(one(&security.Match{Principals: exact(alice.String())}))}, false, false, false},
		"principal prefix":        {[]*security.Group{when(one(&security.Match{Principals: prefix("cluster.local/ns/core/")}))}, true, false, false},
		"principal suffix":        {[]*security.Group{when(one(&security.Match{Principals: suffix("/sa/bob")}))}, false, true, false},
		"empty prefix":            {[]*security.Group{when(one(&security.Match{Principals: prefix("")}))}, true, true, false},
		"any principal":           {[]*security.Group{when(one(&security.Match{Principals: presence()}))}, true, true, false},
		"no principal":            {[]*security.Group{when(one(&security.Match{NotPrincipals: presence()}))}, false, false, true},
		"not alice":               {[]*security.Group{when(one(&security.Match{NotPrincipals: exact(alice.Principal())}))}, false, true, true},
		"namespace":               {[]*security.Group{when(one(&security.Match{Namespaces: exact("core")}))}, true, false, false},
		"namespace of nobody":     {[]*security.Group{when(one(&security.Match{Namespaces: exact("")}))}, false, false, false},
		"not the namespace":       {[]*security.Group{when(one(&security.Match{NotNamespaces: exact("core")}))}, false, true, true},
		"account":                 {[]*security.Group{when(one(&security.Match{ServiceAccounts: []*security.ServiceAccountMatch{{Namespace: "core", ServiceAccount: "alice"}}}))}, true, false, false},
		"account elsewhere":       {[]*security.Group{when(one(&security.Match{ServiceAccounts: []*security.ServiceAccountMatch{{Namespace: "else", ServiceAccount: "alice"}}}))}, false, false, false},
		"not the account":         {[]*security.Group{when(one(&security.Match{NotServiceAccounts: []*security.ServiceAccountMatch{{Namespace: "core", ServiceAccount: "alice"}}}))}, false, true, true},
		"account without a name":  {[]*security.Group{when(one(&security.Match{ServiceAccounts: []*security.ServiceAccountMatch{{}}}))}, false, false, false},
		"source":                  {[]*security.Group{when(one(&security.Match{SourceIps: cidr("10.0.0.0/29")}))}, false, false, false},
		"wider source":            {[]*security.Group{when(one(&security.Match{SourceIps: cidr("10.0.0.0/28")}))}, true, true, true},
		"not the source":          {[]*security.Group{when(one(&security.Match{NotSourceIps: cidr("10.0.0.0/28")}))}, false, false, false},
		"destination":             {[]*security.Group{when(one(&security.Match{DestinationIps: cidr("10.0.0.1/32")}))}, true, true, true},
		"not the destination":     {[]*security.Group{when(one(&security.Match{NotDestinationIps: cidr("10.0.0.1/32")}))}, false, false, false},
		"port":                    {[]*security.Group{when(one(&security.Match{DestinationPorts: []uint32{80, 8080}}))}, true, true, true},
		"other port":              {[]*security.Group{when(one(&security.Match{DestinationPorts: []uint32{80}}))}, false, false, false},
		"not the port":            {[]*security.Group{when(one(&security.Match{NotDestinationPorts: []uint32{8080}}))}, false, false, false},
		"both kinds":              {[]*security.Group{when(one(&security.Match{Namespaces: exact("core"), DestinationPorts: []uint32{80}}))}, false, false, false},
		"both clauses":            {[]*security.Group{when(one(&security.Match{Namespaces: exact("core", "downloads")}), one(&security.Match{NotPrincipals: exact(bob.Principal())}))}, true, false, false},
		"either match":            {[]*security.Group{when([]*security.Match{{Namespaces: exact("core")}, {Namespaces: exact("downloads")}})}, true, true, false},
		"either group":            {[]*security.Group{when(one(&security.Match{Namespaces: exact("core")})), when(one(&security.Match{Namespaces: exact("downloads")}))}, true, true, false},
		"kind from the future":    {[]*security.Group{when(one(&security.Match{Principals: []*security.StringMatch{{}}}))}, false, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			policy := &security.Authorization{Groups: test.groups}
			for peer, want := range map[identity.ID]bool{alice: test.alice, bob: test.bob, nobody: test.nobody} {
				if got := matchesPolicy(policy, inbound(peer)); got != want {
					t.Errorf("peer %q: %v", peer, got)
				}
			}
		})
	}
}

func TestAuthorize(t *testing.T) {
	allow, deny := security.Action_ALLOW, security.Action_DENY
	global, namespace, selector := security.Scope_GLOBAL, security.Scope_NAMESPACE, security.Scope_WORKLOAD_SELECTOR
	everyone, fromCore := []*security.Group{when()}, []*security.Group{when(one(&security.Match{Namespaces: exact("core")}))}
	strict := []*security.Group{when(one(&security.Match{NotPrincipals: presence()}))}
	workload := &workloadapi.Workload{Namespace: "core", AuthorizationPolicies: []string{"core/mine"}}
	for name, test := range map[string]struct {
		policies           map[string]*security.Authorization
		alice, bob, nobody string // part of the error, empty: allowed
	}{
		"none":                   {nil, "", "", ""},
		"strict":                 {map[string]*security.Authorization{"istio-system/strict": {Scope: global, Action: deny, Groups: strict}}, "", "", "denied by istio-system/strict"},
		"allow core":             {map[string]*security.Authorization{"core/a": {Namespace: "core", Scope: namespace, Action: allow, Groups: fromCore}}, "", "none matches", "none matches"},
		"allow nothing":          {map[string]*security.Authorization{"core/a": {Namespace: "core", Scope: namespace, Action: allow}}, "none matches", "none matches", "none matches"},
		"another namespace's":    {map[string]*security.Authorization{"x/a": {Namespace: "x", Scope: namespace, Action: allow}}, "", "", ""},
		"deny wins":              {map[string]*security.Authorization{"core/a": {Namespace: "core", Scope: namespace, Action: allow, Groups: everyone}, "core/d": {Namespace: "core", Scope: namespace, Action: deny, Groups: fromCore}}, "denied by core/d", "", ""},
		"selected":               {map[string]*security.Authorization{"core/mine": {Namespace: "core", Scope: selector, Action: deny, Groups: everyone}}, "denied by core/mine", "denied by core/mine", "denied by core/mine"},
		"selected for others":    {map[string]*security.Authorization{"core/theirs": {Namespace: "core", Scope: selector, Action: deny, Groups: everyone}}, "", "", ""},
		"dry run":                {map[string]*security.Authorization{"core/d": {Namespace: "core", Scope: namespace, Action: deny, Groups: everyone, DryRun: true}}, "", "", ""},
		"one of two ALLOWs":      {map[string]*security.Authorization{"core/a": {Namespace: "core", Scope: namespace, Action: allow}, "core/b": {Namespace: "core", Scope: namespace, Action: allow, Groups: fromCore}}, "", "none matches", "none matches"},
		"deny that says nothing": {map[string]*security.Authorization{"core/d": {Namespace: "core", Scope: namespace, Action: deny, Groups: []*security.Group{when(one(&security.Match{}))}}}, "", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			state, packed := NewState(), map[string]proto.Message{}
			for key, policy := range test.policies {
				packed[key] = policy
			}
			if err := state.Apply(resources(t, PolicyType, packed), true); err != nil {
				t.Fatal(err)
			}
			for peer, want := range map[identity.ID]string{alice: test.alice, bob: test.bob, nobody: test.nobody} {
				err := state.Authorize(workload, inbound(peer))
				if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
					t.Errorf("peer %q: %v", peer, err)
				}
			}
		})
	}
	if err := NewState().Authorize(nil, inbound(alice)); !errors.Is(err, ErrUnknownDestination) {
		t.Errorf("unknown destination: %v", err)
	}
}
