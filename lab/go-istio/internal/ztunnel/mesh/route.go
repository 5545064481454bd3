package mesh

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"

	"istio.io/istio/pkg/workloadapi"
)

// HBONEPort is where node proxies and waypoints take tunnels.
const HBONEPort = 15008

// Reasons why a known destination cannot be reached.
var (
	ErrNoEndpoint = errors.New("no healthy endpoint")
	ErrNoWaypoint = errors.New("no healthy waypoint")
)

// Route is where an outbound connection goes.
type Route struct {
	Dial    netip.AddrPort        // a TCP connection to this ...
	Tunnel  netip.AddrPort        // ... and, if valid, an HBONE tunnel in it to that
	Peer    *workloadapi.Workload // who receives the connection; nil for strangers
	Service string                // host name of the service that was called, if any
}

// Route decides where a connection to destination goes. Strangers are dialled as
// they are. With an error the route says as much as is known, for the log.
func (s *State) Route(destination netip.AddrPort) (Route, error) {
	s.mutex.RLock()
	defer s.mutex.RUnlock()
	owner := s.index.find(destination.Addr())
	service, workload := owner.GetService(), owner.GetWorkload()
	switch {
	case service != nil && service.Waypoint != nil:
		return s.viaWaypoint(Route{Service: service.Hostname}, service.Waypoint, destination)
	case service != nil:
		return s.toService(service, destination)
	case workload != nil && workload.Waypoint != nil:
		return s.viaWaypoint(Route{}, workload.Waypoint, destination)
	}
	return toWorkload(Route{Peer: workload}, destination), nil
}

func (s *State) toService(service *workloadapi.Service, destination netip.AddrPort) (Route, error) {
	route := Route{Service: service.Hostname, Dial: destination}
	if service.GetLoadBalancing().GetMode() == workloadapi.LoadBalancing_PASSTHROUGH {
		return route, nil
	}
	chosen, endpoint := s.index.endpoint(service, uint32(destination.Port()), destination.Addr())
	if chosen == nil {
		return route, fmt.Errorf("%w for %s port %d", ErrNoEndpoint, service.Hostname, destination.Port())
	}
	route.Peer = chosen
	return toWorkload(route, endpoint), nil
}

// toWorkload tunnels to workloads that take tunnels, and dials the others.
func toWorkload(route Route, endpoint netip.AddrPort) Route {
	route.Dial = endpoint
	if route.Peer.GetTunnelProtocol() == workloadapi.TunnelProtocol_HBONE {
		route.Dial, route.Tunnel = netip.AddrPortFrom(endpoint.Addr(), HBONEPort), endpoint
	}
	return route
}

// viaWaypoint sends the destination as it was called to the waypoint, which decides anew.
func (s *State) viaWaypoint(route Route, waypoint *workloadapi.GatewayAddress, destination netip.AddrPort) (Route, error) {
	route.Dial = destination
	var gateway *workloadapi.Address
	if name := waypoint.GetHostname(); name != nil {
		gateway = s.addresses[name.Namespace+"/"+name.Hostname]
	} else {
		gateway = s.index.find(addr(waypoint.GetAddress().GetAddress()))
	}
	endpoint := netip.AddrPort{}
	route.Peer = gateway.GetWorkload()
	if service := gateway.GetService(); service != nil {
		route.Peer, endpoint = s.index.endpoint(service, waypoint.HboneMtlsPort, destination.Addr())
	} else if ip := address(route.Peer, destination.Addr()); ip.IsValid() {
		endpoint = netip.AddrPortFrom(ip, uint16(waypoint.HboneMtlsPort))
	}
	if !endpoint.IsValid() {
		route.Peer = nil
		return route, ErrNoWaypoint
	}
	route.Dial, route.Tunnel = endpoint, destination
	return route, nil
}

// endpoint picks, at random, a workload that serves the service's port, and the
// address and target port to call it by.
func (i index) endpoint(service *workloadapi.Service, port uint32, like netip.Addr) (*workloadapi.Workload, netip.AddrPort) {
	name := service.Namespace + "/" + service.Hostname
	unhealthyToo := service.GetLoadBalancing().GetHealthPolicy() == workloadapi.LoadBalancing_ALLOW_ALL
	var workloads []*workloadapi.Workload
	var endpoints []netip.AddrPort
	for _, workload := range i.endpoints[name] {
		if workload.Status != workloadapi.WorkloadStatus_HEALTHY && !unhealthyToo {
			continue
		}
		ip := address(workload, like)
		for _, candidate := range workload.Services[name].GetPorts() {
			if candidate.ServicePort == port && candidate.TargetPort != 0 && ip.IsValid() {
				workloads = append(workloads, workload)
				endpoints = append(endpoints, netip.AddrPortFrom(ip, uint16(candidate.TargetPort)))
				break
			}
		}
	}
	if len(workloads) == 0 {
		return nil, netip.AddrPort{}
	}
	chosen := rand.IntN(len(workloads))
	return workloads[chosen], endpoints[chosen]
}

// address is the workload's address of the same family as like, else its first.
func address(workload *workloadapi.Workload, like netip.Addr) netip.Addr {
	var first netip.Addr
	for _, bytes := range workload.GetAddresses() {
		ip := addr(bytes)
		if ip.Is4() == like.Is4() {
			return ip
		}
		if !first.IsValid() {
			first = ip
		}
	}
	return first
}
