package identity

import (
	"context"
	"crypto/tls"
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/structpb"

	securityapi "istio.io/api/security/v1alpha1"
	pkiutil "istio.io/istio/security/pkg/pki/util"
)

const (
	requestedLife = 24 * time.Hour
	signTimeout   = 10 * time.Second
)

// Authority is istiod's certificate service, asked with this node proxy's own token.
type Authority struct {
	Client securityapi.IstioCertificateServiceClient
}

// Sign asks for a certificate of another identity than the token's. istiod signs
// it for a trusted node account, and only for pods that run on its node.
func (a Authority) Sign(ctx context.Context, id ID) (*tls.Certificate, error) {
	request, key, err := pkiutil.GenCSR(pkiutil.CertOptions{Host: id.String(), ECSigAlg: pkiutil.EcdsaSigAlg})
	if err != nil {
		return nil, fmt.Errorf("signing request for %s: %w", id, err)
	}
	metadata, err := structpb.NewStruct(map[string]any{"ImpersonatedIdentity": id.String()})
	if err != nil {
		return nil, fmt.Errorf("signing request for %s: %w", id, err)
	}
	ctx, cancel := context.WithTimeout(ctx, signTimeout)
	defer cancel()
	answer, err := a.Client.CreateCertificate(ctx, &securityapi.IstioCertificateRequest{
		Csr: string(request), ValidityDuration: int64(requestedLife.Seconds()), Metadata: metadata,
	})
	if err != nil {
		return nil, fmt.Errorf("istiod signs nothing for %s: %w", id, err)
	}
	if len(answer.CertChain) < 2 {
		return nil, fmt.Errorf("istiod's chain for %s has %d certificates, not a leaf and a root", id, len(answer.CertChain))
	}
	// The last one is the root: peers have their own copy and must not take ours.
	chain := strings.Join(answer.CertChain[:len(answer.CertChain)-1], "\n")
	certificate, err := tls.X509KeyPair([]byte(chain), key)
	if err != nil {
		return nil, fmt.Errorf("istiod's certificate for %s: %w", id, err)
	}
	return &certificate, nil
}
