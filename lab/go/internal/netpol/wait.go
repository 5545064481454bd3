package netpol

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"bulkhead.mesh/lab/internal/netpol/wire"
)

// wait returns when all conditions hold in the kernel.
func (d *Daemon) wait(ctx context.Context, wait *wire.Wait) error {
	if wait == nil {
		return errors.New("a wait needs a condition")
	}
	for _, name := range []string{wait.Policy, wait.AbsentPolicy, wait.Pod} {
		if name != "" && strings.Count(name, "/") != 1 {
			return fmt.Errorf("%q is no namespace/name", name)
		}
	}
	if wait.Settled {
		if err := d.settled(ctx); err != nil {
			return err
		}
	}
	for {
		missing := d.missing(wait)
		_, revision := d.enforcer.state.Objects()
		if missing == "" {
			if err := d.enforcer.WaitLoaded(ctx, revision); err != nil {
				return err
			}
			return d.enforcer.WaitGeneration(ctx, wait.Generation)
		}
		if !sleep(ctx, poll) {
			return fmt.Errorf("waited in vain: %s", missing)
		}
	}
}

// missing names the first condition on single objects that does not hold; "" = all hold.
func (d *Daemon) missing(wait *wire.Wait) string {
	objects, _ := d.enforcer.state.Objects()
	if wait.Policy != "" {
		known, ok := objects[kindPolicy][wait.Policy]
		if !ok {
			return fmt.Sprintf("NetworkPolicy %s is not known", wait.Policy)
		}
		if known < version(wait.ResourceVersion) {
			return fmt.Sprintf("NetworkPolicy %s is known at resource version %d, not yet %s", wait.Policy, known, wait.ResourceVersion)
		}
	}
	if _, ok := objects[kindPolicy][wait.AbsentPolicy]; ok && wait.AbsentPolicy != "" {
		return fmt.Sprintf("NetworkPolicy %s is still there", wait.AbsentPolicy)
	}
	if wait.Pod != "" && !d.enforcer.hasPod(wait.Pod) {
		return fmt.Sprintf("pod %s has no known address", wait.Pod)
	}
	return ""
}

// settled returns when everything the API server holds has reached the kernel.
func (d *Daemon) settled(ctx context.Context) error {
	for {
		live, err := liveObjects(ctx, d.client)
		if err != nil {
			return err
		}
		// The list is repeated, because an object deleted meanwhile can never arrive.
		for range 5 {
			have, revision := d.enforcer.state.Objects()
			if have.Covers(live) {
				return d.enforcer.WaitLoaded(ctx, revision)
			}
			if !sleep(ctx, poll) {
				return errors.New("the cluster's objects have not all arrived in time")
			}
		}
	}
}

// hasPod tells whether the loaded rules know the pod's address.
func (e *Enforcer) hasPod(name string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, pod := range e.view.Input.Pods {
		if key(pod.Namespace, pod.Name) == name && len(pod.Addresses) > 0 {
			return true
		}
	}
	return false
}
