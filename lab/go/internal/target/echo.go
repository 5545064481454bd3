package target

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/pion/stun/v3"
)

const (
	maxNonce    = 200              // bytes of a nonce; more of a first line is cut off
	maxBody     = 1 << 20          // bytes of a body that is given back
	maxDetail   = 1000             // bytes of a request in the log
	echoTimeout = 10 * time.Second // for a TCP caller to send its line and take the answer
	pause       = 50 * time.Millisecond
)

// nonce is the first line of what was received, at most maxNonce bytes.
func nonce(received []byte) []byte {
	line, _, _ := bytes.Cut(received, []byte("\n"))
	line = bytes.TrimSuffix(line, []byte("\r"))
	return line[:min(len(line), maxNonce)]
}

func echo(nonce []byte, address string) []byte {
	return append(append(bytes.Clone(nonce), ' '), address+"\n"...)
}

func (s *Server) serveEchoTCP(listener net.Listener) error {
	for {
		connection, err := listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return err
		}
		if err != nil { // out of file descriptors, or the caller left already
			time.Sleep(pause)
			continue
		}
		go s.echoTCP(connection)
	}
}

func (s *Server) echoTCP(connection net.Conn) {
	defer connection.Close()
	_ = connection.SetDeadline(time.Now().Add(echoTimeout))
	reader := bufio.NewReader(io.LimitReader(connection, maxNonce+2)) // the line's end may be two bytes
	line, err := reader.ReadBytes('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return
	}
	caller := addrPort(connection.RemoteAddr().String())
	sent := nonce(line)
	s.log.add("echo-tcp", caller, string(sent))
	if _, err := connection.Write(echo(sent, caller.Addr().String())); err != nil {
		return
	}
	// Closing with unread input would reset the connection and take the answer with it.
	if half, ok := connection.(*net.TCPConn); ok && half.CloseWrite() == nil {
		_, _ = io.CopyN(io.Discard, connection, 1<<20)
	}
}

// receive hands every datagram to answer; answer returns nil for none.
func receive(socket net.PacketConn, answer func(datagram []byte, caller net.Addr) []byte) error {
	buffer := make([]byte, 65536)
	for {
		count, caller, err := socket.ReadFrom(buffer)
		if errors.Is(err, net.ErrClosed) {
			return err
		}
		if err != nil { // an ICMP error for an earlier answer
			time.Sleep(pause)
			continue
		}
		if reply := answer(buffer[:count], caller); reply != nil {
			_, _ = socket.WriteTo(reply, caller) // an unreachable caller is the caller's matter
		}
	}
}

func (s *Server) serveEchoUDP(socket net.PacketConn) error {
	return receive(socket, func(datagram []byte, from net.Addr) []byte {
		caller := addrPort(from.String())
		sent := nonce(datagram)
		s.log.add("echo-udp", caller, string(sent))
		return echo(sent, caller.Addr().String())
	})
}

func (s *Server) serveSTUN(socket net.PacketConn) error {
	return receive(socket, func(datagram []byte, from net.Addr) []byte {
		request := new(stun.Message)
		if !stun.IsMessage(datagram) || stun.Decode(datagram, request) != nil || request.Type != stun.BindingRequest {
			return nil
		}
		caller := addrPort(from.String())
		s.log.add("stun", caller, hex.EncodeToString(request.TransactionID[:]))
		reply, err := stun.Build(
			stun.NewTransactionIDSetter(request.TransactionID),
			stun.BindingSuccess,
			&stun.XORMappedAddress{IP: caller.Addr().AsSlice(), Port: int(caller.Port())},
			stun.Fingerprint,
		)
		if err != nil {
			return nil
		}
		return reply.Raw
	})
}

// answerHTTP tells any caller of any path its address, as JSON or, at /ip, as plain text. A posted body comes back as it is.
func (s *Server) answerHTTP(writer http.ResponseWriter, request *http.Request) {
	caller := addrPort(request.RemoteAddr)
	query := request.URL.Query()
	detail := request.URL.Path
	if query.Has("nonce") {
		detail += " " + query.Get("nonce")
	}
	s.log.add("http", caller, detail[:min(len(detail), maxDetail)])
	writer.Header().Set("Cache-Control", "no-store")
	if request.Method == http.MethodPost {
		writer.Header().Set("Content-Type", "application/octet-stream")
		body, err := io.ReadAll(http.MaxBytesReader(writer, request.Body, maxBody))
		if err != nil {
			http.Error(writer, err.Error(), http.StatusRequestEntityTooLarge)
			return
		}
		_, _ = writer.Write(body)
		return
	}
	if request.URL.Path == "/ip" {
		writer.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = io.WriteString(writer, caller.Addr().String()+"\n")
		return
	}
	body := struct {
		Address string  `json:"address"`
		Port    uint16  `json:"port"`
		Path    string  `json:"path"`
		Nonce   *string `json:"nonce"`
	}{caller.Addr().String(), caller.Port(), request.URL.Path, nil}
	if query.Has("nonce") {
		value := query.Get("nonce")
		body.Nonce = &value
	}
	writer.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(writer).Encode(body)
}
