package proxy

import (
	"net"
	"net/netip"
	"time"

	"bulkhead.mesh/lab-istio/internal/ztunnel/mesh"
	"bulkhead.mesh/lab-istio/internal/ztunnel/netns"
	"bulkhead.mesh/lab-istio/internal/ztunnel/report"
)

// outbound serves a connection that the pod makes.
func (p *pod) outbound(client *net.TCPConn) {
	source := netns.Remote(client)
	destination, err := netns.OriginalDestination(client)
	if err != nil || destination == netns.Local(client) {
		return // nothing redirected it here: a call to this very port
	}
	connection := &report.Connection{
		Direction:   report.Outbound,
		Start:       time.Now(),
		Source:      report.Party{Address: source, Workload: p.Mesh.Workload(source.Addr())},
		Destination: report.Party{Address: destination},
	}
	far, err := p.reach(destination, connection)
	if err != nil {
		p.Reporter.Refused(connection, err)
		return
	}
	p.Reporter.Opened(connection)
	connection.Sent, connection.Received, err = splice(p.ctx, client, far)
	p.Reporter.Closed(connection, err)
}

// reach connects with a destination, and notes in the report how.
func (p *pod) reach(destination netip.AddrPort, connection *report.Connection) (stream, error) {
	route, err := p.Mesh.Route(destination)
	connection.Destination = report.Party{
		Address: route.Dial, Tunnel: route.Tunnel, Service: route.Service, Workload: route.Peer,
	}
	if err != nil {
		return nil, err
	}
	if !route.Tunnel.IsValid() {
		return p.dialPlain(route.Dial)
	}
	connection.Source.Identity, connection.Destination.Identity = p.identity, mesh.Identity(route.Peer)
	return p.openTunnel(route.Dial, route.Tunnel, connection.Destination.Identity)
}

// dialPlain leaves the source address to the pod's routes.
func (p *pod) dialPlain(destination netip.AddrPort) (stream, error) {
	far, err := p.namespace.Dial(p.ctx, "tcp", destination, netip.Addr{})
	if err != nil {
		return nil, err
	}
	return far.(*net.TCPConn), nil
}
