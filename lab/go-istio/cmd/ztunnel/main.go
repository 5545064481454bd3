// Command ztunnel is the lab's node proxy of Istio's ambient mode. It takes the place
// of Istio's own in the chart's DaemonSet: same arguments, environment, ports, paths
// and capabilities. Package ztunnel says what it leaves out.
package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/signal"
	"syscall"
	"time"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"

	"bulkhead.mesh/lab-istio/internal/ztunnel/identity"
	"bulkhead.mesh/lab-istio/internal/ztunnel/inpod"
	"bulkhead.mesh/lab-istio/internal/ztunnel/mesh"
	"bulkhead.mesh/lab-istio/internal/ztunnel/proxy"
	"bulkhead.mesh/lab-istio/internal/ztunnel/report"
	securityapi "istio.io/api/security/v1alpha1"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	log := report.NewLog(os.Stdout)
	if err := run(ctx, os.Args[1:], log); err != nil {
		log.Printf(report.Error, "ztunnel", "%v", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, arguments []string, log *report.Log) error {
	if len(arguments) != 2 || arguments[0] != "proxy" || arguments[1] != "ztunnel" {
		return fmt.Errorf("arguments %q are not \"proxy ztunnel\"", arguments)
	}
	settings, err := readSettings(os.Getenv)
	if err != nil {
		return err
	}
	authority, err := identity.DialIstiod(settings.authority, rootFile, tokenFile, settings.node.Cluster)
	if err != nil {
		return err
	}
	discoverer, err := identity.DialIstiod(settings.discovery, rootFile, tokenFile, settings.node.Cluster)
	if err != nil {
		return err
	}
	state := mesh.NewState()
	certificates := identity.NewCache(
		identity.Authority{Client: securityapi.NewIstioCertificateServiceClient(authority)}, log.Scope(report.Info, "ca"))
	reporter := report.NewReporter(log)
	registry := proxy.NewRegistry(&proxy.Services{
		Mesh: state, Certificates: certificates, RootFile: rootFile, Nameserver: nameserver(log),
		TrustDomain: identity.DefaultTrustDomain, Reporter: reporter, Retry: 100 * time.Millisecond,
	})

	ready := &readiness{}
	known := make(chan struct{})
	go state.Follow(ctx, discovery.NewAggregatedDiscoveryServiceClient(discoverer), settings.node, func() {
		if !ready.mesh.Swap(true) {
			close(known)
		}
	}, log.Scope(report.Warn, "xds"))
	go func() {
		select {
		case <-known: // no pod is served before its policies are known
			inpod.Follow(ctx, settings.socket, registry, func() { ready.pods.Store(true) }, log.Scope(report.Warn, "inpod"))
		case <-ctx.Done():
		}
	}()
	dump := func() report.Dump { return report.MakeDump(state, certificates, registry.Served()) }
	failed := serveHTTP(ready, reporter, dump)

	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	log.Printf(report.Info, "ztunnel", "draining for at most %s", settings.grace)
	registry.Drain(settings.grace)
	return nil
}

// nameserver is where captured DNS questions go: the first one of this pod's own
// resolv.conf, whomever the asking pod meant.
func nameserver(log *report.Log) netip.AddrPort {
	content, err := os.ReadFile("/etc/resolv.conf")
	if err == nil {
		if found := firstNameserver(string(content)); found.IsValid() {
			return found
		}
		err = errors.New("no nameserver in /etc/resolv.conf")
	}
	log.Printf(report.Warn, "dns", "captured questions get no answer: %v", err)
	return netip.AddrPort{}
}
