package proxy

import (
	"net"
	"net/netip"
	"time"
)

const (
	dnsTimeout = 5 * time.Second
	dnsMessage = 64 << 10
	// maxQuestions bounds the questions of one pod that are under way.
	maxQuestions = 512
)

// dnsDatagrams passes the pod's captured questions, out of its own namespace, to
// the nameserver of the node proxy: not to the one that the pod asked.
func (p *pod) dnsDatagrams(socket net.PacketConn) {
	room := make(chan struct{}, maxQuestions)
	buffer := make([]byte, dnsMessage)
	for {
		size, asker, err := socket.ReadFrom(buffer)
		if err != nil {
			return // closed
		}
		p.Reporter.Asked()
		select {
		case room <- struct{}{}:
		default:
			continue // dropped, as a busy resolver would; the pod asks again
		}
		question := append([]byte(nil), buffer[:size]...)
		go func() {
			defer func() { <-room }()
			if answer := p.ask(question); answer != nil {
				_, _ = socket.WriteTo(answer, asker)
			}
		}()
	}
}

// ask returns nil when there is no answer: the pod's own timeout is the right one.
func (p *pod) ask(question []byte) []byte {
	if !p.Nameserver.IsValid() {
		return nil
	}
	resolver, err := p.namespace.Dial(p.ctx, "udp", p.Nameserver, netip.Addr{})
	if err != nil {
		return nil
	}
	defer resolver.Close()
	_ = resolver.SetDeadline(time.Now().Add(dnsTimeout))
	if _, err := resolver.Write(question); err != nil {
		return nil
	}
	answer := make([]byte, dnsMessage)
	size, err := resolver.Read(answer)
	if err != nil {
		return nil
	}
	return answer[:size]
}

// dnsStream passes a captured DNS connection on.
func (p *pod) dnsStream(client *net.TCPConn) {
	if !p.Nameserver.IsValid() {
		return
	}
	p.Reporter.Asked()
	if resolver, err := p.dialPlain(p.Nameserver); err == nil {
		_, _, _ = splice(p.ctx, client, resolver)
	}
}
