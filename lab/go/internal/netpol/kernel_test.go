package netpol

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"

	"bulkhead.mesh/lab/internal/netpol/wire"
)

// TestKernel tries the cases with real packets: the test's own network namespace
// is the node, each pod of the cast is a namespace behind a point-to-point link.
// It needs root, nft, iproute2 and python3, and runs when NETPOL_KERNEL=1.
func TestKernel(t *testing.T) {
	switch os.Getenv("NETPOL_KERNEL") {
	case "inside":
		kernelTests(t)
	case "1":
		command := exec.Command("unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc",
			os.Args[0], "-test.run=^TestKernel$", "-test.v")
		command.Env = append(os.Environ(), "NETPOL_KERNEL=inside")
		command.Stdout, command.Stderr = os.Stdout, os.Stderr
		if err := command.Run(); err != nil {
			t.Fatal(err)
		}
	default:
		t.Skip("set NETPOL_KERNEL=1 and be root to try the rules on the kernel")
	}
}

func shell(t *testing.T, script string) {
	t.Helper()
	if output, err := exec.Command("sh", "-ec", script).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s\n%s", err, output, script)
	}
}

// link makes a namespace with eth0 and the host's end veth, laid out as the ptp plugin does.
func link(t *testing.T, name, veth string, addresses []netip.Addr) {
	t.Helper()
	shell(t, fmt.Sprintf(`
ip netns add %[1]s
ip link add %[2]s type veth peer name eth0 netns %[1]s
ip link set %[2]s up
ip address add 10.244.0.1/32 dev %[2]s
ip -6 address add fd00:10:244::1/128 dev %[2]s nodad
ip route add %[3]s/32 dev %[2]s
ip -6 route add %[4]s/128 dev %[2]s
ip -n %[1]s link set lo up
ip -n %[1]s link set eth0 up
ip -n %[1]s address add %[3]s/32 dev eth0
ip -n %[1]s -6 address add %[4]s/128 dev eth0 nodad
ip -n %[1]s route add 10.244.0.1 dev eth0
ip -n %[1]s route add default via 10.244.0.1 dev eth0
ip -n %[1]s -6 route add fd00:10:244::1 dev eth0
ip -n %[1]s -6 route add default via fd00:10:244::1 dev eth0`, name, veth, addresses[0], addresses[1]))
}

func outside(t *testing.T) {
	t.Helper()
	shell(t, `
mount -t tmpfs tmpfs /run
mkdir -p /run/netns
ip link set lo up
ip netns add internet
ip link add eth0 type veth peer name node0 netns internet
ip link set eth0 up
ip address add 172.30.0.10/24 dev eth0
ip -6 address add 2001:db8:30::10/64 dev eth0 nodad
ip -n internet link set lo up
ip -n internet link set node0 up
ip -n internet address add 172.30.0.1/24 dev node0
ip -n internet -6 address add 2001:db8:30::1/64 dev node0 nodad
ip -n internet address add 203.0.113.10/32 dev lo
ip -n internet -6 address add 2001:db8:113::10/128 dev lo nodad
ip -n internet route add 10.244.0.0/24 via 172.30.0.10 src 203.0.113.10
ip -n internet -6 route add fd00:10:244::/64 via 2001:db8:30::10 src 2001:db8:113::10
ip route add default via 172.30.0.1
ip -6 route add default via 2001:db8:30::1
echo 1 > /proc/sys/net/ipv4/ip_forward
echo 1 > /proc/sys/net/ipv6/conf/all/forwarding`)
}

// world is the node under test and its agents.
type world struct {
	cast
	t      *testing.T
	agents map[string]string // control address by pod
	daemon *running
}

func (w *world) agent(name, netns, control string, ports []int) {
	arguments := []string{"python3", "../../../../tests/lab/netpol/agent.py"}
	if netns != "" {
		arguments = append([]string{"ip", "netns", "exec", netns}, arguments...)
	}
	command := exec.Command(arguments[0], arguments[1:]...)
	list := strings.Trim(strings.ReplaceAll(fmt.Sprint(ports), " ", ","), "[]")
	_, port, _ := net.SplitHostPort(control)
	command.Env = append(os.Environ(), "AGENT_PORTS="+list, "AGENT_CONTROL="+port)
	command.Stderr = os.Stderr
	if err := command.Start(); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = command.Process.Kill(); _ = command.Wait() })
	w.agents[name] = control
}

func (w *world) order(name, path string, body, answer any) {
	w.t.Helper()
	var err error
	for range 100 {
		var response *http.Response
		if body == nil {
			response, err = http.Get("http://" + w.agents[name] + path)
		} else {
			text, _ := json.Marshal(body)
			response, err = http.Post("http://"+w.agents[name]+path, "application/json", bytes.NewReader(text))
		}
		if err == nil {
			err = json.NewDecoder(response.Body).Decode(answer)
			response.Body.Close()
			if err == nil {
				return
			}
		}
		time.Sleep(50 * time.Millisecond)
	}
	w.t.Fatalf("agent of %s: %v", name, err)
}

func kernelTests(t *testing.T) {
	outside(t)
	w := &world{cast: loadCases(t), t: t, agents: map[string]string{}}
	objects := w.podObjects()
	client := fake.NewClientset()
	ctx := context.Background()
	for _, object := range w.namespaceObjects() {
		_, _ = client.CoreV1().Namespaces().Create(ctx, object, metav1.CreateOptions{})
	}
	sandboxes := map[string]*wire.Sandbox{}
	for i, pod := range objects {
		if pod.Spec.HostNetwork {
			w.agent(pod.Name, "", "127.0.0.1:19900", []int{18080})
		} else {
			veth := fmt.Sprint("veth", i)
			link(t, pod.Name, veth, w.addresses[pod.Name])
			w.agent(pod.Name, pod.Name, w.addresses[pod.Name][0].String()+":9900", w.Cast.Listen)
			// Every other pod comes by CNI without a status, the others by their status.
			if i%2 == 0 {
				sandboxes[pod.Name] = &wire.Sandbox{
					ContainerID: pod.Name, Namespace: pod.Namespace, Name: pod.Name, UID: string(pod.UID), HostInterface: veth,
					Addresses: []string{w.addresses[pod.Name][0].String(), w.addresses[pod.Name][1].String()},
				}
				pod.Status = corev1.PodStatus{Phase: corev1.PodPending}
			}
		}
		_, _ = client.CoreV1().Pods(pod.Namespace).Create(ctx, pod, metav1.CreateOptions{})
	}
	w.agent("outside", "internet", "172.30.0.1:9900", []int{7777})
	w.daemon = start(t, "/run", NFT{}, client)
	for _, box := range sandboxes {
		w.daemon.must(wire.Request{Op: wire.OpAdd, Sandbox: box})
	}
	for _, one := range w.Cases {
		t.Run(one.Name, func(t *testing.T) { w.t = t; w.try(t, one) })
	}
	w.t = t
	t.Run("spoofed-sources", w.spoof)
	t.Run("switched-off", w.switchedOff)
}

func (w *world) apply(t *testing.T, one policyCase) {
	t.Helper()
	policies := w.daemon.client.NetworkingV1()
	for _, policy := range w.policies(one) {
		if _, err := policies.NetworkPolicies(policy.Namespace).Create(t.Context(), policy, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	w.daemon.settle()
	t.Cleanup(func() {
		for _, policy := range w.policies(one) {
			_ = policies.NetworkPolicies(policy.Namespace).Delete(context.Background(), policy.Name, metav1.DeleteOptions{})
		}
		w.daemon.settle()
	})
}

func (w *world) try(t *testing.T, one policyCase) {
	flows := w.probes(t, one.Flows)
	for _, name := range sortedKeys(w.agents) {
		w.order(name, "/reset", struct{}{}, &struct{}{})
	}
	for i, flow := range flows {
		w.order(flow.from, "/flow", order(flow, fmt.Sprint("flow", i), 0), &struct{}{})
	}
	if len(flows) > 0 {
		time.Sleep(400 * time.Millisecond)
	}
	w.apply(t, one)
	if len(flows) > 0 {
		time.Sleep(150 * time.Millisecond) // what arrived before the policy is counted with a delay
	}
	for i, flow := range flows {
		before := w.came(flow.from, fmt.Sprint("flow", i))
		time.Sleep(300 * time.Millisecond)
		gained := w.came(flow.from, fmt.Sprint("flow", i)) - before
		if before == 0 || flow.allowed != (gained > 0) {
			t.Errorf("running flow %s: %d bytes before, %d more after the policy", flow.label, before, gained)
		}
	}
	w.expect(t, w.probes(t, one.Expect))
}

func (w *world) came(name, flow string) int {
	counts := map[string]int{}
	w.order(name, "/flows", nil, &counts)
	return counts[flow]
}

func order(p probe, id string, timeout float64) map[string]any {
	return map[string]any{"id": id, "address": p.dest.String(), "port": p.port, "protocol": p.protocol, "timeout": timeout}
}

// expect runs all probes at once and compares; a denied one must not have been seen by its receiver.
func (w *world) expect(t *testing.T, probes []probe) {
	t.Helper()
	orders, results := map[string][]map[string]any{}, map[string]bool{}
	id := func(i int) string {
		return fmt.Sprintf("nonce-%s-%d-%d", strings.ReplaceAll(t.Name(), "/", "-"), i, time.Now().Unix()/1000)
	}
	for i, p := range probes {
		timeout := 0.6
		if p.allowed {
			timeout = 3
		}
		orders[p.from] = append(orders[p.from], order(p, id(i), timeout))
	}
	var group sync.WaitGroup
	var mu sync.Mutex
	for name, list := range orders {
		group.Go(func() {
			answer := struct{ Results map[string]bool }{}
			w.order(name, "/probe", map[string]any{"probes": list}, &answer)
			mu.Lock()
			defer mu.Unlock()
			for key, value := range answer.Results {
				results[key] = value
			}
		})
	}
	group.Wait()
	received := map[string]string{}
	for _, name := range sortedKeys(w.agents) {
		var lines []string
		w.order(name, "/seen", nil, &lines)
		received[name] = strings.Join(lines, "\n") + "\n"
	}
	for i, p := range probes {
		receiver := p.to
		if _, target := targets[p.to]; target {
			receiver = "outside"
		}
		arrived := strings.Contains(received[receiver], id(i)+"\n")
		if results[id(i)] != p.allowed || !p.allowed && arrived || p.allowed && p.protocol != "ICMP" && !arrived {
			t.Errorf("%s: answered %v, received %v, want allowed %v", p.label, results[id(i)], arrived, p.allowed)
		}
	}
}

// spoof: a pod known by its interface cannot shed its egress policy by another
// source address, and the outside cannot pass for a pod.
func (w *world) spoof(t *testing.T) {
	var subject string
	for _, pod := range w.podObjects() {
		if pod.Namespace == "np-red" && !pod.Spec.HostNetwork && pod.Status.Phase == corev1.PodRunning &&
			w.daemon.must(wire.Request{Op: wire.OpStatus}).Pods > 0 {
			if _, err := w.daemon.call(wire.Request{Op: wire.OpCheck, Sandbox: &wire.Sandbox{ContainerID: pod.Name}}); err == nil {
				subject = pod.Name
			}
		}
	}
	shell(t, "ip -n "+subject+" address add 192.0.2.7/32 dev eth0; ip -n internet address add "+w.addresses["blue-cli"][0].String()+"/32 dev lo")
	send := func(netns, source, dest, nonce string) {
		shell(t, fmt.Sprintf(`ip netns exec %s python3 -c '
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("%s", 0))
for _ in range(3): s.sendto(b"%s\n", ("%s", %s))'`, netns, source, nonce, dest, map[bool]string{true: "7777", false: "8080"}[dest == "203.0.113.10"]))
	}
	arrived := func(name, nonce string) bool {
		time.Sleep(200 * time.Millisecond)
		var lines []string
		w.order(name, "/seen", nil, &lines)
		return strings.Contains(strings.Join(lines, "\n"), nonce)
	}
	send(subject, "192.0.2.7", "203.0.113.10", "spoof-open")
	if !arrived("outside", "spoof-open") {
		t.Error("without a policy the packet should pass: the test proves nothing")
	}
	web := w.addresses["red-web"][0].String()
	send("internet", "203.0.113.10", web, "real-source")
	send("internet", w.addresses["blue-cli"][0].String(), web, "spoof-pod")
	if !arrived("red-web", "real-source") || arrived("red-web", "spoof-pod") {
		t.Error("the uplink's packets: a real source must pass, a pod's address must not")
	}
	deny := denyAll("deny")
	deny.Namespace = "np-red"
	if _, err := w.daemon.client.NetworkingV1().NetworkPolicies("np-red").Create(t.Context(), deny, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	w.daemon.settle()
	send(subject, "192.0.2.7", "203.0.113.10", "spoof-denied")
	if arrived("outside", "spoof-denied") {
		t.Error("a foreign source address sheds the egress policy")
	}
}

// switchedOff runs with spoof's deny policy still there.
func (w *world) switchedOff(t *testing.T) {
	probes := w.probes(t, []expectation{{From: "red-cli", To: "red-web:8080", Allowed: true}, {From: "red-web", To: "target4:7777", Family: 4, Allowed: true}})
	w.daemon.must(wire.Request{Op: wire.OpMode, Mode: "off"})
	w.expect(t, probes)
	if exec.Command("nft", "list", "table", "inet", "bulkhead_netpol").Run() == nil {
		t.Error("mode off leaves the table")
	}
	for i := range probes {
		probes[i].allowed = false
	}
	for _, mode := range []string{"on", "on+reject=admin-prohibited", "on+reject=tcp-reset", "on+reject"} {
		w.daemon.must(wire.Request{Op: wire.OpMode, Mode: mode})
		again := slices.Clone(probes)
		for i := range again {
			again[i].label += " (" + mode + " again)"
		}
		t.Run(mode+"-again", func(t *testing.T) { w.expect(t, again) })
	}
	for mode, error := range map[string]string{"on+reject": "ECONNREFUSED", "on+reject=admin-prohibited": "EHOSTUNREACH", "on+reject=tcp-reset": "ECONNREFUSED", "on": "timed out"} {
		w.daemon.must(wire.Request{Op: wire.OpMode, Mode: mode})
		out, _ := exec.Command("ip", "netns", "exec", "red-web", "python3", "-c", `
import errno, socket
s = socket.socket(); s.settimeout(1)
try: s.connect(("203.0.113.10", 7777)); print("open")
except socket.timeout as e: print("timed out")
except OSError as e: print(errno.errorcode[e.errno])`).CombinedOutput()
		if got := strings.TrimSpace(string(out)); got != error {
			t.Errorf("mode %s: the sender sees %q, want %q", mode, got, error)
		}
	}
}
