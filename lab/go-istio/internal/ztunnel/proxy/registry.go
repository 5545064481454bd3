package proxy

import (
	"context"
	"sync"
	"time"

	"bulkhead.mesh/lab-istio/internal/ztunnel/netns"
	"istio.io/istio/pkg/zdsapi"
)

// Registry has the proxies of the node's enrolled pods, by uid.
type Registry struct {
	services *Services
	mutex    sync.Mutex
	pods     map[string]*pod
}

// NewRegistry makes a registry without pods.
func NewRegistry(services *Services) *Registry {
	services.tunnels = newTunnelServer()
	return &Registry{services: services, pods: map[string]*pod{}}
}

// Add serves a pod. One that is served already stays as it is, unless it has
// another network namespace: then it was restarted.
func (r *Registry) Add(uid string, info *zdsapi.WorkloadInfo, namespace *netns.Namespace) error {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	if served := r.pods[uid]; served != nil {
		if served.namespace.Same(namespace) {
			return namespace.Close()
		}
		r.remove(uid)
	}
	started, err := start(r.services, info, namespace)
	if err != nil {
		return err
	}
	r.pods[uid] = started
	return nil
}

// Delete ends the proxy of a pod; an unknown one is no error.
func (r *Registry) Delete(uid string) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	r.remove(uid)
}

// Retain ends the proxies of all pods that are not named.
func (r *Registry) Retain(uids map[string]bool) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	for uid := range r.pods {
		if !uids[uid] {
			r.remove(uid)
		}
	}
}

func (r *Registry) remove(uid string) {
	if served := r.pods[uid]; served != nil {
		delete(r.pods, uid)
		served.stop()
	}
}

// Served are the pods served now, by uid.
func (r *Registry) Served() map[string]*zdsapi.WorkloadInfo {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	served := make(map[string]*zdsapi.WorkloadInfo, len(r.pods))
	for uid, p := range r.pods {
		served[uid] = p.info
	}
	return served
}

// Drain takes no more connections and waits for the open ones to end, at most for
// grace. Tunnel clients are told to go elsewhere for their next stream.
func (r *Registry) Drain(grace time.Duration) {
	r.mutex.Lock()
	for _, served := range r.pods {
		served.stopListening()
	}
	r.mutex.Unlock()
	go r.services.tunnels.shutdown(context.Background())
	done := make(chan struct{})
	go func() { r.services.active.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(grace):
	}
}
