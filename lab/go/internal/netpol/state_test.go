package netpol

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// madePod is a running pod; born counts seconds.
func madePod(name, uid string, born int, addresses ...string) *corev1.Pod {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "ns", Name: name, UID: types.UID(uid), ResourceVersion: "1" + uid,
			Labels:            map[string]string{"name": name},
			CreationTimestamp: metav1.NewTime(epoch.Add(time.Duration(born) * time.Second)),
		},
		Spec:   corev1.PodSpec{NodeName: "node"},
		Status: corev1.PodStatus{Phase: corev1.PodRunning},
	}
	for _, address := range addresses {
		pod.Status.PodIPs = append(pod.Status.PodIPs, corev1.PodIP{IP: address})
	}
	return pod
}

func sandbox(id, name, uid string, addresses ...string) Binding {
	binding := Binding{ContainerID: id, Namespace: "ns", Name: name, UID: types.UID(uid), HostInterface: "veth" + id}
	for _, address := range addresses {
		binding.Addresses = append(binding.Addresses, netip.MustParseAddr(address))
	}
	return binding
}

// seen is what a view says about an address: its pod and flags; "" = nobody.
func seen(view View, address string) string {
	found := ""
	for _, pod := range view.Input.Pods {
		if !slices.Contains(pod.Addresses, netip.MustParseAddr(address)) {
			continue
		}
		if found != "" {
			return "two owners"
		}
		found = pod.Name
		if pod.Subject {
			found += " subject"
		}
		if pod.Peer {
			found += " peer"
		}
	}
	return found
}

const address = "10.244.0.9"

func TestAddressOwners(t *testing.T) {
	hostNetwork := madePod("host", "7", 0, address)
	hostNetwork.Spec.HostNetwork = true
	done := madePod("done", "8", 0, address)
	done.Status.Phase = corev1.PodSucceeded
	failed := madePod("failed", "8", 0, address)
	failed.Status.Phase = corev1.PodFailed
	away := madePod("away", "9", 0, address)
	away.Spec.NodeName = "other"
	terminating := madePod("old", "1", 0, address)
	terminating.DeletionTimestamp = &metav1.Time{Time: epoch}
	mirror := madePod("static", "5", 0, address)
	mirror.Annotations = map[string]string{mirrorAnnotation: "file-uid"}

	cases := []struct {
		name string
		do   func(*State)
		want string
	}{
		{"status alone", func(s *State) { s.SetPod(madePod("old", "1", 0, address)) }, "old subject peer"},
		{"pod of another node is a peer only", func(s *State) { s.SetPod(away) }, "away peer"},
		{"host network", func(s *State) { s.SetPod(hostNetwork) }, ""},
		{"succeeded", func(s *State) { s.SetPod(done) }, ""},
		{"failed", func(s *State) { s.SetPod(failed) }, ""},
		{"terminating", func(s *State) { s.SetPod(terminating) }, "old subject peer"},
		{"of two claims the younger pod's holds", func(s *State) {
			s.SetPod(madePod("young", "2", 5, address))
			s.SetPod(madePod("aged", "1", 0, address))
		}, "young subject peer"},
		{"finished pod does not hide the new owner", func(s *State) {
			s.SetPod(done)
			s.SetPod(madePod("old", "1", 0, address))
		}, "old subject peer"},
		{"sandbox before any status", func(s *State) {
			s.Bind(sandbox("c1", "new", "2", address), madePod("new", "2", 5), epoch)
		}, "new subject peer"},
		{"late status of an old pod", func(s *State) {
			s.SetPod(madePod("old", "1", 0, address))
			s.Bind(sandbox("c2", "new", "2", address), madePod("new", "2", 5), epoch)
			s.SetPod(madePod("old", "1", 0, address))
		}, "new subject peer"},
		{"late status of a younger pod", func(s *State) {
			s.Bind(sandbox("c2", "new", "2", address), madePod("new", "2", 5), epoch)
			s.SetPod(madePod("late", "3", 9, address))
		}, "new subject peer"},
		{"new sandbox takes the address from an old one", func(s *State) {
			s.Bind(sandbox("c1", "old", "1", address), madePod("old", "1", 0), epoch)
			s.Bind(sandbox("c2", "new", "2", address), madePod("new", "2", 5), epoch)
		}, "new subject peer"},
		{"late DEL of the old sandbox", func(s *State) {
			s.Bind(sandbox("c1", "old", "1", address), madePod("old", "1", 0), epoch)
			s.Bind(sandbox("c2", "new", "2", address), madePod("new", "2", 5), epoch)
			s.Unbind("c1")
		}, "new subject peer"},
		{"late delete of the old object", func(s *State) {
			s.Bind(sandbox("c2", "new", "2", address), madePod("new", "2", 5), epoch)
			s.DeletePod(madePod("old", "1", 0, address))
		}, "new subject peer"},
		{"DEL forgets, whatever the status still says", func(s *State) {
			s.SetPod(madePod("old", "1", 0, address))
			s.Bind(sandbox("c1", "old", "1", address), madePod("old", "1", 0), epoch)
			s.Unbind("c1")
			s.SetPod(madePod("old", "1", 0, address))
		}, ""},
		{"a pod's new sandbox replaces its old one", func(s *State) {
			s.Bind(sandbox("c1", "old", "1", address), madePod("old", "1", 0), epoch)
			s.Bind(sandbox("c2", "old", "1", "10.244.0.10"), madePod("old", "1", 0), epoch)
		}, ""},
		{"object deleted, sandbox still runs: enforced but no peer", func(s *State) {
			s.SetPod(madePod("old", "1", 0, address))
			s.Bind(sandbox("c1", "old", "1", address), madePod("old", "1", 0), epoch)
			s.DeletePod(madePod("old", "1", 0, address))
		}, "old subject"},
		{"object replaced by one of the same name", func(s *State) {
			s.Bind(sandbox("c1", "old", "1", address), madePod("old", "1", 0), epoch)
			s.SetPod(madePod("old", "2", 5))
		}, "old subject"},
		{"informer behind the sandbox", func(s *State) {
			s.Bind(sandbox("c2", "old", "2", address), madePod("old", "2", 5), epoch)
			s.SetPod(madePod("old", "1", 0))
		}, "old subject peer"},
		{"finished pod whose sandbox runs is enforced but no peer", func(s *State) {
			s.Bind(sandbox("c1", "done", "8", address), done, epoch)
		}, "done subject"},
		{"static pod, known by the kubelet's uid", func(s *State) {
			s.SetPod(mirror)
			s.Bind(sandbox("c1", "static", "file-uid", address), mirror, epoch)
		}, "static subject peer"},
		{"static pod, object after the sandbox", func(s *State) {
			s.Bind(sandbox("c1", "static", "file-uid", address), mirror, epoch)
			s.SetPod(mirror)
		}, "static subject peer"},
		{"restored sandbox whose pod is gone", func(s *State) {
			s.Restore([]Binding{sandbox("c1", "old", "1", address)})
			s.DropOrphans()
		}, ""},
		{"restored sandbox", func(s *State) {
			s.Restore([]Binding{sandbox("c1", "old", "1", address)})
			s.SetPod(madePod("old", "1", 0))
			s.DropOrphans()
		}, "old subject peer"},
		{"restored sandbox whose name has a new pod", func(s *State) {
			s.Restore([]Binding{sandbox("c1", "old", "1", address)})
			s.SetPod(madePod("old", "2", 5))
			s.DropOrphans()
		}, ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			state := NewState("node", "eth0", Mode{}, func() {})
			c.do(state)
			if got := seen(state.View(epoch.Add(time.Hour)), address); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestLateWindow(t *testing.T) {
	const window = 2 * time.Second
	state := NewState("node", "eth0", Mode{}, func() {})
	state.Bind(sandbox("c1", "first", "1", "10.244.0.1"), madePod("first", "1", 0), epoch)
	state.SetMode(Mode{Late: window})
	state.SetPod(madePod("status", "3", 0, "10.244.0.3"))
	state.Bind(sandbox("c2", "late", "2", address), madePod("late", "2", 0), epoch)

	view := state.View(epoch.Add(window - 1))
	if got := seen(view, address); got != "late peer" {
		t.Errorf("inside the window: %q", got)
	}
	if !view.Next.Equal(epoch.Add(window)) || !slices.Equal(view.Open, []string{"ns/late"}) {
		t.Errorf("next %s, open %v", view.Next, view.Open)
	}
	for _, other := range []string{"10.244.0.1", "10.244.0.3"} {
		if got := seen(view, other); got == "" || got[len(got)-12:] != "subject peer" {
			t.Errorf("an existing pod is open: %q", got)
		}
	}
	if view = state.View(epoch.Add(window)); seen(view, address) != "late subject peer" || !view.Next.IsZero() {
		t.Errorf("after the window: %q, next %s", seen(view, address), view.Next)
	}
	// A repeated ADD does not open the pod again, a new sandbox does.
	state.Bind(sandbox("c2", "late", "2", address), madePod("late", "2", 0), epoch.Add(time.Minute))
	if got := seen(state.View(epoch.Add(time.Minute)), address); got != "late subject peer" {
		t.Errorf("after a repeated ADD: %q", got)
	}
	state.Bind(sandbox("c3", "late", "2", address), madePod("late", "2", 0), epoch.Add(time.Hour))
	if got := seen(state.View(epoch.Add(time.Hour)), address); got != "late peer" {
		t.Errorf("after a new sandbox: %q", got)
	}
	// Mode on closes at once, and late again does not reopen.
	state.SetMode(Mode{})
	if got := seen(state.View(epoch.Add(time.Hour)), address); got != "late subject peer" {
		t.Errorf("after mode on: %q", got)
	}
	state.SetMode(Mode{Late: window})
	if got := seen(state.View(epoch.Add(time.Hour)), address); got != "late subject peer" {
		t.Errorf("after mode late again: %q", got)
	}
}

func TestModeText(t *testing.T) {
	for text, want := range map[string]string{
		"on": "on", "off": "off", "late": "late=1s", "late=2s": "late=2s", "late=150ms": "late=150ms",
		"on+reject": "on+reject=port-unreachable", "on+reject=tcp-reset": "on+reject=tcp-reset",
		"late=2s+reject=admin-prohibited": "late=2s+reject=admin-prohibited",
		"off+reject":                      "!", "on+": "!", "on+reject=": "!", "on+drop": "!", "+reject": "!",
		"": "!", "late=": "!", "late=0s": "!", "late=-1s": "!", "late=soon": "!", "on=1s": "!", "off=": "!", "ON": "!",
	} {
		mode, err := ParseMode(text, DefaultLateWindow)
		switch {
		case err != nil && want != "!":
			t.Errorf("%q: %v", text, err)
		case err == nil && mode.String() != want:
			t.Errorf("%q: got %s, want %s", text, mode, want)
		}
	}
}

func TestObjectsCover(t *testing.T) {
	state := NewState("node", "", Mode{}, func() {})
	pod := madePod("a", "1", 0)
	pod.ResourceVersion = "9"
	state.SetPod(pod)
	have, _ := state.Objects()
	for name, c := range map[string]struct {
		versions map[string]uint64
		want     bool
	}{
		"same":    {map[string]uint64{"ns/a": 9}, true},
		"older":   {map[string]uint64{"ns/a": 8}, true},
		"newer":   {map[string]uint64{"ns/a": 10}, false},
		"more":    {map[string]uint64{"ns/a": 9, "ns/b": 1}, false},
		"deleted": {map[string]uint64{}, false},
		"other":   {map[string]uint64{"ns/b": 1}, false},
	} {
		live := NewObjects()
		live[kindPod] = c.versions
		if got := have.Covers(live); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
