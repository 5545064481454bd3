package netpol

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/netip"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"bulkhead.mesh/lab/internal/netpol/wire"
)

// poll is the pause between looks at something that announces no change.
const poll = 50 * time.Millisecond

// Options of the daemon.
type Options struct {
	Client kubernetes.Interface
	Loader Loader
	// Node is the name of this node's Node object.
	Node string
	// Uplink is the node's interface to the outside.
	Uplink string
	// Mode holds at the first start; a mode set at run time survives restarts.
	Mode Mode
	// StateFile keeps the mode and the sandboxes; it belongs on a file system
	// that ends with the node's network (a tmpfs).
	StateFile string
	Socket    string
}

// Daemon answers the socket and owns the enforcer.
type Daemon struct {
	client   kubernetes.Interface
	enforcer *Enforcer
	file     *stateFile
}

// Run is the whole life of the daemon; it returns when the context ends or the
// socket cannot be opened. Rules stay in the kernel: without a daemon nothing
// opens, and new pods do not start.
func Run(ctx context.Context, options Options) error {
	file := &stateFile{path: options.StateFile}
	saved, err := file.load()
	if err != nil {
		return err
	}
	mode := options.Mode
	if saved.Mode != "" {
		if mode, err = ParseMode(saved.Mode, DefaultLateWindow); err != nil {
			return fmt.Errorf("state file %s: %w; delete the file to start afresh", options.StateFile, err)
		}
	}
	enforcer := NewEnforcer(options.Node, options.Uplink, mode, options.Loader)
	enforcer.state.Restore(saved.Bindings)
	daemon := &Daemon{client: options.Client, enforcer: enforcer, file: file}

	ctx, stop := context.WithCancel(ctx)
	defer stop()
	server, err := listen(options.Socket, daemon.handle)
	if err != nil {
		return err
	}
	defer server.close()
	go server.serve(ctx)
	go enforcer.Run(ctx)
	if err := follow(ctx, options.Client, enforcer.state); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	enforcer.state.DropOrphans()
	enforcer.Start()
	log.Printf("netpol: mode %s on node %s, listening on %s", mode, options.Node, options.Socket)
	<-ctx.Done()
	return nil
}

// handle answers one request.
func (d *Daemon) handle(ctx context.Context, request wire.Request) wire.Response {
	ctx, cancel := context.WithTimeout(ctx, request.Timeout())
	defer cancel()
	var err error
	switch request.Op {
	case wire.OpAdd:
		err = d.add(ctx, request.Sandbox)
	case wire.OpDel:
		err = d.del(request.Sandbox)
	case wire.OpCheck:
		if request.Sandbox == nil || !d.enforcer.state.Bound(request.Sandbox.ContainerID) {
			err = errors.New("the sandbox is not known to the NetworkPolicy enforcer; delete the pod so that it is made again")
		}
	case wire.OpMode:
		err = d.setMode(ctx, request.Mode)
	case wire.OpWait:
		err = d.wait(ctx, request.Wait)
	case wire.OpStatus:
	default:
		err = fmt.Errorf("operation %q is unknown", request.Op)
	}
	status := d.status()
	response := wire.Response{Status: &status}
	if err != nil {
		response.Error = err.Error()
		if request.Op != wire.OpWait {
			log.Printf("netpol: %s: %v", request.Op, err)
		}
	}
	return response
}

// add makes a new sandbox known and returns when the kernel enforces every
// policy that the API server held when it was called.
func (d *Daemon) add(ctx context.Context, sandbox *wire.Sandbox) error {
	binding, err := bindingOf(sandbox)
	if err != nil {
		return err
	}
	if err := d.enforcer.wait(ctx, func() bool { return d.enforcer.synced }); err != nil {
		return fmt.Errorf("pod %s/%s: the cluster's objects have not arrived yet", binding.Namespace, binding.Name)
	}
	pod := d.enforcer.state.FindPod(binding.Namespace, binding.Name, binding.UID)
	if pod == nil {
		if pod, err = d.getPod(ctx, binding); err != nil {
			return err
		}
		if binding.UID == "" {
			binding.UID = pod.UID
		}
	}
	if err := d.policiesArrived(ctx, binding.Namespace); err != nil {
		return fmt.Errorf("pod %s/%s: %w", binding.Namespace, binding.Name, err)
	}
	revision := d.enforcer.state.Bind(binding, pod, time.Now())
	if err := d.save(); err != nil {
		return err
	}
	if err := d.enforcer.WaitLoaded(ctx, revision); err != nil {
		return fmt.Errorf("pod %s/%s: %w", binding.Namespace, binding.Name, err)
	}
	return nil
}

// bindingOf checks what the CNI plugin sent.
func bindingOf(sandbox *wire.Sandbox) (Binding, error) {
	if sandbox == nil || sandbox.ContainerID == "" || sandbox.Namespace == "" || sandbox.Name == "" {
		return Binding{}, errors.New("an add needs a container id, a namespace and a pod name; the runtime's CNI_ARGS must carry K8S_POD_NAMESPACE and K8S_POD_NAME")
	}
	binding := Binding{
		ContainerID: sandbox.ContainerID, Namespace: sandbox.Namespace, Name: sandbox.Name,
		UID: types.UID(sandbox.UID), HostInterface: sandbox.HostInterface,
	}
	for _, text := range sandbox.Addresses {
		address, err := netip.ParseAddr(text)
		if err != nil {
			return Binding{}, fmt.Errorf("pod %s/%s: %q is no address", sandbox.Namespace, sandbox.Name, text)
		}
		binding.Addresses = append(binding.Addresses, address.Unmap())
	}
	if len(binding.Addresses) == 0 {
		return Binding{}, fmt.Errorf("pod %s/%s has no address; netpol-cni must come after the plugin that gives addresses", sandbox.Namespace, sandbox.Name)
	}
	return binding, nil
}

// getPod asks the API server for a pod that the informer does not have yet.
func (d *Daemon) getPod(ctx context.Context, binding Binding) (*corev1.Pod, error) {
	pod, err := d.client.CoreV1().Pods(binding.Namespace).Get(ctx, binding.Name, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("pod %s/%s: cannot read it from the API server: %w", binding.Namespace, binding.Name, err)
	}
	if binding.UID != "" && !binding.owns(pod) {
		return nil, fmt.Errorf("pod %s/%s with uid %s was replaced by one with uid %s", binding.Namespace, binding.Name, binding.UID, pod.UID)
	}
	return trimPod(pod), nil
}

// policiesArrived returns when the state has every policy that the pod's
// namespace has at the API server: the informer may be behind.
func (d *Daemon) policiesArrived(ctx context.Context, namespace string) error {
	for {
		list, err := d.client.NetworkingV1().NetworkPolicies(namespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			return fmt.Errorf("cannot read its NetworkPolicies: %w", err)
		}
		have, _ := d.enforcer.state.Objects()
		arrived := true
		for i := range list.Items {
			known, ok := have[kindPolicy][key(namespace, list.Items[i].Name)]
			arrived = arrived && ok && known >= version(list.Items[i].ResourceVersion)
		}
		if arrived {
			return nil
		}
		if !sleep(ctx, poll) {
			return errors.New("its NetworkPolicies have not arrived in time")
		}
	}
}

// del forgets a sandbox at once; the rules follow.
func (d *Daemon) del(sandbox *wire.Sandbox) error {
	if sandbox == nil || sandbox.ContainerID == "" {
		return errors.New("a del needs a container id")
	}
	d.enforcer.state.Unbind(sandbox.ContainerID)
	return d.save()
}

func (d *Daemon) setMode(ctx context.Context, text string) error {
	mode, err := ParseMode(text, DefaultLateWindow)
	if err != nil {
		return err
	}
	revision := d.enforcer.state.SetMode(mode)
	if err := d.save(); err != nil {
		return err
	}
	log.Printf("netpol: mode %s", mode)
	return d.enforcer.WaitLoaded(ctx, revision)
}

func (d *Daemon) save() error {
	return d.file.save(d.enforcer.state.Persistent)
}

func (d *Daemon) status() wire.Status {
	_, revision := d.enforcer.state.Objects()
	e := d.enforcer
	mode := e.state.Mode()
	e.mu.Lock()
	defer e.mu.Unlock()
	status := wire.Status{
		Mode: mode.String(), Synced: e.synced, Generation: e.generation,
		Pending:  e.loaded != revision,
		Warnings: append([]string{}, e.model.Warnings...),
		Policies: len(e.view.Input.Policies), Pods: len(e.view.Input.Pods), Isolated: e.model.Isolated,
		Open: append([]string{}, e.view.Open...),
	}
	if !e.loadedAt.IsZero() {
		status.LoadedAt = e.loadedAt.UTC().Format(time.RFC3339Nano)
	}
	if e.lastError != nil {
		status.LastError = e.lastError.Error()
	}
	return status
}
