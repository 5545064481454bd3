// Package proxy carries the connections of enrolled pods: out of the pod, into the
// pod, in tunnels and beside them.
package proxy

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"

	"bulkhead.mesh/lab-istio/internal/ztunnel/identity"
	"bulkhead.mesh/lab-istio/internal/ztunnel/mesh"
	"bulkhead.mesh/lab-istio/internal/ztunnel/netns"
	"bulkhead.mesh/lab-istio/internal/ztunnel/report"
	"istio.io/istio/pkg/zdsapi"
)

// The ports in a pod that istio-cni's rules lead to.
const (
	outboundPort  = "15001"
	plaintextPort = "15006"
	tunnelPort    = "15008"
	dnsPort       = 15053
)

// errEnded ends the connections of a pod that is no longer served.
var errEnded = errors.New("the pod left the mesh or ended")

// Services are what every pod's proxy uses.
type Services struct {
	Mesh         *mesh.State
	Certificates *identity.Cache
	RootFile     string
	Nameserver   netip.AddrPort // where captured DNS questions go; invalid: nowhere
	TrustDomain  string
	Reporter     *report.Reporter
	// Retry is the pause between looks for what istiod has not said yet.
	Retry time.Duration

	tunnels *tunnelServer
	active  sync.WaitGroup // open connections
}

// pod is the proxy of one enrolled pod.
type pod struct {
	*Services
	info      *zdsapi.WorkloadInfo
	identity  identity.ID
	namespace *netns.Namespace
	ctx       context.Context // ends with the pod
	end       context.CancelCauseFunc
	closers   []interface{ Close() error }
}

// start opens all ports of a pod or none. The first certificate may come later.
func start(services *Services, info *zdsapi.WorkloadInfo, namespace *netns.Namespace) (*pod, error) {
	p := &pod{
		Services:  services,
		info:      info,
		identity:  identity.Of(services.TrustDomain, info.Namespace, info.ServiceAccount),
		namespace: namespace,
	}
	p.ctx, p.end = context.WithCancelCause(context.Background())
	if err := p.open(); err != nil {
		p.stopListening()
		p.end(err)
		return nil, err
	}
	go p.prefetch()
	p.Reporter.Log.Printf(report.Info, "inpod", "pod %s/%s added as %s", info.Namespace, info.Name, p.identity)
	return p, nil
}

func (p *pod) open() error {
	for port, serve := range map[string]func(*net.TCPConn){
		outboundPort: p.outbound, plaintextPort: p.plaintext, tunnelPort: p.tunnelled,
	} {
		listener, err := p.namespace.Listen(port)
		if err != nil {
			return err
		}
		p.accept(listener, serve)
	}
	for _, loopback := range []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()} {
		if err := p.openDNS(netip.AddrPortFrom(loopback, dnsPort)); err != nil && loopback.Is4() {
			return err // a pod without IPv6 has no ::1
		}
	}
	return nil
}

func (p *pod) openDNS(at netip.AddrPort) error {
	listener, err := p.namespace.ListenAt(at)
	if err != nil {
		return err
	}
	p.accept(listener, p.dnsStream)
	socket, err := p.namespace.ListenUDP(at)
	if err != nil {
		return err
	}
	p.closers = append(p.closers, socket)
	go p.dnsDatagrams(socket)
	return nil
}

func (p *pod) accept(listener net.Listener, serve func(*net.TCPConn)) {
	p.closers = append(p.closers, listener)
	go func() {
		for {
			accepted, err := listener.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			} else if err != nil { // a lack that may pass, of files for instance
				p.Reporter.Log.Printf(report.Warn, "proxy", "accept for %s/%s: %v", p.info.Namespace, p.info.Name, err)
				time.Sleep(p.Retry)
				continue
			}
			connection := accepted.(*net.TCPConn)
			p.active.Go(func() {
				defer connection.Close()
				defer context.AfterFunc(p.ctx, func() { _ = connection.Close() })()
				serve(connection)
			})
		}
	}()
}

// prefetch has the certificate at hand before the first connection. istiod signs
// only for pods it has seen, so the first answers may be refusals.
func (p *pod) prefetch() {
	for range 20 {
		if _, err := p.Certificates.Get(p.ctx, p.identity); err == nil {
			return
		}
		select {
		case <-p.ctx.Done():
			return
		case <-time.After(5 * p.Retry):
		}
	}
}

func (p *pod) stopListening() {
	for _, closer := range p.closers {
		_ = closer.Close()
	}
}

// stop ends the pod's proxy with all its connections.
func (p *pod) stop() {
	p.stopListening()
	p.end(errEnded)
	_ = p.namespace.Close()
	p.Reporter.Log.Printf(report.Info, "inpod", "pod %s/%s removed", p.info.Namespace, p.info.Name)
}

func (p *pod) credentials() identity.Credentials {
	return identity.Credentials{Own: p.identity, Certificates: p.Certificates, RootFile: p.RootFile}
}
