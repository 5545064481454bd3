// Package mesh is what istiod says of the mesh, and the decisions that follow from
// it: where a connection goes, and whether a connection may come in.
package mesh

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/proto"

	"bulkhead.mesh/lab-istio/internal/ztunnel/identity"
	"istio.io/istio/pkg/workloadapi"
	"istio.io/istio/pkg/workloadapi/security"
)

// The two kinds of resources a node proxy subscribes to.
const (
	AddressType = "type.googleapis.com/istio.workload.Address"
	PolicyType  = "type.googleapis.com/istio.security.Authorization"
)

// State is the mesh as istiod last described it, whole: nothing is asked for on demand.
type State struct {
	mutex     sync.RWMutex
	addresses map[string]*workloadapi.Address // by workload uid or NAMESPACE/HOSTNAME of a service
	policies  map[string]*security.Authorization
	index     index

	guardMutex sync.Mutex
	guards     map[*guard]struct{}
}

// index is derived from the addresses, anew after each update.
type index struct {
	byIP      map[netip.Addr]*workloadapi.Address
	ranges    []addressRange // services that own a whole range, longest prefix first
	endpoints map[string][]*workloadapi.Workload
}

type addressRange struct {
	prefix  netip.Prefix
	address *workloadapi.Address
}

// NewState makes the state before istiod's first word: nothing is known.
func NewState() *State {
	return &State{
		addresses: map[string]*workloadapi.Address{},
		policies:  map[string]*security.Authorization{},
		guards:    map[*guard]struct{}{},
	}
}

// Apply takes one delta response. With replace it is everything there is, as the
// first response of a stream. A response that cannot be read changes nothing.
func (s *State) Apply(response *discovery.DeltaDiscoveryResponse, replace bool) error {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	var err error
	switch response.TypeUrl {
	case AddressType:
		if err = merge(&s.addresses, response, replace); err == nil {
			s.index = buildIndex(s.addresses)
		}
	case PolicyType:
		err = merge(&s.policies, response, replace)
	default:
		err = fmt.Errorf("resources of type %q were not asked for", response.TypeUrl)
	}
	return err
}

// merge decodes all before it changes anything.
func merge[T proto.Message](into *map[string]T, response *discovery.DeltaDiscoveryResponse, replace bool) error {
	next := map[string]T{}
	if !replace {
		next = maps.Clone(*into)
	}
	for _, name := range response.RemovedResources {
		delete(next, name)
	}
	for _, resource := range response.Resources {
		message, err := resource.Resource.UnmarshalNew()
		if err != nil {
			return fmt.Errorf("resource %q: %w", resource.Name, err)
		}
		decoded, ok := message.(T)
		if !ok {
			return fmt.Errorf("resource %q is a %s, not what %s promises", resource.Name, message.ProtoReflect().Descriptor().FullName(), response.TypeUrl)
		}
		next[resource.Name] = decoded
	}
	*into = next
	return nil
}

func buildIndex(addresses map[string]*workloadapi.Address) index {
	built := index{byIP: map[netip.Addr]*workloadapi.Address{}, endpoints: map[string][]*workloadapi.Workload{}}
	for _, name := range slices.Sorted(maps.Keys(addresses)) { // sorted: two that claim one address always end the same way
		address := addresses[name]
		for _, claimed := range address.GetService().GetAddresses() {
			ip := addr(claimed.Address)
			if length := int(claimed.GetLength()); claimed.Length != nil && length < ip.BitLen() {
				built.ranges = append(built.ranges, addressRange{netip.PrefixFrom(ip, length), address})
			} else {
				built.byIP[ip] = address
			}
		}
		workload := address.GetWorkload()
		if workload == nil {
			continue
		}
		if workload.NetworkMode == workloadapi.NetworkMode_STANDARD { // else the address is the node's
			for _, ip := range workload.Addresses {
				built.byIP[addr(ip)] = address
			}
		}
		for service := range workload.Services {
			built.endpoints[service] = append(built.endpoints[service], workload)
		}
	}
	slices.SortStableFunc(built.ranges, func(a, b addressRange) int { return b.prefix.Bits() - a.prefix.Bits() })
	return built
}

// find is who owns an address: a workload, a service, or nobody (nil).
func (i index) find(ip netip.Addr) *workloadapi.Address {
	if address := i.byIP[ip]; address != nil {
		return address
	}
	for _, candidate := range i.ranges {
		if candidate.prefix.Contains(ip) {
			return candidate.address
		}
	}
	return nil
}

// Workload is the workload that owns an address, nil for anybody else's.
func (s *State) Workload(ip netip.Addr) *workloadapi.Workload {
	s.mutex.RLock()
	defer s.mutex.RUnlock()
	return s.index.byIP[ip].GetWorkload()
}

// Snapshot copies the lists, for display. The messages in it must not be changed.
func (s *State) Snapshot() ([]*workloadapi.Address, map[string]*security.Authorization) {
	s.mutex.RLock()
	defer s.mutex.RUnlock()
	var addresses []*workloadapi.Address
	for _, name := range slices.Sorted(maps.Keys(s.addresses)) {
		addresses = append(addresses, s.addresses[name])
	}
	return addresses, maps.Clone(s.policies)
}

// Identity is who a workload is.
func Identity(workload *workloadapi.Workload) identity.ID {
	return identity.Of(workload.GetTrustDomain(), workload.GetNamespace(), workload.GetServiceAccount())
}

// ServiceOf guesses the service that a connection to a workload's port was for:
// the first one, by name, that has this target port.
func ServiceOf(workload *workloadapi.Workload, port uint16) string {
	for _, name := range slices.Sorted(maps.Keys(workload.GetServices())) {
		for _, candidate := range workload.Services[name].Ports {
			if candidate.TargetPort == uint32(port) {
				_, hostname, _ := strings.Cut(name, "/")
				return hostname
			}
		}
	}
	return ""
}

func addr(bytes []byte) netip.Addr {
	ip, _ := netip.AddrFromSlice(bytes)
	return ip.Unmap()
}

// errRevoked ends connections that the policies no longer allow.
var errRevoked = errors.New("policy rejection: an update forbids this open connection")

type guard struct {
	check func() error
	end   context.CancelCauseFunc
}

// Guard returns a context that also ends when check fails after an update:
// policies hold for open connections too. Call the returned function when done.
func (s *State) Guard(ctx context.Context, check func() error) (context.Context, func()) {
	ctx, end := context.WithCancelCause(ctx)
	entry := &guard{check, end}
	s.guardMutex.Lock()
	s.guards[entry] = struct{}{}
	s.guardMutex.Unlock()
	entry.recheck() // for an update since the caller's own check
	return ctx, func() {
		s.guardMutex.Lock()
		delete(s.guards, entry)
		s.guardMutex.Unlock()
		end(nil)
	}
}

func (g *guard) recheck() {
	if g.check() != nil {
		g.end(errRevoked)
	}
}

// Recheck looks at every open connection again, after an update.
func (s *State) Recheck() {
	s.guardMutex.Lock()
	entries := slices.Collect(maps.Keys(s.guards))
	s.guardMutex.Unlock()
	for _, entry := range entries {
		entry.recheck()
	}
}
