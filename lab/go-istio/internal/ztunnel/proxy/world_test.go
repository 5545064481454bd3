package proxy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"bulkhead.mesh/lab-istio/internal/ztunnel/identity"
	"bulkhead.mesh/lab-istio/internal/ztunnel/identity/identitytest"
	"bulkhead.mesh/lab-istio/internal/ztunnel/mesh"
	"bulkhead.mesh/lab-istio/internal/ztunnel/netns"
	"bulkhead.mesh/lab-istio/internal/ztunnel/report"
	"istio.io/istio/pkg/workloadapi"
	"istio.io/istio/pkg/workloadapi/security"
	"istio.io/istio/pkg/zdsapi"
)

// inside marks the process that has namespaces of its own; see TestKernel.
const inside = "ZTUNNEL_TEST_INSIDE"

// TestKernel runs the tests that need real packets in network, mount and PID namespaces
// of their own: what they make ends with them, however they end.
func TestKernel(t *testing.T) {
	for _, program := range []string{"unshare", "ip", "nft", "sysctl"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("%s is not installed", program)
		}
	}
	if os.Geteuid() != 0 {
		t.Skip("namespaces need root")
	}
	command := exec.Command("unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc",
		os.Args[0], "-test.run=^TestInside", "-test.v")
	command.Env = append(os.Environ(), inside+"=1")
	output, err := command.CombinedOutput()
	if err != nil || !strings.Contains(string(output), "--- PASS: TestInside") {
		t.Fatalf("%v\n%s", err, output)
	}
}

// The cast. Pods hang on a router, which is also the outside with its DNS server.
var (
	router4, router6 = netip.MustParseAddr("10.9.0.1"), netip.MustParseAddr("fd00:9::1")
	cast             = map[string]host{ // name: addresses, service account
		"alice":    {netip.MustParseAddr("10.9.0.11"), netip.MustParseAddr("fd00:9::11"), "alice"},
		"bob":      {netip.MustParseAddr("10.9.0.12"), netip.MustParseAddr("fd00:9::12"), "bob"},
		"stranger": {netip.MustParseAddr("10.9.0.13"), netip.MustParseAddr("fd00:9::13"), ""},
	}
)

type host struct {
	ip4, ip6 netip.Addr
	account  string // empty: not enrolled
}

// enrolled is what istio-cni's rules do in a pod, said in nft.
const enrolled = `
table inet mesh {
  chain output_nat { type nat hook output priority -100;
    meta l4proto udp udp dport 53 oifname != "lo" meta mark and 0xfff != 0x539 redirect to :15053
    meta l4proto != tcp return
    meta mark and 0xfff == 0x111 return
    ip daddr 127.0.0.1 return
    ip6 daddr ::1 return
    tcp dport 53 meta mark and 0xfff != 0x539 redirect to :15053
    oifname "lo" return
    meta l4proto tcp meta mark and 0xfff != 0x539 redirect to :15001
  }
  chain prerouting_nat { type nat hook prerouting priority -100;
    meta l4proto tcp ip daddr != 127.0.0.1 tcp dport != 15008 meta mark and 0xfff != 0x539 redirect to :15006
    meta l4proto tcp ip6 daddr != ::1 tcp dport != 15008 meta mark and 0xfff != 0x539 redirect to :15006
  }
  chain prerouting_mangle { type filter hook prerouting priority -150;
    meta mark and 0xfff == 0x539 ct mark set 0x111
  }
  chain output_mangle { type route hook output priority -150;
    ct mark and 0xfff == 0x111 meta mark set ct mark
  }
}`

func shell(t *testing.T, script string) {
	t.Helper()
	if output, err := exec.Command("sh", "-ec", script).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s\n%s", err, output, script)
	}
}

// world is the router with its pods, an authority, and one node proxy.
type world struct {
	*testing.T
	authority *identitytest.Authority
	state     *mesh.State
	registry  *Registry
	log       *logBuffer
	pods      map[string]*netns.Namespace
}

type logBuffer struct {
	mutex sync.Mutex
	bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	return b.Buffer.Write(p)
}

func (b *logBuffer) text() string {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	return b.String()
}

func newWorld(t *testing.T) *world {
	t.Helper()
	shell(t, fmt.Sprintf(`
mount -t tmpfs tmpfs /run
mkdir -p /run/netns
ip link set lo up
ip address add %s/32 dev lo
ip -6 address add %s/128 dev lo nodad
sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1`, router4, router6))
	w := &world{T: t, authority: identitytest.New(t), state: mesh.NewState(), log: &logBuffer{}, pods: map[string]*netns.Namespace{}}
	for name, host := range cast {
		shell(t, fmt.Sprintf(`
ip netns add %[1]s
ip link add v%[1]s type veth peer name eth0 netns %[1]s
ip link set v%[1]s up
ip route add %[2]s/32 dev v%[1]s src %[4]s
ip -6 route add %[3]s/128 dev v%[1]s src %[5]s
ip -6 address add fe80::1/64 dev v%[1]s nodad
ip -n %[1]s link set lo up
ip -n %[1]s link set eth0 up
ip -n %[1]s address add %[2]s/32 dev eth0
ip -n %[1]s -6 address add %[3]s/128 dev eth0 nodad
ip -n %[1]s route add %[4]s dev eth0
ip -n %[1]s route add default via %[4]s dev eth0
ip -n %[1]s -6 route add default via fe80::1 dev eth0
sysctl -qw net.ipv4.conf.v%[1]s.proxy_arp=1`, name, host.ip4, host.ip6, router4, router6))
		if host.account != "" {
			shell(t, fmt.Sprintf(`
ip -n %[1]s rule add fwmark 0x111/0xfff pref 32764 lookup 100
ip -n %[1]s route add local default dev lo table 100
ip -n %[1]s -6 rule add fwmark 0x111/0xfff pref 32764 lookup 100
ip -n %[1]s -6 route add local default dev lo table 100
ip netns exec %[1]s nft -f - <<'RULES'
%[2]s
RULES`, name, enrolled))
		}
		w.pods[name] = w.open(name)
	}
	cache := identity.NewCache(identity.Authority{Client: w.authority}, func(string, ...any) {})
	w.registry = NewRegistry(&Services{
		Mesh: w.state, Certificates: cache, RootFile: w.authority.RootFile, Nameserver: netip.AddrPortFrom(router4, 53),
		TrustDomain: identity.DefaultTrustDomain, Reporter: report.NewReporter(report.NewLog(w.log)), Retry: 5 * time.Millisecond,
	})
	w.describe(nil)
	for name, host := range cast {
		if host.account != "" {
			w.enrol(name)
		}
	}
	return w
}

func (w *world) open(name string) *netns.Namespace {
	w.Helper()
	file, err := os.Open("/run/netns/" + name)
	if err != nil {
		w.Fatal(err)
	}
	return netns.FromFile(file)
}

func (w *world) enrol(name string) {
	w.Helper()
	info := &zdsapi.WorkloadInfo{Name: name, Namespace: "core", ServiceAccount: cast[name].account}
	if err := w.registry.Add("uid-"+name, info, w.open(name)); err != nil {
		w.Fatal(err)
	}
}

// describe tells the proxy of the cast as istiod would; change may bend it. bob
// serves web.core, 10.96.0.1 port 80, at port 8080.
func (w *world) describe(change func(map[string]*workloadapi.Workload)) {
	w.Helper()
	const service = "core/web.core"
	workloads := map[string]*workloadapi.Workload{}
	for name, host := range cast {
		workload := &workloadapi.Workload{Uid: name, Name: name, Namespace: "core", ServiceAccount: host.account, Addresses: [][]byte{host.ip4.AsSlice(), host.ip6.AsSlice()}}
		if host.account != "" {
			workload.TunnelProtocol = workloadapi.TunnelProtocol_HBONE
		}
		if name == "bob" {
			workload.Services = map[string]*workloadapi.PortList{service: {Ports: []*workloadapi.Port{{ServicePort: 80, TargetPort: 8080}}}}
		}
		workloads[name] = workload
	}
	if change != nil {
		change(workloads)
	}
	named := map[string]proto.Message{service: &workloadapi.Address{Type: &workloadapi.Address_Service{Service: &workloadapi.Service{
		Name: "web", Namespace: "core", Hostname: "web.core", Addresses: []*workloadapi.NetworkAddress{{Address: []byte{10, 96, 0, 1}}},
	}}}}
	for name, workload := range workloads {
		named[name] = &workloadapi.Address{Type: &workloadapi.Address_Workload{Workload: workload}}
	}
	w.apply(mesh.AddressType, named)
}

func (w *world) policies(policies ...*security.Authorization) {
	w.Helper()
	named := map[string]proto.Message{}
	for _, policy := range policies {
		named[policy.Namespace+"/"+policy.Name] = policy
	}
	w.apply(mesh.PolicyType, named)
}

func (w *world) apply(kind string, named map[string]proto.Message) {
	w.Helper()
	response := &discovery.DeltaDiscoveryResponse{TypeUrl: kind}
	for name, message := range named {
		packed, err := anypb.New(message)
		if err != nil {
			w.Fatal(err)
		}
		response.Resources = append(response.Resources, &discovery.Resource{Name: name, Resource: packed})
	}
	if err := w.state.Apply(response, true); err != nil {
		w.Fatal(err)
	}
}

// application serves at an address of a pod, or of the router for "", until the
// test ends: it says who calls, then echoes until the caller's end, then says "end".
func (w *world) application(pod string, at netip.AddrPort) {
	w.Helper()
	var listener net.Listener
	w.within(pod, func() (err error) {
		listener, err = net.Listen("tcp", at.String())
		return err
	})
	w.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer connection.Close()
				fmt.Fprintf(connection, "%s\n", netns.Remote(connection).Addr())
				_, _ = io.Copy(connection, connection)
				_, _ = io.WriteString(connection, "end")
			}()
		}
	}()
}

func (w *world) within(pod string, do func() error) {
	w.Helper()
	var err error
	if pod == "" {
		err = do()
	} else {
		err = w.pods[pod].Do(do)
	}
	if err != nil {
		w.Fatal(err)
	}
}

// dial is a call by an application in a pod, which knows nothing of the mesh.
func (w *world) dial(pod, to string) (*net.TCPConn, error) {
	w.Helper()
	var connection net.Conn
	dialer := net.Dialer{Timeout: 3 * time.Second}
	call := func() (err error) {
		connection, err = dialer.DialContext(context.Background(), "tcp", to)
		return err
	}
	err := w.pods[pod].Do(call)
	if err != nil {
		return nil, err
	}
	w.Cleanup(func() { _ = connection.Close() })
	_ = connection.SetDeadline(time.Now().Add(5 * time.Second))
	return connection.(*net.TCPConn), nil
}

// ask calls the application and returns whom it saw. It says something, ends its
// half, and wants to hear it again and then the end.
func (w *world) ask(pod, to, something string) (string, error) {
	w.Helper()
	connection, err := w.dial(pod, to)
	if err != nil {
		return "", err
	}
	if _, err := io.WriteString(connection, something); err != nil {
		return "", err
	}
	if err := connection.CloseWrite(); err != nil {
		return "", err
	}
	answer, err := io.ReadAll(connection)
	caller, echo, _ := strings.Cut(string(answer), "\n")
	if err == nil && echo != something+"end" {
		err = fmt.Errorf("%d bytes came back: %.40q", len(echo), echo)
	}
	return caller, err
}

// refused is a call that must not reach the application.
func (w *world) refused(pod, to string) {
	w.Helper()
	if caller, err := w.ask(pod, to, "hello"); err == nil || caller != "" {
		w.Errorf("%s got through to %s as %q (%v)", pod, to, caller, err)
	}
}

// reached is a call that must, and be seen as coming from an address.
func (w *world) reached(pod, to string, from netip.Addr) {
	w.Helper()
	if caller, err := w.ask(pod, to, "hello"); err != nil || caller != from.String() {
		w.Errorf("%s called %s and was seen as %q, not %s (%v)\n%s", pod, to, caller, from, err, w.log.text())
	}
}

// logged waits for a line with all parts; the log is written when a connection has ended.
func (w *world) logged(parts ...string) {
	w.Helper()
	deadline := time.Now().Add(3 * time.Second)
	for time.Now().Before(deadline) {
		for line := range strings.Lines(w.log.text()) {
			missing := false
			for _, part := range parts {
				missing = missing || !strings.Contains(line, part)
			}
			if !missing {
				return
			}
		}
		time.Sleep(5 * time.Millisecond)
	}
	w.Errorf("no line with %q in\n%s", parts, w.log.text())
}

var errTimeout = errors.New("not in time")

// eventually looks until a condition holds.
func (w *world) eventually(what string, holds func() bool) {
	w.Helper()
	for deadline := time.Now().Add(3 * time.Second); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			w.Fatalf("%s: %v\n%s", what, errTimeout, w.log.text())
		}
	}
}
