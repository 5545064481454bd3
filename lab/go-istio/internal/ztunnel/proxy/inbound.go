package proxy

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"time"

	"bulkhead.mesh/lab-istio/internal/ztunnel/identity"
	"bulkhead.mesh/lab-istio/internal/ztunnel/mesh"
	"bulkhead.mesh/lab-istio/internal/ztunnel/netns"
	"bulkhead.mesh/lab-istio/internal/ztunnel/report"
	"istio.io/istio/pkg/workloadapi"
)

// unknownLooks is how often a destination is looked for that istiod has not told
// of yet: a pod may be called in the moment it starts.
const unknownLooks = 50

var errOwnPort = errors.New("the destination is a port of the proxy itself")

// plaintext serves a connection to the pod that came without a tunnel.
func (p *pod) plaintext(client *net.TCPConn) {
	source := netns.Remote(client)
	destination, err := netns.OriginalDestination(client)
	if err != nil || proxyPort(destination) {
		return
	}
	connection := p.inboundReport(report.Party{Address: source}, report.Party{Address: destination}, destination)
	check := p.check(connection, mesh.Inbound{Source: source, Destination: destination})
	far, err := p.admit(source, destination, check)
	if err != nil {
		p.Reporter.Refused(connection, err)
		return
	}
	p.relay(connection, client, far, check)
}

// tunnelled serves a connection to the pod that carries tunnels.
func (p *pod) tunnelled(raw *net.TCPConn) {
	source, door := netns.Remote(raw), netns.Local(raw)
	p.tunnels.serve(p.ctx, raw, p.credentials(), p.sameTrustDomain, p.Reporter.Log,
		func(w http.ResponseWriter, r *http.Request, peer identity.ID) {
			p.serveTunnel(w, r, source, door, peer)
		})
}

func (p *pod) sameTrustDomain(peer identity.ID) error {
	if peer.TrustDomain != p.identity.TrustDomain {
		return errors.New("the peer " + peer.String() + " is of another trust domain")
	}
	return nil
}

// serveTunnel serves one tunnel of a peer whose identity is proven.
func (p *pod) serveTunnel(w http.ResponseWriter, r *http.Request, source, door netip.AddrPort, peer identity.ID) {
	destination, err := tunnelDestination(r, door)
	if err != nil {
		p.Reporter.Log.Printf(report.Warn, "inbound", "bad request from %s (%s): %s %s: %v", source, peer, r.Method, r.Host, err)
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	connection := p.inboundReport(
		report.Party{Address: source, Identity: peer},
		report.Party{Address: door, Tunnel: destination, Identity: p.identity}, destination)
	check := p.check(connection, mesh.Inbound{Source: source, Destination: destination, Peer: peer})
	far, err := p.admit(source, destination, check)
	if err != nil {
		status := http.StatusServiceUnavailable
		if check() != nil {
			status = http.StatusUnauthorized
		}
		w.WriteHeader(status)
		p.Reporter.Refused(connection, err)
		return
	}
	client, err := acceptTunnel(w, r)
	if err != nil {
		_ = far.Close()
		p.Reporter.Refused(connection, err)
		return
	}
	p.relay(connection, client, far, check)
}

// tunnelDestination: only this pod, at the address the client came to, and no port
// of the proxy, where a tunnel would lead round policies.
func tunnelDestination(r *http.Request, door netip.AddrPort) (netip.AddrPort, error) {
	if r.Method != http.MethodConnect {
		return netip.AddrPort{}, errors.New("not a CONNECT request")
	}
	destination, err := netip.ParseAddrPort(r.Host)
	if err != nil {
		return netip.AddrPort{}, errors.New("no ADDRESS:PORT")
	}
	if destination.Addr() != door.Addr() {
		return netip.AddrPort{}, errors.New("not this pod's address")
	}
	if proxyPort(destination) {
		return netip.AddrPort{}, errOwnPort
	}
	return destination, nil
}

// check is the policies' word on a connection, now and after each update.
func (p *pod) check(connection *report.Connection, inbound mesh.Inbound) func() error {
	return func() error {
		workload := p.Mesh.Workload(inbound.Destination.Addr())
		if workload == nil {
			workload = connection.Destination.Workload // the pod may leave istiod's list before its connections end
		}
		return p.Mesh.Authorize(workload, inbound)
	}
}

// admit connects with the application if the policies allow it. The application
// sees the address of the source, as without a mesh.
func (p *pod) admit(source, destination netip.AddrPort, check func() error) (stream, error) {
	if err := check(); err != nil {
		return nil, err
	}
	far, err := p.namespace.Dial(p.ctx, "tcp", destination, source.Addr())
	if err != nil {
		return nil, err
	}
	return far.(*net.TCPConn), nil
}

func (p *pod) relay(connection *report.Connection, client, far stream, check func() error) {
	p.Reporter.Opened(connection)
	ctx, done := p.Mesh.Guard(p.ctx, check)
	defer done()
	var err error
	connection.Received, connection.Sent, err = splice(ctx, client, far)
	p.Reporter.Closed(connection, err)
}

func (p *pod) inboundReport(source, destination report.Party, reached netip.AddrPort) *report.Connection {
	start := time.Now()
	source.Workload = p.Mesh.Workload(source.Address.Addr())
	destination.Workload = p.await(reached.Addr())
	destination.Service = mesh.ServiceOf(destination.Workload, reached.Port())
	return &report.Connection{Direction: report.Inbound, Start: start, Source: source, Destination: destination}
}

func (p *pod) await(ip netip.Addr) *workloadapi.Workload {
	ctx, cancel := context.WithTimeout(p.ctx, unknownLooks*p.Retry)
	defer cancel()
	for {
		if workload := p.Mesh.Workload(ip); workload != nil || ctx.Err() != nil {
			return workload
		}
		select {
		case <-ctx.Done():
		case <-time.After(p.Retry):
		}
	}
}

func proxyPort(address netip.AddrPort) bool {
	return address.Port() == 15001 || address.Port() == 15006 || address.Port() == 15008
}
