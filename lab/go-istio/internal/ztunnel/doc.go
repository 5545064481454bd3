// Package ztunnel is the folder of the lab's node proxy; cmd/ztunnel puts its rooms together.
//
//	identity  SPIFFE identities, certificates from istiod, the check of a peer
//	mesh      what istiod says (delta xDS), routes, L4 authorization policies
//	netns     sockets in the network namespaces of pods
//	inpod     the protocol of istio-cni's node agent
//	proxy     connections out of and into pods, tunnels, DNS capture, drain
//	report    access log, metrics, dump
//
// It stands in for Istio's own ztunnel, whose image the registries that the lab is
// built from do not carry. Same arguments, environment, ports, mounts and
// capabilities: only the image of the chart's DaemonSet differs.
//
// What it leaves out: pooling of tunnels (each connection has one of its own), load
// balancing by locality or node, workloads of other networks, names of external
// services that only DNS resolves, weighted waypoints, trust domain aliases, the
// PROXY protocol of waypoints, answers to captured DNS questions from its own
// knowledge (all go to the resolver), log levels, certificate revocation. A server
// that ends its half of a tunnelled connection first ends both halves, one second
// later.
package ztunnel
