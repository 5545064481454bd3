package netns

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// Mark is what the rules in an enrolled pod know as "from the node proxy".
	Mark = 1337
	// connectTimeout bounds the wait for a peer's answer.
	connectTimeout = 10 * time.Second
	// originalDestination6 is SO_ORIGINAL_DST for IPv6 (IP6T_SO_ORIGINAL_DST).
	originalDestination6 = 80
)

type option struct{ level, name, value int }

var (
	marked      = option{unix.SOL_SOCKET, unix.SO_MARK, Mark}
	sharedPort  = option{unix.SOL_SOCKET, unix.SO_REUSEPORT, 1}
	transparent = option{unix.SOL_IP, unix.IP_TRANSPARENT, 1}
	freebind    = option{unix.SOL_IP, unix.IP_FREEBIND, 1}
	// The kernel keeps one flag for both families, but asks for the level of the socket's.
	transparent6 = option{unix.SOL_IPV6, unix.IPV6_TRANSPARENT, 1}
	freebind6    = option{unix.SOL_IPV6, unix.IPV6_FREEBIND, 1}
)

// set makes a control function that sets options before bind.
func set(options ...option) func(string, string, syscall.RawConn) error {
	return func(_, _ string, connection syscall.RawConn) error {
		var failed error
		err := connection.Control(func(fd uintptr) {
			for _, o := range options {
				if err := unix.SetsockoptInt(int(fd), o.level, o.name, o.value); err != nil && failed == nil {
					failed = os.NewSyscallError("setsockopt", err)
				}
			}
		})
		return errors.Join(err, failed)
	}
}

// Listen opens a TCP listener for redirected connections on a port of every
// address of both families, or of IPv4 where the pod has no IPv6. The port is
// shared: in a rolling update the old and the new node proxy serve the pod together.
func (n *Namespace) Listen(port string) (net.Listener, error) {
	listener, err := n.listen("tcp", net.JoinHostPort("::", port))
	if err != nil {
		return n.listen("tcp4", net.JoinHostPort("0.0.0.0", port))
	}
	return listener, nil
}

// ListenAt opens a TCP listener on one address.
func (n *Namespace) ListenAt(address netip.AddrPort) (net.Listener, error) {
	return n.listen("tcp", address.String())
}

func (n *Namespace) listen(network, address string) (listener net.Listener, err error) {
	config := net.ListenConfig{Control: set(sharedPort, transparent)}
	err = n.Do(func() error { listener, err = config.Listen(context.Background(), network, address); return err })
	return listener, err
}

// ListenUDP opens a UDP socket on one address.
func (n *Namespace) ListenUDP(address netip.AddrPort) (socket net.PacketConn, err error) {
	config := net.ListenConfig{Control: set(sharedPort)}
	err = n.Do(func() error {
		socket, err = config.ListenPacket(context.Background(), "udp", address.String())
		return err
	})
	return socket, err
}

// Dial connects with the mark, by the pod's own routes. from, if valid, is the
// source address; it need not be the pod's. A call from an address to itself
// has no need to pretend.
func (n *Namespace) Dial(ctx context.Context, network string, to netip.AddrPort, from netip.Addr) (connection net.Conn, err error) {
	dialer := net.Dialer{Timeout: connectTimeout, Control: set(marked)}
	if from.IsValid() && from != to.Addr() {
		dialer.LocalAddr = &net.TCPAddr{IP: from.AsSlice()}
		dialer.Control = set(marked, transparent, freebind)
		if from.Is6() {
			dialer.Control = set(marked, transparent6, freebind6)
		}
	}
	err = n.Do(func() error { connection, err = dialer.DialContext(ctx, network, to.String()); return err })
	return connection, err
}

// OriginalDestination is where a redirected connection was meant to go.
func OriginalDestination(connection net.Conn) (netip.AddrPort, error) {
	raw, err := connection.(*net.TCPConn).SyscallConn()
	if err != nil {
		return netip.AddrPort{}, err
	}
	var destination netip.AddrPort
	var failed error
	err = raw.Control(func(fd uintptr) {
		// A listener for both families takes IPv4 connections too: ask for what this one is.
		if Remote(connection).Addr().Is4() {
			destination, failed = originalDestination(int(fd))
		} else {
			destination, failed = originalDestinationV6(int(fd))
		}
	})
	return destination, errors.Join(err, os.NewSyscallError("getsockopt", failed))
}

func originalDestination(fd int) (netip.AddrPort, error) {
	// The 20 bytes of this type are the first 20 of the sockaddr_in asked for.
	answer, err := unix.GetsockoptIPv6Mreq(fd, unix.SOL_IP, unix.SO_ORIGINAL_DST)
	if err != nil {
		return netip.AddrPort{}, err
	}
	bytes := answer.Multiaddr
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte(bytes[4:8])), binary.BigEndian.Uint16(bytes[2:4])), nil
}

func originalDestinationV6(fd int) (netip.AddrPort, error) {
	// This type begins with the sockaddr_in6 asked for.
	answer, err := unix.GetsockoptIPv6MTUInfo(fd, unix.SOL_IPV6, originalDestination6)
	if err != nil {
		return netip.AddrPort{}, err
	}
	port := binary.BigEndian.Uint16(binary.NativeEndian.AppendUint16(nil, answer.Addr.Port))
	return netip.AddrPortFrom(netip.AddrFrom16(answer.Addr.Addr), port), nil
}

// Remote is the peer's address of a TCP connection, IPv4 as IPv4.
func Remote(connection net.Conn) netip.AddrPort { return plain(connection.RemoteAddr()) }

// Local is this side's address of a TCP connection, IPv4 as IPv4.
func Local(connection net.Conn) netip.AddrPort { return plain(connection.LocalAddr()) }

func plain(address net.Addr) netip.AddrPort {
	tcp, ok := address.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	parsed := tcp.AddrPort()
	return netip.AddrPortFrom(parsed.Addr().Unmap(), parsed.Port())
}
