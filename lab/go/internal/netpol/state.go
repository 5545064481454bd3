package netpol

import (
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
)

// mirrorAnnotation carries the kubelet's uid of a static pod, which is the one CNI passes.
const mirrorAnnotation = corev1.MirrorPodAnnotationKey

// Binding is a sandbox that owns addresses, as the CNI plugin reported it. It
// is the authority on addresses: what a pod's status says comes later and may
// be about an older sandbox.
type Binding struct {
	ContainerID   string       `json:"containerID"`
	Namespace     string       `json:"namespace"`
	Name          string       `json:"name"`
	UID           types.UID    `json:"uid"`
	Addresses     []netip.Addr `json:"addresses"`
	HostInterface string       `json:"hostInterface,omitempty"`
	// OpenUntil is when the pod's rules begin (mode late); zero = at once.
	OpenUntil time.Time `json:"openUntil,omitzero"`

	// pod is the last known object of the sandbox's pod. After the object is
	// deleted (gone) the sandbox may still run, so its rules stay until DEL.
	pod  *corev1.Pod
	gone bool
}

// Persistent is what survives a restart of the daemon.
type Persistent struct {
	Mode     string    `json:"mode"`
	Bindings []Binding `json:"bindings"`
}

// State holds the cluster's objects and the node's addresses. Each change gets
// a new revision; the daemon compares revisions to know what the kernel has.
type State struct {
	mu         sync.Mutex
	node       string
	uplink     string
	revision   int64
	mode       Mode
	pods       map[string]*corev1.Pod
	namespaces map[string]*corev1.Namespace
	policies   map[string]*networkingv1.NetworkPolicy
	bindings   map[string]*Binding // by container id
	// managed are pods that CNI has reported at least once: their status is
	// never asked for addresses again.
	managed map[types.UID]bool
	changed func()
}

// NewState makes an empty state. Pods of other nodes than node are peers only;
// changed is called (with the lock held, so it must not block) after each change.
func NewState(node, uplink string, mode Mode, changed func()) *State {
	return &State{
		node: node, uplink: uplink, mode: mode, changed: changed,
		pods: map[string]*corev1.Pod{}, namespaces: map[string]*corev1.Namespace{},
		policies: map[string]*networkingv1.NetworkPolicy{},
		bindings: map[string]*Binding{}, managed: map[types.UID]bool{},
	}
}

func (s *State) touch() int64 {
	s.revision++
	s.changed()
	return s.revision
}

// key names a namespaced object.
func key(namespace, name string) string { return namespace + "/" + name }

// version is a resource version as a number; 0 if it is none.
func version(resourceVersion string) uint64 {
	number, _ := strconv.ParseUint(resourceVersion, 10, 64)
	return number
}

// SetPod stores a pod from the API.
func (s *State) SetPod(pod *corev1.Pod) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pods[key(pod.Namespace, pod.Name)] = pod
	for _, binding := range s.bindings {
		switch {
		case binding.owns(pod):
			binding.pod, binding.gone = pod, false
		case binding.replacedBy(pod):
			binding.gone = true
		}
	}
	s.touch()
}

// replacedBy tells whether pod is a later pod of the same name. The informer may
// also be behind the sandbox, and then pod is the earlier one.
func (b *Binding) replacedBy(pod *corev1.Pod) bool {
	return b.pod != nil && pod.Namespace == b.Namespace && pod.Name == b.Name &&
		version(pod.ResourceVersion) > version(b.pod.ResourceVersion)
}

// DeletePod forgets a pod object. Its sandbox, if CNI reported one, stays enforced until DEL.
func (s *State) DeletePod(pod *corev1.Pod) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if known := s.pods[key(pod.Namespace, pod.Name)]; known != nil && known.UID == pod.UID {
		delete(s.pods, key(pod.Namespace, pod.Name))
	}
	delete(s.managed, pod.UID)
	for _, binding := range s.bindings {
		if binding.owns(pod) {
			binding.gone = true
			s.managed[pod.UID] = true
		}
	}
	s.touch()
}

// SetNamespace stores a namespace from the API.
func (s *State) SetNamespace(namespace *corev1.Namespace) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.namespaces[namespace.Name] = namespace
	s.touch()
}

// DeleteNamespace forgets a namespace.
func (s *State) DeleteNamespace(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.namespaces, name)
	s.touch()
}

// SetPolicy stores a policy from the API.
func (s *State) SetPolicy(policy *networkingv1.NetworkPolicy) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.policies[key(policy.Namespace, policy.Name)] = policy
	s.touch()
}

// DeletePolicy forgets a policy.
func (s *State) DeletePolicy(namespace, name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.policies, key(namespace, name))
	s.touch()
}

// SetMode switches the mode. It ends every open window: a pod that has been
// enforced once is never opened again, and `on` enforces all pods at once.
func (s *State) SetMode(mode Mode) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mode = mode
	for _, binding := range s.bindings {
		binding.OpenUntil = time.Time{}
	}
	return s.touch()
}

// owns tells whether the pod object is the one the sandbox belongs to.
func (b *Binding) owns(pod *corev1.Pod) bool {
	return pod.Namespace == b.Namespace && pod.Name == b.Name &&
		(pod.UID == b.UID || pod.Annotations[mirrorAnnotation] == string(b.UID))
}

// FindPod returns the known pod with that uid, nil if there is none. An empty
// uid finds nothing: the known object may be of an older pod of that name.
func (s *State) FindPod(namespace, name string, uid types.UID) *corev1.Pod {
	s.mu.Lock()
	defer s.mu.Unlock()
	pod := s.pods[key(namespace, name)]
	probe := Binding{Namespace: namespace, Name: name, UID: uid}
	if pod == nil || uid == "" || !probe.owns(pod) {
		return nil
	}
	return pod
}

// Bind records a sandbox and returns the revision that contains it. Its
// addresses leave every older owner, and older sandboxes of the pod end.
func (s *State) Bind(binding Binding, pod *corev1.Pod, now time.Time) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.bindings[binding.ContainerID]
	binding.pod = pod
	// The informer may have moved on since the caller looked.
	if known := s.pods[key(pod.Namespace, pod.Name)]; known != nil && binding.owns(known) {
		binding.pod = known
	}
	if old != nil {
		binding.OpenUntil = old.OpenUntil // a repeated ADD opens nothing
	} else if s.mode.Late > 0 {
		binding.OpenUntil = now.Add(s.mode.Late)
	}
	for id, other := range s.bindings {
		if other.UID == binding.UID {
			delete(s.bindings, id)
			continue
		}
		other.Addresses = slices.DeleteFunc(slices.Clone(other.Addresses), func(address netip.Addr) bool {
			return slices.Contains(binding.Addresses, address)
		})
		if other.HostInterface == binding.HostInterface {
			other.HostInterface = ""
		}
		if len(other.Addresses) == 0 {
			delete(s.bindings, id)
		}
	}
	s.bindings[binding.ContainerID] = &binding
	s.managed[binding.UID] = true
	s.managed[binding.pod.UID] = true
	return s.touch()
}

// Unbind forgets a sandbox. A late DEL of an old sandbox touches no newer one.
func (s *State) Unbind(containerID string) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if binding := s.bindings[containerID]; binding != nil {
		delete(s.bindings, containerID)
		if binding.gone {
			delete(s.managed, binding.UID)
		}
		return s.touch()
	}
	return s.revision
}

// Bound tells whether a sandbox is known.
func (s *State) Bound(containerID string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.bindings[containerID] != nil
}

// Restore takes over the sandboxes of an earlier run. Call it before the objects arrive.
func (s *State) Restore(bindings []Binding) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, binding := range bindings {
		s.bindings[binding.ContainerID] = &binding
		s.managed[binding.UID] = true
	}
	s.touch()
}

// DropOrphans ends restored sandboxes whose pod does not exist (any more): a DEL
// was missed while the daemon was down. Call it once all objects have arrived.
func (s *State) DropOrphans() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, binding := range s.bindings {
		if binding.pod == nil {
			delete(s.bindings, id)
			delete(s.managed, binding.UID)
		}
	}
	s.touch()
}

// Persistent returns a copy of what must survive a restart.
func (s *State) Persistent() Persistent {
	s.mu.Lock()
	defer s.mu.Unlock()
	kept := Persistent{Mode: s.mode.String(), Bindings: []Binding{}}
	for _, id := range sortedKeys(s.bindings) {
		kept.Bindings = append(kept.Bindings, *s.bindings[id])
	}
	return kept
}

// Mode returns the mode.
func (s *State) Mode() Mode {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mode
}

// labelsOf returns an object's labels; never nil.
func labelsOf(from map[string]string) labels.Set {
	if from == nil {
		return labels.Set{}
	}
	return from
}
