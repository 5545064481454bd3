package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"time"

	"golang.org/x/net/http2"

	"bulkhead.mesh/lab-istio/internal/ztunnel/identity"
	"bulkhead.mesh/lab-istio/internal/ztunnel/netns"
	"bulkhead.mesh/lab-istio/internal/ztunnel/report"
)

// handshakeTimeout bounds TLS and the answer to CONNECT.
const handshakeTimeout = 10 * time.Second

// maxTunnels is how many tunnels one client may have in one connection.
const maxTunnels = 1000

var http2Client = &http2.Transport{DisableCompression: true}

// clientTunnel is the client's end of a tunnel: one CONNECT stream on a connection of its own.
type clientTunnel struct {
	body io.ReadCloser
	pipe *io.PipeWriter
	http *http2.ClientConn
}

func (t *clientTunnel) Read(b []byte) (int, error)  { return t.body.Read(b) }
func (t *clientTunnel) Write(b []byte) (int, error) { return t.pipe.Write(b) }
func (t *clientTunnel) CloseWrite() error           { return t.pipe.Close() }

// Close breaks off what is still under way.
func (t *clientTunnel) Close() error {
	_ = t.pipe.CloseWithError(net.ErrClosed)
	return t.http.Close()
}

// endsWhole: the server of a tunnel cannot end its half alone (Go ends a stream
// when the handler returns), so its end is the end of both.
func (t *clientTunnel) endsWhole() bool { return true }

// openTunnel connects with a door, where peer and nobody else must answer, and
// opens a tunnel to target.
func (p *pod) openTunnel(door, target netip.AddrPort, peer identity.ID) (stream, error) {
	raw, err := p.namespace.Dial(p.ctx, "tcp", door, netip.Addr{})
	if err != nil {
		return nil, err
	}
	opened, err := connect(p.ctx, raw, p.credentials(), target, peer)
	if err != nil {
		_ = raw.Close()
		return nil, err
	}
	return opened, nil
}

func connect(ctx context.Context, raw net.Conn, credentials identity.Credentials, target netip.AddrPort, peer identity.ID) (*clientTunnel, error) {
	// The deadline ends the connection itself, so it holds for TLS, HTTP and all between.
	_ = raw.SetDeadline(time.Now().Add(handshakeTimeout))
	secured := tls.Client(raw, credentials.TLS(ctx, identity.Exactly(peer)))
	if err := secured.HandshakeContext(ctx); err != nil {
		return nil, fmt.Errorf("tunnel to %s: %w", raw.RemoteAddr(), err)
	}
	connection, err := http2Client.NewClientConn(secured)
	if err != nil {
		return nil, fmt.Errorf("tunnel to %s: %w", raw.RemoteAddr(), err)
	}
	reader, writer := io.Pipe()
	request, err := http.NewRequestWithContext(ctx, http.MethodConnect, "https://"+target.String(), reader)
	if err != nil {
		return nil, err
	}
	response, err := connection.RoundTrip(request)
	if err != nil {
		return nil, fmt.Errorf("tunnel to %s: %w", raw.RemoteAddr(), err)
	}
	if response.StatusCode != http.StatusOK {
		_ = response.Body.Close()
		return nil, fmt.Errorf("tunnel to %s: the peer answered %s", raw.RemoteAddr(), response.Status)
	}
	_ = raw.SetDeadline(time.Time{})
	return &clientTunnel{response.Body, writer, connection}, nil
}

// tunnelServer serves the tunnels of all pods.
type tunnelServer struct {
	settings *http2.Server
	base     *http.Server
}

func newTunnelServer() *tunnelServer {
	server := &tunnelServer{&http2.Server{MaxConcurrentStreams: maxTunnels}, &http.Server{}}
	// It fails only for TLS settings, and base has none.
	_ = http2.ConfigureServer(server.base, server.settings)
	return server
}

// shutdown asks clients not to open tunnels any more; open ones go on.
func (s *tunnelServer) shutdown(ctx context.Context) { _ = s.base.Shutdown(ctx) }

// serve proves the peer's identity, then hands each of its requests to handle,
// until the connection or the context ends.
func (s *tunnelServer) serve(ctx context.Context, raw net.Conn, credentials identity.Credentials, accept func(identity.ID) error, log *report.Log,
	handle func(http.ResponseWriter, *http.Request, identity.ID),
) {
	var peer identity.ID
	secured := tls.Server(raw, credentials.TLS(ctx, func(shown identity.ID) error {
		peer = shown
		return accept(shown)
	}))
	_ = raw.SetDeadline(time.Now().Add(handshakeTimeout))
	if err := secured.HandshakeContext(ctx); err != nil {
		log.Printf(report.Warn, "inbound", "TLS from %s to %s: %v", netns.Remote(raw), credentials.Own, err)
		return
	}
	_ = raw.SetDeadline(time.Time{})
	s.settings.ServeConn(secured, &http2.ServeConnOpts{
		Context:    ctx,
		BaseConfig: s.base,
		Handler:    http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { handle(w, r, peer) }),
	})
}

// serverTunnel is the server's end of a tunnel.
type serverTunnel struct {
	io.ReadCloser
	writer  io.Writer
	control *http.ResponseController
}

// acceptTunnel answers the CONNECT request.
func acceptTunnel(w http.ResponseWriter, r *http.Request) (*serverTunnel, error) {
	tunnel := &serverTunnel{ReadCloser: r.Body, writer: w, control: http.NewResponseController(w)}
	w.WriteHeader(http.StatusOK)
	return tunnel, tunnel.control.Flush()
}

func (t *serverTunnel) Write(b []byte) (int, error) {
	written, err := t.writer.Write(b)
	if err == nil {
		err = t.control.Flush()
	}
	return written, err
}

// CloseWrite says that it cannot: see endsWhole of the client's end.
func (t *serverTunnel) CloseWrite() error { return errors.ErrUnsupported }
