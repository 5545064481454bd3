package netpol

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
)

// follow feeds the state from the API server until the context ends, and
// returns once everything that existed has arrived.
func follow(ctx context.Context, client kubernetes.Interface, state *State) error {
	factory := informers.NewSharedInformerFactoryWithOptions(client, 0, informers.WithTransform(trim))
	var registrations []cache.ResourceEventHandlerRegistration
	for _, informer := range []cache.SharedIndexInformer{
		factory.Core().V1().Namespaces().Informer(),
		factory.Core().V1().Pods().Informer(),
		factory.Networking().V1().NetworkPolicies().Informer(),
	} {
		registration, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
			AddFunc:    func(object any) { store(state, object) },
			UpdateFunc: func(_, object any) { store(state, object) },
			DeleteFunc: func(object any) { remove(state, object) },
		})
		if err != nil {
			return fmt.Errorf("cannot watch the cluster: %w", err)
		}
		registrations = append(registrations, registration)
	}
	factory.Start(ctx.Done())
	for _, registration := range registrations {
		if !cache.WaitForCacheSync(ctx.Done(), registration.HasSynced) {
			return ctx.Err()
		}
	}
	return nil
}

func store(state *State, object any) {
	switch object := object.(type) {
	case *corev1.Pod:
		state.SetPod(object)
	case *corev1.Namespace:
		state.SetNamespace(object)
	case *networkingv1.NetworkPolicy:
		state.SetPolicy(object)
	}
}

func remove(state *State, object any) {
	// After a broken watch only the last known object of a deleted one is at hand.
	if unknown, ok := object.(cache.DeletedFinalStateUnknown); ok {
		object = unknown.Obj
	}
	switch object := object.(type) {
	case *corev1.Pod:
		state.DeletePod(object)
	case *corev1.Namespace:
		state.DeleteNamespace(object.Name)
	case *networkingv1.NetworkPolicy:
		state.DeletePolicy(object.Namespace, object.Name)
	}
}

// trim keeps of each object what the rules depend on: the informers' memory
// stays small and the state cannot come to lean on anything else.
func trim(object any) (any, error) {
	switch object := object.(type) {
	case *corev1.Pod:
		return trimPod(object), nil
	case *corev1.Namespace:
		return &corev1.Namespace{ObjectMeta: trimMeta(object.ObjectMeta)}, nil
	case *networkingv1.NetworkPolicy:
		return &networkingv1.NetworkPolicy{ObjectMeta: trimMeta(object.ObjectMeta), Spec: object.Spec}, nil
	}
	return object, nil
}

func trimMeta(meta metav1.ObjectMeta) metav1.ObjectMeta {
	kept := metav1.ObjectMeta{
		Namespace: meta.Namespace, Name: meta.Name, UID: meta.UID, Labels: meta.Labels,
		ResourceVersion: meta.ResourceVersion, CreationTimestamp: meta.CreationTimestamp,
	}
	if uid, mirror := meta.Annotations[mirrorAnnotation]; mirror {
		kept.Annotations = map[string]string{mirrorAnnotation: uid}
	}
	return kept
}

func trimPod(pod *corev1.Pod) *corev1.Pod {
	trimmed := &corev1.Pod{
		ObjectMeta: trimMeta(pod.ObjectMeta),
		Spec:       corev1.PodSpec{NodeName: pod.Spec.NodeName, HostNetwork: pod.Spec.HostNetwork},
		Status:     corev1.PodStatus{Phase: pod.Status.Phase, PodIPs: pod.Status.PodIPs},
	}
	for _, container := range pod.Spec.Containers {
		trimmed.Spec.Containers = append(trimmed.Spec.Containers, corev1.Container{Ports: container.Ports})
	}
	for _, container := range pod.Spec.InitContainers {
		trimmed.Spec.InitContainers = append(trimmed.Spec.InitContainers,
			corev1.Container{Ports: container.Ports, RestartPolicy: container.RestartPolicy})
	}
	return trimmed
}

// liveObjects lists what the API server holds now (a consistent read, no cache).
func liveObjects(ctx context.Context, client kubernetes.Interface) (Objects, error) {
	objects := NewObjects()
	pods, err := client.CoreV1().Pods("").List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("cannot list pods: %w", err)
	}
	for i := range pods.Items {
		objects.addPod(&pods.Items[i])
	}
	namespaces, err := client.CoreV1().Namespaces().List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("cannot list namespaces: %w", err)
	}
	for i := range namespaces.Items {
		objects.addNamespace(&namespaces.Items[i])
	}
	policies, err := client.NetworkingV1().NetworkPolicies("").List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("cannot list NetworkPolicies: %w", err)
	}
	for i := range policies.Items {
		objects.addPolicy(&policies.Items[i])
	}
	return objects, nil
}
