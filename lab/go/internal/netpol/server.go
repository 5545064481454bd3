package netpol

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"net"
	"os"
	"time"

	"bulkhead.mesh/lab/internal/netpol/wire"
)

// server accepts requests on a unix socket that only root can open.
type server struct {
	listener net.Listener
	handle   func(context.Context, wire.Request) wire.Response
}

// listen opens the socket; one left by a daemon that was killed is replaced.
func listen(path string, handle func(context.Context, wire.Request) wire.Response) (*server, error) {
	if connection, err := net.Dial("unix", path); err == nil {
		connection.Close()
		return nil, fmt.Errorf("another daemon answers on %s: stop it first", path)
	}
	if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
		return nil, fmt.Errorf("cannot replace the socket %s: %w", path, err)
	}
	listener, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("cannot listen on %s: %w", path, err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		listener.Close()
		return nil, fmt.Errorf("cannot protect the socket %s: %w", path, err)
	}
	return &server{listener: listener, handle: handle}, nil
}

func (s *server) close() { s.listener.Close() }

func (s *server) serve(ctx context.Context) {
	for {
		connection, err := s.listener.Accept()
		if err != nil {
			if ctx.Err() == nil {
				log.Printf("netpol: the socket is gone: %v", err)
			}
			return
		}
		go s.answer(ctx, connection)
	}
}

func (s *server) answer(ctx context.Context, connection net.Conn) {
	defer connection.Close()
	_ = connection.SetReadDeadline(time.Now().Add(5 * time.Second))
	var request wire.Request
	response := wire.Response{}
	if err := json.NewDecoder(connection).Decode(&request); err != nil {
		response.Error = fmt.Sprintf("the request is no JSON object: %v", err)
	} else {
		response = s.handle(ctx, request)
	}
	_ = json.NewEncoder(connection).Encode(response)
}
