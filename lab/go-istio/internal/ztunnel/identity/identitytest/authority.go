// Package identitytest is a certificate authority for tests, spoken to as istiod is.
package identitytest

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"net/url"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"

	securityapi "istio.io/api/security/v1alpha1"
)

// Authority signs what it is asked for, as istiod does for a trusted account.
type Authority struct {
	Root     *x509.Certificate
	RootFile string
	Life     time.Duration
	Requests atomic.Int64
	Refuse   atomic.Bool                                // answers with an error
	Answer   func(chain []string) []string              // changes the answer, if set
	Seen     func(*securityapi.IstioCertificateRequest) // sees each request, if set
	key      *ecdsa.PrivateKey
}

// New makes an authority whose root lies in a file of the test.
func New(t *testing.T) *Authority {
	t.Helper()
	key := newKey(t)
	template := &x509.Certificate{
		SerialNumber: serial(t), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	root, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "root-cert.pem")
	if err := os.WriteFile(file, encode(der), 0o600); err != nil {
		t.Fatal(err)
	}
	return &Authority{Root: root, RootFile: file, Life: time.Hour, key: key}
}

// Leaf signs a certificate for the given URIs.
func (a *Authority) Leaf(t *testing.T, change func(*x509.Certificate), uris ...string) *x509.Certificate {
	t.Helper()
	template := &x509.Certificate{SerialNumber: serial(t), NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(a.Life)}
	for _, uri := range uris {
		parsed, err := url.Parse(uri)
		if err != nil {
			t.Fatal(err)
		}
		template.URIs = append(template.URIs, parsed)
	}
	if change != nil {
		change(template)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.Root, newKey(t).Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return leaf
}

// CreateCertificate is istiod's service, without the way over the network.
func (a *Authority) CreateCertificate(_ context.Context, request *securityapi.IstioCertificateRequest, _ ...grpc.CallOption) (*securityapi.IstioCertificateResponse, error) {
	a.Requests.Add(1)
	if a.Seen != nil {
		a.Seen(request)
	}
	if a.Refuse.Load() {
		return nil, errors.New("refused for the test")
	}
	block, _ := pem.Decode([]byte(request.Csr))
	if block == nil {
		return nil, errors.New("the request is no PEM")
	}
	asked, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return nil, err
	}
	number, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: number, URIs: asked.URIs,
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(a.Life),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.Root, asked.PublicKey, a.key)
	if err != nil {
		return nil, err
	}
	chain := []string{string(encode(der)), string(encode(a.Root.Raw))}
	if a.Answer != nil {
		chain = a.Answer(chain)
	}
	return &securityapi.IstioCertificateResponse{CertChain: chain}, nil
}

func encode(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func serial(t *testing.T) *big.Int {
	t.Helper()
	number, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		t.Fatal(err)
	}
	return number
}
