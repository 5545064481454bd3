// Package target is the lab's host on the internet: services that answer with
// the address they see their caller under, and that log every request.
package target

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"time"

	"github.com/miekg/dns"
)

// Config says what is served where. Port 0 means any free port.
type Config struct {
	Addresses []netip.Addr // every service listens on each of them
	Zone      string       // the DNS zone the target is authoritative for
	HTTPPort  uint16
	EchoPort  uint16 // TCP and UDP
	STUNPort  uint16
	DNSPort   uint16 // TCP and UDP
	Log       io.Writer
}

// Server has all sockets of the target.
type Server struct {
	config    Config
	log       *requestLog
	zone      zone
	sockets   []io.Closer
	serve     []func() error
	addresses map[string][]netip.AddrPort
}

// Listen opens every socket, so that after it nothing can be refused any more.
func Listen(config Config) (*Server, error) {
	if len(config.Addresses) == 0 {
		return nil, errors.New("no address to listen on: give at least one with -listen")
	}
	s := &Server{
		config:    config,
		log:       newRequestLog(config.Log),
		zone:      newZone(config.Zone, config.Addresses),
		addresses: map[string][]netip.AddrPort{},
	}
	for _, address := range config.Addresses {
		if err := s.listen(address); err != nil {
			s.close()
			return nil, err
		}
	}
	return s, nil
}

// Addresses tells where a service listens, in the order of Config.Addresses.
func (s *Server) Addresses(service string) []netip.AddrPort { return s.addresses[service] }

// listen opens one socket per service on one address: an answer over UDP then
// leaves from the address that was asked. DNS over TCP comes last: who can
// connect to it on the last address knows that all sockets are open.
func (s *Server) listen(address netip.Addr) error {
	packets := []struct {
		service string
		port    uint16
		serve   func(net.PacketConn) error
	}{
		{"echo-udp", s.config.EchoPort, s.serveEchoUDP},
		{"stun", s.config.STUNPort, s.serveSTUN},
		{"dns-udp", s.config.DNSPort, func(socket net.PacketConn) error { return s.serveDNS(&dns.Server{PacketConn: socket}) }},
	}
	for _, packet := range packets {
		socket, err := net.ListenPacket("udp", joined(address, packet.port))
		if err != nil {
			return fmt.Errorf("%s on %s: %w", packet.service, address, err)
		}
		s.add(packet.service, socket, socket.LocalAddr(), func() error { return packet.serve(socket) })
	}
	streams := []struct {
		service string
		port    uint16
		serve   func(net.Listener) error
	}{
		{"http", s.config.HTTPPort, s.serveHTTP},
		{"echo-tcp", s.config.EchoPort, s.serveEchoTCP},
		{"dns-tcp", s.config.DNSPort, func(listener net.Listener) error { return s.serveDNS(&dns.Server{Listener: listener}) }},
	}
	for _, stream := range streams {
		listener, err := net.Listen("tcp", joined(address, stream.port))
		if err != nil {
			return fmt.Errorf("%s on %s: %w", stream.service, address, err)
		}
		s.add(stream.service, listener, listener.Addr(), func() error { return stream.serve(listener) })
	}
	return nil
}

func (s *Server) add(service string, socket io.Closer, bound net.Addr, serve func() error) {
	s.sockets = append(s.sockets, socket)
	s.serve = append(s.serve, serve)
	s.addresses[service] = append(s.addresses[service], addrPort(bound.String()))
}

// Serve answers until ctx ends or a service fails; nil when it was ctx.
func (s *Server) Serve(ctx context.Context) error {
	failed := make(chan error, len(s.serve))
	for _, serve := range s.serve {
		go func() { failed <- serve() }()
	}
	defer s.close()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
		return nil
	}
}

func (s *Server) close() {
	for _, socket := range s.sockets {
		_ = socket.Close()
	}
}

func (s *Server) serveHTTP(listener net.Listener) error {
	server := &http.Server{Handler: http.HandlerFunc(s.answerHTTP), ReadHeaderTimeout: 10 * time.Second}
	return server.Serve(listener)
}

// joined is an address as net.Listen wants it.
func joined(address netip.Addr, port uint16) string {
	return net.JoinHostPort(address.String(), strconv.Itoa(int(port)))
}

// addrPort is the caller's address in its plain form: no IPv4 inside IPv6, no zone.
func addrPort(address string) netip.AddrPort {
	found, err := netip.ParseAddrPort(address)
	if err != nil {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(found.Addr().Unmap().WithZone(""), found.Port())
}
