package identity

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"time"
)

// verify checks a certificate chain, leaf first, and reads the identity of the leaf.
// Names of hosts play no part in the mesh; only the one URI does.
func verify(chain []*x509.Certificate, roots *x509.CertPool, now time.Time) (ID, error) {
	if len(chain) == 0 {
		return ID{}, errors.New("the peer showed no certificate")
	}
	leaf, intermediates := chain[0], x509.NewCertPool()
	for _, certificate := range chain[1:] {
		intermediates.AddCert(certificate)
	}
	_, err := leaf.Verify(x509.VerifyOptions{
		Roots:         roots,
		Intermediates: intermediates,
		CurrentTime:   now,
		KeyUsages:     []x509.ExtKeyUsage{x509.ExtKeyUsageAny}, // the same certificate serves both ends
	})
	if err != nil {
		return ID{}, fmt.Errorf("the peer's certificate does not come from the mesh root: %w", err)
	}
	if len(leaf.URIs) != 1 {
		return ID{}, fmt.Errorf("the peer's certificate names %d identities, not one", len(leaf.URIs))
	}
	return Parse(leaf.URIs[0].String())
}

// LoadRoots reads the mesh's root certificates. The file changes when istiod's
// root does, so callers read it for each handshake.
func LoadRoots(file string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("mesh root: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("mesh root: %s holds no certificate", file)
	}
	return roots, nil
}

// Credentials prove who this side is and check who the other side is.
type Credentials struct {
	Own          ID
	Certificates *Cache
	RootFile     string
}

// TLS is the configuration for one handshake, as client or as server. accept
// decides on a peer whose certificate holds; its error ends the handshake.
func (c Credentials) TLS(ctx context.Context, accept func(ID) error) *tls.Config {
	own := func() (*tls.Certificate, error) { return c.Certificates.Get(ctx, c.Own) }
	return &tls.Config{
		MinVersion:             tls.VersionTLS12,
		NextProtos:             []string{"h2"},
		SessionTicketsDisabled: true, // each handshake shows a certificate
		ClientAuth:             tls.RequireAnyClientCert,
		InsecureSkipVerify:     true, // it would look for a host name; VerifyConnection does the whole check
		GetCertificate:         func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return own() },
		GetClientCertificate:   func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return own() },
		VerifyConnection: func(state tls.ConnectionState) error {
			roots, err := LoadRoots(c.RootFile)
			if err != nil {
				return err
			}
			peer, err := verify(state.PeerCertificates, roots, time.Now())
			if err != nil {
				return err
			}
			return accept(peer)
		},
	}
}

// Exactly accepts one identity.
func Exactly(want ID) func(ID) error {
	return func(peer ID) error {
		if peer != want {
			return fmt.Errorf("the peer is %s, not %s", peer, want)
		}
		return nil
	}
}
