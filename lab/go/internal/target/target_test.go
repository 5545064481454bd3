package target

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/pion/stun/v3"
)

var (
	loopback4 = netip.MustParseAddr("127.0.0.1")
	loopback6 = netip.MustParseAddr("::1")
)

// syncBuffer is a log that a test reads while services write.
type syncBuffer struct {
	mutex  sync.Mutex
	buffer bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	return b.buffer.Write(p)
}

func (b *syncBuffer) entries(t *testing.T) []entry {
	t.Helper()
	b.mutex.Lock()
	defer b.mutex.Unlock()
	var found []entry
	for line := range strings.Lines(b.buffer.String()) {
		var one entry
		if err := json.Unmarshal([]byte(line), &one); err != nil {
			t.Fatalf("log line %q: %v", line, err)
		}
		found = append(found, one)
	}
	return found
}

// logged needs no waiting: every service logs before it answers.
func (b *syncBuffer) logged(t *testing.T, service string, caller netip.AddrPort, detail string) {
	t.Helper()
	for _, one := range b.entries(t) {
		if one.Service == service && one.Detail == detail && one.Address == caller.Addr().String() && one.Port == caller.Port() {
			if stamp, err := time.Parse("2006-01-02T15:04:05.000Z07:00", one.Time); err != nil || time.Since(stamp) > time.Minute {
				t.Fatalf("time of %+v: %v", one, err)
			}
			return
		}
	}
	t.Fatalf("no line with %s, %s, %q in %+v", service, caller, detail, b.entries(t))
}

// start runs a target on both loopback addresses, on free ports.
func start(t *testing.T) (*Server, *syncBuffer) {
	t.Helper()
	log := &syncBuffer{}
	server, err := Listen(Config{Addresses: []netip.Addr{loopback4, loopback6}, Zone: "probe.example", Log: log})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- server.Serve(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return server, log
}

// each runs check against a service on IPv4 and on IPv6.
func each(t *testing.T, service string, check func(t *testing.T, address netip.AddrPort, log *syncBuffer)) {
	server, log := start(t)
	for _, address := range server.Addresses(service) {
		t.Run(address.Addr().String(), func(t *testing.T) { check(t, address, log) })
	}
	if len(server.Addresses(service)) != 2 {
		t.Fatalf("%s listens on %v", service, server.Addresses(service))
	}
}

func dial(t *testing.T, network string, address netip.AddrPort) net.Conn {
	t.Helper()
	connection, err := net.Dial(network, address.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { connection.Close() })
	if err := connection.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return connection
}

func local(connection net.Conn) netip.AddrPort { return addrPort(connection.LocalAddr().String()) }

func send(t *testing.T, connection net.Conn, what string) {
	t.Helper()
	if _, err := io.WriteString(connection, what); err != nil {
		t.Fatal(err)
	}
}

func received(t *testing.T, connection net.Conn) []byte {
	t.Helper()
	buffer := make([]byte, 65536)
	count, err := connection.Read(buffer)
	if err != nil {
		t.Fatal(err)
	}
	return buffer[:count]
}

var echoCases = []struct{ name, sent, nonce string }{
	{"line", "n-1\n", "n-1"},
	{"first line only", "n-2\r\nsecond\n", "n-2"},
	{"cut", strings.Repeat("a", 300) + "\n", strings.Repeat("a", 200)},
	{"exactly 200", strings.Repeat("b", 200) + "\n", strings.Repeat("b", 200)},
	{"empty", "\n", ""},
	{"not text", "\xff\x00\x01\n", "\xff\x00\x01"},
}

func TestEchoUDP(t *testing.T) {
	each(t, "echo-udp", func(t *testing.T, address netip.AddrPort, log *syncBuffer) {
		for _, one := range append(echoCases, struct{ name, sent, nonce string }{"no line end", "n-3", "n-3"}) {
			connection := dial(t, "udp", address) // connected: an answer from another address would not arrive
			send(t, connection, one.sent)
			want := one.nonce + " " + local(connection).Addr().String() + "\n"
			if got := string(received(t, connection)); got != want {
				t.Errorf("%s: got %q, want %q", one.name, got, want)
			}
			log.logged(t, "echo-udp", local(connection), strings.ToValidUTF8(one.nonce, "\uFFFD"))
		}
		connection := dial(t, "udp", address) // an empty datagram is answered too
		send(t, connection, "")
		if got := string(received(t, connection)); got != " "+local(connection).Addr().String()+"\n" {
			t.Errorf("empty datagram: got %q", got)
		}
	})
}

func TestEchoTCP(t *testing.T) {
	each(t, "echo-tcp", func(t *testing.T, address netip.AddrPort, log *syncBuffer) {
		for _, one := range echoCases {
			connection := dial(t, "tcp", address)
			send(t, connection, one.sent)
			got, err := io.ReadAll(connection) // the end of the answer is the end of the stream
			want := one.nonce + " " + local(connection).Addr().String() + "\n"
			if err != nil || string(got) != want {
				t.Errorf("%s: got %q (%v), want %q", one.name, got, err, want)
			}
			log.logged(t, "echo-tcp", local(connection), strings.ToValidUTF8(one.nonce, "\uFFFD"))
		}
	})
}

func TestEchoTCPWithoutLineEnd(t *testing.T) {
	each(t, "echo-tcp", func(t *testing.T, address netip.AddrPort, _ *syncBuffer) {
		connection := dial(t, "tcp", address)
		send(t, connection, "half")
		if err := connection.(*net.TCPConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(connection)
		if err != nil || string(got) != "half "+local(connection).Addr().String()+"\n" {
			t.Errorf("got %q (%v)", got, err)
		}
	})
}

func TestHTTP(t *testing.T) {
	each(t, "http", func(t *testing.T, address netip.AddrPort, log *syncBuffer) {
		for path, want := range map[string]string{
			"/":              `{"address":%q,"port":%d,"path":"/","nonce":null}`,
			"/a/b?nonce=n-4": `{"address":%q,"port":%d,"path":"/a/b","nonce":"n-4"}`,
			"/e?nonce=":      `{"address":%q,"port":%d,"path":"/e","nonce":""}`,
		} {
			status, body, caller := get(t, address, path)
			if status != 200 || strings.TrimSpace(body) != fmt.Sprintf(want, caller.Addr(), caller.Port()) {
				t.Errorf("%s: %d %s", path, status, body)
			}
			if path == "/a/b?nonce=n-4" {
				log.logged(t, "http", caller, "/a/b n-4")
			}
		}
		status, body, caller := get(t, address, "/ip")
		if status != 200 || body != caller.Addr().String()+"\n" {
			t.Errorf("/ip: %d %q", status, body)
		}
		log.logged(t, "http", caller, "/ip")
	})
}

func TestHTTPGivesABodyBackAndLogsLittle(t *testing.T) {
	each(t, "http", func(t *testing.T, address netip.AddrPort, log *syncBuffer) {
		long := strings.Repeat("n", 256<<10)
		for size, want := range map[int]int{len(long): http.StatusOK, maxBody + 1: http.StatusRequestEntityTooLarge} {
			body := strings.NewReader(strings.Repeat("n", size))
			answer, err := http.Post("http://"+address.String()+"/bulk", "text/plain", body)
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(answer.Body)
			answer.Body.Close()
			if err != nil || answer.StatusCode != want || (want == http.StatusOK && string(got) != long) {
				t.Errorf("%d bytes: %d, %d bytes back (%v)", size, answer.StatusCode, len(got), err)
			}
		}
		if status, body, _ := get(t, address, "/"+long); status != http.StatusOK || !strings.Contains(body, long) {
			t.Errorf("long path: %d, %d bytes back", status, len(body))
		}
		for _, one := range log.entries(t) {
			if len(one.Detail) > maxDetail {
				t.Errorf("a line of %d bytes in the log", len(one.Detail))
			}
		}
	})
}

// get asks over a connection of its own, so that the test knows the caller's port.
func get(t *testing.T, address netip.AddrPort, path string) (int, string, netip.AddrPort) {
	t.Helper()
	connection := dial(t, "tcp", address)
	transport := &http.Transport{
		DisableKeepAlives: true,
		DialContext:       func(context.Context, string, string) (net.Conn, error) { return connection, nil },
	}
	answer, err := (&http.Client{Transport: transport}).Get("http://" + address.String() + path)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(body), local(connection)
}

func TestSTUN(t *testing.T) {
	each(t, "stun", func(t *testing.T, address netip.AddrPort, log *syncBuffer) {
		connection := dial(t, "udp", address)
		request := stun.MustBuild(stun.TransactionID, stun.BindingRequest)
		send(t, connection, string(request.Raw))
		reply := &stun.Message{Raw: received(t, connection)}
		if err := reply.Decode(); err != nil {
			t.Fatal(err)
		}
		var mapped stun.XORMappedAddress
		if err := mapped.GetFrom(reply); err != nil {
			t.Fatal(err)
		}
		want := local(connection)
		if reply.Type != stun.BindingSuccess || reply.TransactionID != request.TransactionID {
			t.Errorf("reply %v", reply)
		}
		if !mapped.IP.Equal(want.Addr().AsSlice()) || mapped.Port != int(want.Port()) {
			t.Errorf("mapped %v, want %v", mapped, want)
		}
		log.logged(t, "stun", want, fmt.Sprintf("%x", request.TransactionID))
	})
}

// TestGarbage sends what no protocol allows, and looks whether everything still answers.
func TestGarbage(t *testing.T) {
	server, _ := start(t)
	random := rand.New(rand.NewPCG(1, 2))
	valid := stun.MustBuild(stun.TransactionID, stun.BindingRequest, stun.NewUsername("a"), stun.Fingerprint).Raw
	query, err := new(dns.Msg).SetQuestion("a.probe.example.", dns.TypeA).Pack()
	if err != nil {
		t.Fatal(err)
	}
	for service, addresses := range server.addresses {
		network := "udp"
		if service == "http" || strings.HasSuffix(service, "-tcp") {
			network = "tcp"
		}
		for _, address := range addresses {
			for range 50 {
				for _, seed := range [][]byte{make([]byte, random.IntN(100)), bytes.Clone(valid), bytes.Clone(query)} {
					for range 1 + len(seed)/8 {
						if len(seed) > 0 {
							seed[random.IntN(len(seed))] = byte(random.Uint32())
						}
					}
					connection := dial(t, network, address)
					_, _ = connection.Write(seed)
					connection.Close()
				}
			}
		}
	}
	for _, address := range server.Addresses("echo-udp") {
		connection := dial(t, "udp", address)
		send(t, connection, "alive\n")
		if got := string(received(t, connection)); !strings.HasPrefix(got, "alive ") {
			t.Errorf("echo-udp: %q", got)
		}
	}
	for _, address := range server.Addresses("echo-tcp") {
		connection := dial(t, "tcp", address)
		send(t, connection, "alive\n")
		if got := string(received(t, connection)); !strings.HasPrefix(got, "alive ") {
			t.Errorf("echo-tcp: %q", got)
		}
	}
	for _, address := range server.Addresses("stun") {
		connection := dial(t, "udp", address)
		send(t, connection, string(stun.MustBuild(stun.TransactionID, stun.BindingRequest).Raw))
		if !stun.IsMessage(received(t, connection)) {
			t.Error("stun is silent")
		}
	}
	for _, address := range server.Addresses("http") {
		if status, _, _ := get(t, address, "/"); status != 200 {
			t.Errorf("http: %d", status)
		}
	}
	for _, network := range []string{"udp", "tcp"} {
		for _, address := range server.Addresses("dns-" + network) {
			if reply := ask(t, network, address, "alive.probe.example.", dns.TypeA); len(reply.Answer) != 1 {
				t.Errorf("dns-%s: %v", network, reply)
			}
		}
	}
}

// countingWriter keeps every single write apart.
type countingWriter struct{ writes [][]byte }

func (w *countingWriter) Write(p []byte) (int, error) {
	w.writes = append(w.writes, bytes.Clone(p))
	return len(p), nil
}

func TestLogLinesAreSingleWrites(t *testing.T) {
	out := &countingWriter{}
	log := newRequestLog(out)
	log.now = func() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 67_000_000, time.FixedZone("", 3600)) }
	var group sync.WaitGroup
	for i := range 20 {
		group.Go(func() { log.add("http", netip.MustParseAddrPort("192.0.2.1:9"), fmt.Sprintf("/%02d\n\"", i)) })
	}
	group.Wait()
	if len(out.writes) != 20 {
		t.Fatalf("%d writes for 20 requests", len(out.writes))
	}
	for _, write := range out.writes {
		var one entry
		if err := json.Unmarshal(write, &one); err != nil || bytes.Count(write, []byte("\n")) != 1 || !bytes.HasSuffix(write, []byte("\n")) {
			t.Errorf("%q is not one line (%v)", write, err)
		}
		if one.Time != "2026-01-02T02:04:05.067Z" || one.Port != 9 {
			t.Errorf("%+v", one)
		}
	}
}

func TestListenSaysWhatIsTaken(t *testing.T) {
	taken, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	port := addrPort(taken.LocalAddr().String()).Port()
	_, err = Listen(Config{Addresses: []netip.Addr{loopback4}, Zone: "probe.example", STUNPort: port, Log: io.Discard})
	if err == nil || !strings.HasPrefix(err.Error(), "stun on 127.0.0.1: ") {
		t.Errorf("got %v", err)
	}
	if _, err = Listen(Config{Log: io.Discard}); err == nil {
		t.Error("no address is no error")
	}
}
