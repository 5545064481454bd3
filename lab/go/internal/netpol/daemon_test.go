package netpol

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"bulkhead.mesh/lab/internal/netpol/wire"
)

// memory is a Loader that remembers what the kernel would have.
type memory struct {
	mu     sync.Mutex
	script string
	loads  int
	fail   error
}

func (m *memory) Load(_ context.Context, script string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail != nil {
		return m.fail
	}
	m.script = script
	m.loads++
	return nil
}

func (m *memory) get() (string, int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.script, m.loads
}

func (m *memory) setFail(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fail = err
}

// running is a daemon of a test.
type running struct {
	t      *testing.T
	socket string
	client *fake.Clientset
	stop   func()
}

// start runs a daemon until the test ends or stop is called. directory keeps its state.
func start(t *testing.T, directory string, loader Loader, client *fake.Clientset) *running {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	r := &running{t: t, socket: filepath.Join(directory, "s"), client: client}
	go func() {
		done <- Run(ctx, Options{
			Client: client, Loader: loader, Node: "node", Uplink: "eth0",
			StateFile: filepath.Join(directory, "state.json"), Socket: r.socket,
		})
	}()
	var once sync.Once
	r.stop = func() {
		once.Do(func() {
			cancel()
			if err := <-done; err != nil {
				t.Errorf("daemon: %v", err)
			}
		})
	}
	t.Cleanup(r.stop)
	for range 200 {
		if status, err := r.call(wire.Request{Op: wire.OpStatus}); err == nil && status.Synced && !status.Pending {
			return r
		}
		sleep(ctx, 10*time.Millisecond)
	}
	t.Fatal("the daemon does not come up")
	return nil
}

func (r *running) call(request wire.Request) (wire.Status, error) {
	if request.TimeoutSeconds == 0 {
		request.TimeoutSeconds = 3
	}
	ctx, cancel := context.WithTimeout(context.Background(), request.Timeout()+time.Second)
	defer cancel()
	return wire.Call(ctx, r.socket, request)
}

func (r *running) must(request wire.Request) wire.Status {
	r.t.Helper()
	status, err := r.call(request)
	if err != nil {
		r.t.Fatalf("%s: %v", request.Op, err)
	}
	return status
}

func (r *running) settle() wire.Status {
	r.t.Helper()
	return r.must(wire.Request{Op: wire.OpWait, Wait: &wire.Wait{Settled: true}})
}

func addRequest(id, name, uid string, addresses ...string) wire.Request {
	return wire.Request{Op: wire.OpAdd, TimeoutSeconds: 0.5, Sandbox: &wire.Sandbox{
		ContainerID: id, Namespace: "ns", Name: name, UID: uid, Addresses: addresses, HostInterface: "veth" + id,
	}}
}

// directory is a short one: the path of a unix socket is limited to 107 bytes.
func directory(t *testing.T) string {
	path, err := os.MkdirTemp("", "netpol")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(path) })
	return path
}

func denyAll(name string) *networkingv1.NetworkPolicy {
	return &networkingv1.NetworkPolicy{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name},
		Spec:       networkingv1.NetworkPolicySpec{PolicyTypes: []networkingv1.PolicyType{"Ingress", "Egress"}},
	}
}

func namespace(name string) *corev1.Namespace {
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
}

func TestAddReturnsWhenRulesAreLoaded(t *testing.T) {
	loader := &memory{}
	// The informer never hears of the pod: its list and watch show nothing.
	client := fake.NewClientset(namespace("ns"), denyAll("deny"), madePod("new", "1", 0))
	client.PrependReactor("list", "pods", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, &corev1.PodList{}, nil
	})
	r := start(t, directory(t), loader, client)
	if script, _ := loader.get(); strings.Contains(script, "10.244.0.9") {
		t.Fatal("the address is known before the ADD")
	}
	r.must(addRequest("c1", "new", "1", address, "fd00::9"))
	script, _ := loader.get()
	for _, wanted := range []string{`"vethc1" : jump egress_`, "10.244.0.9 : jump ingress_", "fd00::9 : jump ingress_"} {
		if !strings.Contains(script, wanted) {
			t.Errorf("ADD returned before %q was loaded:\n%s", wanted, script)
		}
	}
	r.must(wire.Request{Op: wire.OpCheck, Sandbox: &wire.Sandbox{ContainerID: "c1"}})
	status := r.must(wire.Request{Op: wire.OpDel, Sandbox: &wire.Sandbox{ContainerID: "c1"}})
	r.must(wire.Request{Op: wire.OpWait, Wait: &wire.Wait{Generation: status.Generation + 1}})
	if script, _ = loader.get(); strings.Contains(script, "10.244.0.9") {
		t.Error("the address is still there after DEL")
	}
	if _, err := r.call(wire.Request{Op: wire.OpCheck, Sandbox: &wire.Sandbox{ContainerID: "c1"}}); err == nil {
		t.Error("CHECK passes after DEL")
	}
}

func TestAddFailsClosed(t *testing.T) {
	loader := &memory{}
	client := fake.NewClientset(namespace("ns"), madePod("new", "1", 0))
	r := start(t, directory(t), loader, client)
	for name, c := range map[string]struct {
		request wire.Request
		message string
	}{
		"no such pod":   {addRequest("c", "absent", "9", address), "cannot read it from the API server"},
		"another uid":   {addRequest("c", "new", "2", address), "was replaced by one with uid 1"},
		"no address":    {addRequest("c", "new", "1"), "has no address"},
		"bad address":   {addRequest("c", "new", "1", "10.0.0"), `"10.0.0" is no address`},
		"no sandbox":    {wire.Request{Op: wire.OpAdd}, "needs a container id"},
		"bad operation": {wire.Request{Op: "open"}, `operation "open" is unknown`},
	} {
		if _, err := r.call(c.request); err == nil || !strings.Contains(err.Error(), c.message) {
			t.Errorf("%s: %v, want %q", name, err, c.message)
		}
	}
	before, _ := loader.get()
	loader.setFail(errors.New("kernel says no"))
	if _, err := r.call(addRequest("c", "new", "1", address)); err == nil || !strings.Contains(err.Error(), "kernel says no") {
		t.Errorf("ADD with a failing load: %v", err)
	}
	status := r.must(wire.Request{Op: wire.OpStatus})
	if after, _ := loader.get(); after != before || !strings.Contains(status.LastError, "kernel says no") || !status.Pending {
		t.Errorf("status %+v", status)
	}
	loader.setFail(nil)
	status = r.settle()
	if status.LastError != "" || status.Pending {
		t.Errorf("no recovery: %+v", status)
	}
}

// TestAddWaitsForPolicies: the API server has a policy that the informer has not seen.
func TestAddWaitsForPolicies(t *testing.T) {
	client := fake.NewClientset(namespace("ns"), madePod("new", "1", 0))
	r := start(t, directory(t), &memory{}, client)
	unseen := denyAll("unseen")
	unseen.ResourceVersion = "5"
	client.PrependReactor("list", "networkpolicies", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, &networkingv1.NetworkPolicyList{Items: []networkingv1.NetworkPolicy{*unseen}}, nil
	})
	if _, err := r.call(addRequest("c", "new", "1", address)); err == nil || !strings.Contains(err.Error(), "have not arrived") {
		t.Errorf("ADD did not wait for the policy: %v", err)
	}
	old := denyAll("unseen")
	old.ResourceVersion = "4"
	if _, err := client.NetworkingV1().NetworkPolicies("ns").Create(t.Context(), old, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := r.call(addRequest("c", "new", "1", address)); err == nil || !strings.Contains(err.Error(), "have not arrived") {
		t.Errorf("ADD took an older version of the policy for enough: %v", err)
	}
	if _, err := client.NetworkingV1().NetworkPolicies("ns").Update(t.Context(), unseen, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	r.must(addRequest("c", "new", "1", address))
}

func TestModesAndRestart(t *testing.T) {
	loader, dir := &memory{}, directory(t)
	client := fake.NewClientset(namespace("ns"), denyAll("deny"), madePod("new", "1", 0), madePod("other", "2", 0))
	r := start(t, dir, loader, client)
	r.must(addRequest("c1", "new", "1", address))
	enforced := func(id string) bool {
		script, _ := loader.get()
		return strings.Contains(script, `"veth`+id+`" : jump egress_`)
	}
	if !enforced("c1") {
		t.Fatal("mode on does not enforce")
	}
	r.must(wire.Request{Op: wire.OpMode, Mode: "off"})
	if script, _ := loader.get(); script != RemoveScript {
		t.Errorf("mode off leaves rules:\n%s", script)
	}
	r.stop()
	r = start(t, dir, loader, client)
	if status := r.must(wire.Request{Op: wire.OpStatus}); status.Mode != "off" {
		t.Errorf("mode %q after a restart", status.Mode)
	}
	r.must(wire.Request{Op: wire.OpMode, Mode: "late=1h"})
	if !enforced("c1") {
		t.Error("the sandbox did not survive the restart, or late opened an existing pod")
	}
	status := r.must(addRequest("c2", "other", "2", "10.244.0.10"))
	if enforced("c2") || len(status.Open) != 1 || status.Open[0] != "ns/other" {
		t.Errorf("mode late does not leave the window open: %+v", status)
	}
	r.stop()
	r = start(t, dir, loader, client)
	if enforced("c2") {
		t.Error("a restart closed the window")
	}
	r.must(wire.Request{Op: wire.OpMode, Mode: "on"})
	if !enforced("c2") {
		t.Error("mode on leaves the window open")
	}
	if _, err := r.call(wire.Request{Op: wire.OpMode, Mode: "maybe"}); err == nil {
		t.Error("mode maybe is taken")
	}
}

func TestLateWindowClosesByItself(t *testing.T) {
	loader := &memory{}
	r := start(t, directory(t), loader, fake.NewClientset(namespace("ns"), denyAll("deny"), madePod("new", "1", 0)))
	r.must(wire.Request{Op: wire.OpMode, Mode: "late=200ms"})
	status := r.must(addRequest("c1", "new", "1", address))
	if len(status.Open) != 1 {
		t.Fatalf("no window: %+v", status)
	}
	status = r.must(wire.Request{Op: wire.OpWait, Wait: &wire.Wait{Generation: status.Generation + 1}})
	if script, _ := loader.get(); len(status.Open) != 0 || !strings.Contains(script, `"vethc1" : jump`) {
		t.Errorf("the window stays open: %+v", status)
	}
}

func TestEqualRulesAreLoadedOnce(t *testing.T) {
	loader := &memory{}
	client := fake.NewClientset(namespace("ns"))
	r := start(t, directory(t), loader, client)
	_, before := loader.get()
	if _, err := client.CoreV1().Namespaces().Create(t.Context(), namespace("more"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	r.settle()
	if _, after := loader.get(); after != before {
		t.Errorf("an unimportant namespace reloads the rules (%d -> %d)", before, after)
	}
}

func TestWaitConditions(t *testing.T) {
	policy := denyAll("deny")
	policy.ResourceVersion = "7"
	pod := madePod("a", "1", 0, address)
	r := start(t, directory(t), &memory{}, fake.NewClientset(namespace("ns"), policy, pod))
	for name, c := range map[string]struct {
		wait    wire.Wait
		message string
	}{
		"policy":         {wire.Wait{Policy: "ns/deny"}, ""},
		"policy version": {wire.Wait{Policy: "ns/deny", ResourceVersion: "7"}, ""},
		"newer version":  {wire.Wait{Policy: "ns/deny", ResourceVersion: "8"}, "known at resource version 7"},
		"other policy":   {wire.Wait{Policy: "ns/none"}, "ns/none is not known"},
		"absent":         {wire.Wait{AbsentPolicy: "ns/none"}, ""},
		"not absent":     {wire.Wait{AbsentPolicy: "ns/deny"}, "still there"},
		"pod":            {wire.Wait{Pod: "ns/a"}, ""},
		"no pod":         {wire.Wait{Pod: "ns/b"}, "has no known address"},
		"generation":     {wire.Wait{Generation: 99}, "not loaded in time"},
		"bad name":       {wire.Wait{Pod: "b"}, `"b" is no namespace/name`},
		"settled":        {wire.Wait{Settled: true}, ""},
	} {
		_, err := r.call(wire.Request{Op: wire.OpWait, Wait: &c.wait, TimeoutSeconds: 0.2})
		if c.message == "" && err != nil || c.message != "" && (err == nil || !strings.Contains(err.Error(), c.message)) {
			t.Errorf("%s: %v, want %q", name, err, c.message)
		}
	}
}
