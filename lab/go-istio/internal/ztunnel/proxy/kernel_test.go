package proxy

import (
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"google.golang.org/protobuf/types/known/emptypb"

	"bulkhead.mesh/lab-istio/internal/ztunnel/identity"
	"bulkhead.mesh/lab-istio/internal/ztunnel/mesh"
	"bulkhead.mesh/lab-istio/internal/ztunnel/report"
	"istio.io/istio/pkg/workloadapi"
	"istio.io/istio/pkg/workloadapi/security"
)

const (
	bobPod     = "10.9.0.12:8080"
	bobService = "10.96.0.1:80"
	outside    = "10.9.0.1:9000"
	aliceName  = `src.identity="spiffe://cluster.local/ns/core/sa/alice"`
	bobName    = `dst.identity="spiffe://cluster.local/ns/core/sa/bob"`
)

func denyPlaintext() *security.Authorization {
	nobody := &security.Match{NotPrincipals: []*security.StringMatch{{MatchType: &security.StringMatch_Presence{Presence: &emptypb.Empty{}}}}}
	return &security.Authorization{
		Name: "strict", Namespace: "istio-system", Scope: security.Scope_GLOBAL, Action: security.Action_DENY,
		Groups: []*security.Group{{Rules: []*security.Rules{{Matches: []*security.Match{nobody}}}}},
	}
}

func denyAlice() *security.Authorization {
	match := &security.Match{ServiceAccounts: []*security.ServiceAccountMatch{{Namespace: "core", ServiceAccount: "alice"}}}
	return &security.Authorization{
		Name: "alice", Namespace: "core", Scope: security.Scope_NAMESPACE, Action: security.Action_DENY,
		Groups: []*security.Group{{Rules: []*security.Rules{{Matches: []*security.Match{match}}}}},
	}
}

func TestInside(t *testing.T) {
	if os.Getenv(inside) == "" {
		t.Skip("run by TestKernel")
	}
	w := newWorld(t)
	for _, at := range []string{"0.0.0.0:8080", "[::]:8081"} {
		w.application("bob", netip.MustParseAddrPort(at))
	}
	w.application("stranger", netip.MustParseAddrPort("[::]:8080"))
	w.application("", netip.MustParseAddrPort(outside))
	w.application("", netip.MustParseAddrPort("[fd00:9::1]:9000"))
	for _, test := range []struct {
		name string
		run  func(*world)
	}{
		{"tunnel", testTunnel},
		{"beside the mesh", testBeside},
		{"much", testMuch},
		{"policies", testPolicies},
		{"identities", testIdentities},
		{"requests", testRequests},
		{"dns", testDNS},
		{"pods", testPods},
		{"drain", testDrain}, // last: it ends the proxy
	} {
		t.Run(test.name, func(t *testing.T) {
			inner := *w
			inner.T = t
			inner.describe(nil)
			inner.policies()
			inner.log.mutex.Lock()
			inner.log.Reset()
			inner.log.mutex.Unlock()
			test.run(&inner)
		})
	}
}

// testTunnel: by pod address, by service address, and by IPv6; the application
// sees the caller's own address.
func testTunnel(w *world) {
	alice := cast["alice"]
	w.reached("alice", bobPod, alice.ip4)
	w.logged(`direction="outbound"`, aliceName, bobName, "dst.addr=10.9.0.12:15008 dst.hbone_addr=10.9.0.12:8080", "bytes_sent=5")
	w.logged(`direction="inbound"`, aliceName, bobName, "dst.hbone_addr=10.9.0.12:8080", "bytes_recv=5", `dst.service="web.core"`)
	w.reached("alice", bobService, alice.ip4)
	w.logged(`direction="outbound"`, `dst.service="web.core"`, "dst.hbone_addr=10.9.0.12:8080")
	w.reached("alice", "[fd00:9::12]:8081", alice.ip6)
	w.logged(`direction="inbound"`, aliceName, "dst.hbone_addr=[fd00:9::12]:8081")
	w.reached("bob", bobService, cast["bob"].ip4) // itself, through its own service
	if _, err := w.ask("alice", "10.9.0.12:8099", "hello"); err == nil {
		w.Error("a port where nobody listens answered")
	}
	w.logged(`direction="inbound"`, "dst.hbone_addr=10.9.0.12:8099", "connection refused")
}

// testBeside: peers that are not enrolled, both ways, and both ways by IPv6.
func testBeside(w *world) {
	alice, stranger := cast["alice"], cast["stranger"]
	w.reached("alice", outside, alice.ip4)
	w.logged(`direction="outbound"`, "dst.addr=10.9.0.1:9000 ", "bytes_sent=5")
	w.reached("alice", "[fd00:9::1]:9000", alice.ip6)
	w.reached("alice", "10.9.0.13:8080", alice.ip4)
	w.reached("stranger", bobPod, stranger.ip4)
	w.logged(`direction="inbound"`, "src.addr=10.9.0.13:", "dst.addr=10.9.0.12:8080", `dst.workload="bob"`)
	w.reached("stranger", "[fd00:9::12]:8081", stranger.ip6)
	if text := w.log.text(); strings.Contains(text, "identity") {
		w.Errorf("an identity where there is no tunnel:\n%s", text)
	}
}

// testMuch: more than all buffers on the way hold.
func testMuch(w *world) {
	something := strings.Repeat("0123456789abcdef", 1<<18)
	for _, to := range []string{bobPod, outside} {
		connection, err := w.dial("alice", to)
		if err != nil {
			w.Fatal(err)
		}
		go func() {
			_, _ = io.WriteString(connection, something)
			_ = connection.CloseWrite()
		}()
		answer, err := io.ReadAll(connection)
		if _, echo, _ := bytes.Cut(answer, []byte("\n")); err != nil || string(echo) != something+"end" {
			w.Errorf("%s: %d bytes of %d, %v", to, len(answer), len(something), err)
		}
	}
}

// testPolicies: for new connections and for open ones.
func testPolicies(w *world) {
	stranger := cast["stranger"].ip4
	w.policies(denyPlaintext())
	w.refused("stranger", bobPod)
	w.logged(`direction="inbound"`, "src.addr=10.9.0.13:", "error=", "denied by istio-system/strict")
	w.reached("alice", bobPod, cast["alice"].ip4)
	w.policies(denyAlice())
	w.refused("alice", bobPod)
	w.logged(`direction="inbound"`, aliceName, "denied by core/alice")
	w.logged(`direction="outbound"`, bobName, "401")
	w.reached("stranger", bobPod, stranger)

	w.policies()
	open, err := w.dial("alice", bobPod)
	if err != nil {
		w.Fatal(err)
	}
	if _, err := open.Read(make([]byte, 1)); err != nil {
		w.Fatal(err)
	}
	w.policies(denyAlice())
	w.state.Recheck()
	if _, err := io.ReadAll(open); isTimeout(err) {
		w.Error("an open connection outlives its policy")
	}
	w.logged(`direction="inbound"`, aliceName, "an update forbids")

	w.policies()
	w.describe(func(workloads map[string]*workloadapi.Workload) { delete(workloads, "bob") })
	w.refused("stranger", bobPod)
	w.logged("whose address this is")
}

func isTimeout(err error) bool {
	failure, ok := err.(net.Error)
	return ok && failure.Timeout()
}

// testIdentities: nobody talks to a peer that is not who istiod says it is.
func testIdentities(w *world) {
	w.describe(func(workloads map[string]*workloadapi.Workload) { workloads["bob"].ServiceAccount = "mallory" })
	w.refused("alice", bobPod)
	w.logged(`direction="outbound"`, "ns/core/sa/bob, not spiffe://cluster.local/ns/core/sa/mallory")
}

// tunnelClient is a client of bob's that keeps one connection for many tunnels, as Envoy does.
func (w *world) tunnelClient(own identity.ID) (*http2.ClientConn, error) {
	w.Helper()
	credentials := identity.Credentials{Own: own, Certificates: w.registry.services.Certificates, RootFile: w.authority.RootFile}
	door := netip.AddrPortFrom(cast["bob"].ip4, mesh.HBONEPort)
	raw, err := w.pods["stranger"].Dial(w.Context(), "tcp", door, netip.Addr{})
	if err != nil {
		w.Fatal(err)
	}
	_ = raw.SetDeadline(time.Now().Add(3 * time.Second))
	return http2Client.NewClientConn(tls.Client(raw, credentials.TLS(w.Context(), identity.Exactly(identity.Of("", "core", "bob")))))
}

// testRequests: what a tunnel must not be used for.
func testRequests(w *world) {
	request := func(own identity.ID, method, host string) (int, error) {
		connection, err := w.tunnelClient(own)
		if err != nil {
			return 0, err
		}
		defer connection.Close()
		asked, err := http.NewRequest(method, "https://"+host, http.NoBody)
		if err != nil {
			w.Fatal(err)
		}
		answer, err := connection.RoundTrip(asked)
		if err != nil {
			return 0, err
		}
		_ = answer.Body.Close()
		return answer.StatusCode, nil
	}
	alice := identity.Of("", "core", "alice")
	for name, test := range map[string]struct {
		own          identity.ID
		method, host string
		want         int // 0: no answer
	}{
		"good":                 {alice, http.MethodConnect, bobPod, 200},
		"no tunnel":            {alice, http.MethodGet, bobPod, 400},
		"another pod":          {alice, http.MethodConnect, "10.9.0.11:8080", 400},
		"the loopback":         {alice, http.MethodConnect, "127.0.0.1:8080", 400},
		"a name":               {alice, http.MethodConnect, "bob:8080", 400},
		"the proxy itself":     {alice, http.MethodConnect, "10.9.0.12:15006", 400},
		"another trust domain": {identity.Of("else.where", "core", "alice"), http.MethodConnect, bobPod, 0},
	} {
		if got, err := request(test.own, test.method, test.host); got != test.want || (err == nil) != (test.want != 0) {
			w.Errorf("%s: %d %v", name, got, err)
		}
	}
}

// testDNS: a question to any resolver ends at the node proxy's own.
func testDNS(w *world) {
	resolver, err := net.ListenPacket("udp", netip.AddrPortFrom(router4, 53).String())
	if err != nil {
		w.Fatal(err)
	}
	defer resolver.Close()
	go func() {
		buffer := make([]byte, 512)
		for {
			size, asker, err := resolver.ReadFrom(buffer)
			if err != nil {
				return
			}
			host, _, _ := net.SplitHostPort(asker.String())
			_, _ = resolver.WriteTo([]byte(string(buffer[:size])+" by "+host), asker)
		}
	}()
	w.application("", netip.AddrPortFrom(router4, 53))
	ask := func(to string) string {
		var socket net.Conn
		w.within("alice", func() (err error) { socket, err = net.Dial("udp", to); return err })
		defer socket.Close()
		_ = socket.SetDeadline(time.Now().Add(3 * time.Second))
		_, _ = socket.Write([]byte("who"))
		buffer := make([]byte, 512)
		size, _ := socket.Read(buffer)
		return string(buffer[:size])
	}
	for _, to := range []string{"198.51.100.53:53", "[2001:db8::53]:53", netip.AddrPortFrom(router4, 53).String()} {
		if got := ask(to); got != "who by 10.9.0.11" {
			w.Errorf("question to %s: %q", to, got)
		}
	}
	w.reached("alice", "198.51.100.53:53", cast["alice"].ip4) // the same by TCP
}

// testPods: a pod that leaves has no proxy any more, and its connections end; one
// that is repeated keeps them.
func testPods(w *world) {
	open, err := w.dial("alice", bobPod)
	if err != nil {
		w.Fatal(err)
	}
	hear := func(length int) bool {
		_, err := io.ReadFull(open, make([]byte, length))
		return err == nil
	}
	if !hear(len("10.9.0.11\n")) {
		w.Fatal("no greeting")
	}
	w.enrol("bob")
	w.registry.Retain(map[string]bool{"uid-alice": true, "uid-bob": true})
	if _, _ = io.WriteString(open, "still here"); !hear(len("still here")) {
		w.Error("a repeated pod lost its connections")
	}
	w.registry.Retain(map[string]bool{"uid-alice": true})
	if _, err := io.ReadAll(open); isTimeout(err) {
		w.Error("a removed pod keeps its connections")
	}
	w.refused("alice", bobPod)
	if served := w.registry.Served(); len(served) != 1 || served["uid-alice"] == nil {
		w.Errorf("served: %v", served)
	}
	w.registry.Delete("unknown")
	w.enrol("bob")
	w.reached("alice", bobPod, cast["alice"].ip4)
}

// testDrain: open connections go on, new ones go to another process on the same ports.
func testDrain(w *world) {
	open, err := w.dial("alice", bobPod)
	if err != nil {
		w.Fatal(err)
	}
	if _, err := open.Read(make([]byte, len("10.9.0.11\n"))); err != nil {
		w.Fatal(err)
	}
	keeper, err := w.tunnelClient(identity.Of("", "core", "alice"))
	if err != nil {
		w.Fatal(err)
	}
	defer keeper.Close()
	if err := keeper.Ping(w.Context()); err != nil || !keeper.CanTakeNewRequest() {
		w.Fatal("no client connection", err)
	}
	old, oldLog := w.registry, w.log
	w.log = &logBuffer{}
	w.registry = NewRegistry(&Services{
		Mesh: w.state, Certificates: old.services.Certificates, RootFile: w.authority.RootFile,
		TrustDomain: identity.DefaultTrustDomain, Reporter: report.NewReporter(report.NewLog(w.log)), Retry: 5 * time.Millisecond,
	})
	for _, name := range []string{"alice", "bob"} {
		w.enrol(name) // while the old one still listens
	}
	drained := make(chan struct{})
	go func() { old.Drain(5 * time.Second); close(drained) }()
	w.eventually("the old one takes no more", func() bool {
		before := len(oldLog.text())
		for range 10 {
			if _, err := w.ask("alice", bobPod, "hello"); err != nil {
				return false // one that waited in the old one's queue
			}
		}
		return len(oldLog.text()) == before
	})
	w.eventually("the new one serves both ends", func() bool {
		return strings.Count(w.log.text(), "connection complete") >= 20
	})
	select {
	case <-drained:
		w.Error("drained with a connection open")
	default:
	}
	w.eventually("clients are sent elsewhere", func() bool { return !keeper.CanTakeNewRequest() })
	if _, err := io.WriteString(open, "hello"); err != nil {
		w.Error(err)
	}
	_ = open.CloseWrite()
	if answer, err := io.ReadAll(open); err != nil || string(answer) != "helloend" {
		w.Errorf("an open connection during the drain: %q %v", answer, err)
	}
	select {
	case <-drained:
	case <-time.After(3 * time.Second):
		w.Error("the drain does not end with the last connection")
	}
}
