package mesh

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"bulkhead.mesh/lab-istio/internal/ztunnel/identity"
	"istio.io/istio/pkg/workloadapi"
	"istio.io/istio/pkg/workloadapi/security"
)

// Why a connection may not come in. (A denial also names the policy.)
var (
	ErrUnknownDestination = errors.New("policy rejection: istiod has not said whose address this is")
	ErrNoneAllows         = errors.New("policy rejection: there are ALLOW policies and none matches")
)

// Inbound is a connection that asks to come in. Peer is nobody for plaintext.
type Inbound struct {
	Source, Destination netip.AddrPort
	Peer                identity.ID
}

// Authorize applies the L4 authorization policies to a connection into a workload.
// STRICT comes from istiod as one of them. DENY wins over ALLOW; where there is an
// ALLOW policy, one must match.
func (s *State) Authorize(workload *workloadapi.Workload, connection Inbound) error {
	if workload == nil {
		return ErrUnknownDestination
	}
	s.mutex.RLock()
	defer s.mutex.RUnlock()
	needed, allowed := false, false
	for _, name := range slices.Sorted(maps.Keys(s.policies)) {
		policy := s.policies[name]
		if policy.DryRun || !applies(name, policy, workload) {
			continue
		}
		matched := matchesPolicy(policy, connection)
		switch policy.Action {
		case security.Action_DENY:
			if matched {
				return fmt.Errorf("policy rejection: denied by %s", name)
			}
		case security.Action_ALLOW:
			needed, allowed = true, allowed || matched
		}
	}
	if needed && !allowed {
		return ErrNoneAllows
	}
	return nil
}

func applies(name string, policy *security.Authorization, workload *workloadapi.Workload) bool {
	switch policy.Scope {
	case security.Scope_GLOBAL:
		return true
	case security.Scope_NAMESPACE:
		return policy.Namespace == workload.Namespace
	}
	return slices.Contains(workload.AuthorizationPolicies, name)
}

// matchesPolicy: any group; in it all clauses; in a clause any match.
func matchesPolicy(policy *security.Authorization, connection Inbound) bool {
	return slices.ContainsFunc(policy.Groups, func(group *security.Group) bool {
		return all(group.Rules, func(clause *security.Rules) bool { return matchesClause(clause, connection) })
	})
}

// matchesClause: a clause that says nothing holds for all. A match that says
// nothing is what is left of conditions that L4 does not know: it holds for none.
func matchesClause(clause *security.Rules, connection Inbound) bool {
	return len(clause.Matches) == 0 || slices.ContainsFunc(clause.Matches, func(match *security.Match) bool {
		return !saysNothing(match) && matches(match, connection)
	})
}

func saysNothing(match *security.Match) bool {
	return len(match.Namespaces)+len(match.NotNamespaces)+len(match.ServiceAccounts)+len(match.NotServiceAccounts)+
		len(match.Principals)+len(match.NotPrincipals)+len(match.SourceIps)+len(match.NotSourceIps)+
		len(match.DestinationIps)+len(match.NotDestinationIps)+len(match.DestinationPorts)+len(match.NotDestinationPorts) == 0
}

// matches: every kind of condition. A plaintext peer has no name, so nothing that
// is wanted of a name holds for it, and nothing that is unwanted either.
func matches(match *security.Match, connection Inbound) bool {
	peer := connection.Peer
	account := func(want *security.ServiceAccountMatch) bool {
		return peer.Known() && want.Namespace == peer.Namespace && want.ServiceAccount == peer.ServiceAccount
	}
	port := func(want uint32) bool { return want == uint32(connection.Destination.Port()) }
	return holds(match.Namespaces, match.NotNamespaces, text(peer.Namespace)) &&
		holds(match.ServiceAccounts, match.NotServiceAccounts, account) &&
		holds(match.Principals, match.NotPrincipals, text(peer.Principal())) &&
		holds(match.SourceIps, match.NotSourceIps, within(connection.Source.Addr())) &&
		holds(match.DestinationIps, match.NotDestinationIps, within(connection.Destination.Addr())) &&
		holds(match.DestinationPorts, match.NotDestinationPorts, port)
}

func text(have string) func(*security.StringMatch) bool {
	return func(match *security.StringMatch) bool {
		if have == "" {
			return false
		}
		switch want := match.MatchType.(type) {
		case *security.StringMatch_Exact:
			return have == want.Exact
		case *security.StringMatch_Prefix:
			return strings.HasPrefix(have, want.Prefix)
		case *security.StringMatch_Suffix:
			return strings.HasSuffix(have, want.Suffix)
		case *security.StringMatch_Presence:
			return true
		}
		return false // a kind newer than this program
	}
}

func within(ip netip.Addr) func(*security.Address) bool {
	return func(wanted *security.Address) bool {
		prefix := netip.PrefixFrom(addr(wanted.Address), int(wanted.Length))
		return prefix.Contains(ip)
	}
}

// holds: one of the wanted values if there are any, and none of the unwanted.
func holds[T any](wanted, unwanted []T, match func(T) bool) bool {
	return (len(wanted) == 0 || slices.ContainsFunc(wanted, match)) && !slices.ContainsFunc(unwanted, match)
}

func all[T any](values []T, holds func(T) bool) bool {
	return !slices.ContainsFunc(values, func(value T) bool { return !holds(value) })
}
