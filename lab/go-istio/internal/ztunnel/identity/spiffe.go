// Package identity holds who a workload is to the mesh: SPIFFE identities, the
// certificates that prove them, and the check of a peer's proof.
package identity

import (
	"fmt"
	"strings"
)

// DefaultTrustDomain is the mesh's trust domain when nothing else is said.
const DefaultTrustDomain = "cluster.local"

const scheme = "spiffe://"

// ID is a service account of the mesh. The zero ID is "nobody": a plaintext peer.
type ID struct{ TrustDomain, Namespace, ServiceAccount string }

// Of completes what istiod leaves out because it is the default.
func Of(trustDomain, namespace, serviceAccount string) ID {
	if trustDomain == "" {
		trustDomain = DefaultTrustDomain
	}
	if serviceAccount == "" {
		serviceAccount = "default"
	}
	return ID{trustDomain, namespace, serviceAccount}
}

// Known is false for the zero ID.
func (id ID) Known() bool { return id != ID{} }

// Principal is the identity as authorization policies write it, without scheme.
func (id ID) Principal() string {
	if !id.Known() {
		return ""
	}
	return id.TrustDomain + "/ns/" + id.Namespace + "/sa/" + id.ServiceAccount
}

// String is the SPIFFE URI, empty for nobody.
func (id ID) String() string {
	if !id.Known() {
		return ""
	}
	return scheme + id.Principal()
}

// Parse reads a SPIFFE URI of Istio's form; every other form is refused.
func Parse(uri string) (ID, error) {
	path, found := strings.CutPrefix(uri, scheme)
	parts := strings.Split(path, "/")
	if !found || len(parts) != 5 || parts[1] != "ns" || parts[3] != "sa" || parts[0] == "" || parts[2] == "" || parts[4] == "" {
		return ID{}, fmt.Errorf("identity %q has not the form spiffe://DOMAIN/ns/NAMESPACE/sa/ACCOUNT", uri)
	}
	return ID{parts[0], parts[2], parts[4]}, nil
}
