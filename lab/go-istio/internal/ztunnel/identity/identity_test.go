package identity

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bulkhead.mesh/lab-istio/internal/ztunnel/identity/identitytest"
	securityapi "istio.io/api/security/v1alpha1"
)

const alice = "spiffe://cluster.local/ns/core/sa/alice"

var aliceID = ID{"cluster.local", "core", "alice"}

func TestParse(t *testing.T) {
	got, err := Parse(alice)
	if err != nil || got != aliceID || got.String() != alice || got.Principal() != "cluster.local/ns/core/sa/alice" {
		t.Errorf("%v %v", got, err)
	}
	for _, bad := range []string{
		"", "cluster.local/ns/core/sa/alice", "https://cluster.local/ns/core/sa/alice", "spiffe://cluster.local/ns/core/sa",
		"spiffe://cluster.local/ns/core/sa/alice/more", "spiffe:///ns/core/sa/alice", "spiffe://cluster.local/ns//sa/alice",
		"spiffe://cluster.local/ns/core/sa/", "spiffe://cluster.local/sa/core/ns/alice",
	} {
		if got, err := Parse(bad); err == nil || got.Known() {
			t.Errorf("%q was taken for %v", bad, got)
		}
	}
}

func TestOfCompletes(t *testing.T) {
	if got := Of("", "core", ""); got != (ID{"cluster.local", "core", "default"}) {
		t.Error(got)
	}
	if got := Of("else.where", "core", "alice"); got.TrustDomain != "else.where" {
		t.Error(got)
	}
	if (ID{}).String() != "" || (ID{}).Principal() != "" {
		t.Error("nobody has a name")
	}
}

func TestVerify(t *testing.T) {
	mesh, stranger := identitytest.New(t), identitytest.New(t)
	roots := x509.NewCertPool()
	roots.AddCert(mesh.Root)
	for name, test := range map[string]struct {
		chain []*x509.Certificate
		want  string // part of the error; empty: alice
	}{
		"good":              {[]*x509.Certificate{mesh.Leaf(t, nil, alice)}, ""},
		"no certificate":    {nil, "no certificate"},
		"another root":      {[]*x509.Certificate{stranger.Leaf(t, nil, alice)}, "mesh root"},
		"brings its root":   {[]*x509.Certificate{stranger.Leaf(t, nil, alice), stranger.Root}, "mesh root"},
		"ended":             {[]*x509.Certificate{mesh.Leaf(t, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Second) }, alice)}, "expired"},
		"not begun":         {[]*x509.Certificate{mesh.Leaf(t, func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Minute) }, alice)}, "not yet valid"},
		"no identity":       {[]*x509.Certificate{mesh.Leaf(t, nil)}, "0 identities"},
		"two identities":    {[]*x509.Certificate{mesh.Leaf(t, nil, alice, "spiffe://cluster.local/ns/core/sa/bob")}, "2 identities"},
		"name and no URI":   {[]*x509.Certificate{mesh.Leaf(t, func(c *x509.Certificate) { c.DNSNames = []string{"alice"} })}, "0 identities"},
		"other kind of URI": {[]*x509.Certificate{mesh.Leaf(t, nil, "https://cluster.local/ns/core/sa/alice")}, "not the form"},
		"leaf is not first": {[]*x509.Certificate{mesh.Root, mesh.Leaf(t, nil, alice)}, "0 identities"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := verify(test.chain, roots, time.Now())
			if test.want == "" {
				if err != nil || got != aliceID {
					t.Errorf("%v %v", got, err)
				}
			} else if err == nil || !strings.Contains(err.Error(), test.want) || got.Known() {
				t.Errorf("%v %v", got, err)
			}
		})
	}
}

func TestSign(t *testing.T) {
	authority := identitytest.New(t)
	var request *securityapi.IstioCertificateRequest
	authority.Seen = func(seen *securityapi.IstioCertificateRequest) { request = seen }
	certificate, err := Authority{authority}.Sign(t.Context(), aliceID)
	if err != nil {
		t.Fatal(err)
	}
	if got := request.Metadata.AsMap()["ImpersonatedIdentity"]; got != alice {
		t.Errorf("asked in the name of %v", got)
	}
	block, _ := pem.Decode([]byte(request.Csr))
	asked, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil || asked.CheckSignature() != nil || len(asked.URIs) != 1 || asked.URIs[0].String() != alice {
		t.Errorf("signing request %+v %v", asked.URIs, err)
	}
	if request.ValidityDuration != 24*3600 {
		t.Errorf("life asked for: %d s", request.ValidityDuration)
	}
	if len(certificate.Certificate) != 1 || certificate.Leaf.URIs[0].String() != alice {
		t.Errorf("%d certificates in the chain that is shown", len(certificate.Certificate))
	}
	authority.Answer = func(chain []string) []string { return chain[1:] }
	if _, err := (Authority{authority}).Sign(t.Context(), aliceID); err == nil || !strings.Contains(err.Error(), "1 certificates") {
		t.Errorf("a root alone: %v", err)
	}
	authority.Answer = func(chain []string) []string { return []string{chain[1], chain[1]} }
	if _, err := (Authority{authority}).Sign(t.Context(), aliceID); err == nil {
		t.Error("a certificate for another key was taken")
	}
	authority.Refuse.Store(true)
	if _, err := (Authority{authority}).Sign(t.Context(), aliceID); err == nil || !strings.Contains(err.Error(), alice) {
		t.Errorf("refusal: %v", err)
	}
}

func newCache(authority *identitytest.Authority) (*Cache, *time.Time) {
	cache, now := NewCache(Authority{authority}, func(string, ...any) {}), time.Now()
	cache.now = func() time.Time { return now }
	return cache, &now
}

func TestCacheRenewsFromHalfLife(t *testing.T) {
	authority := identitytest.New(t)
	cache, now := newCache(authority)
	get := func(requests int64) *tls.Certificate {
		t.Helper()
		certificate, err := cache.Get(t.Context(), aliceID)
		if err != nil || authority.Requests.Load() != requests {
			t.Fatalf("%v, %d requests, not %d", err, authority.Requests.Load(), requests)
		}
		return certificate
	}
	first := get(1)
	if get(1) != first {
		t.Error("not the one that is at hand")
	}
	*now = now.Add(28 * time.Minute)
	get(1)
	*now = now.Add(4 * time.Minute)
	if get(2) == first {
		t.Error("not the fresh one")
	}
	if _, err := cache.Get(t.Context(), ID{"cluster.local", "core", "bob"}); err != nil || authority.Requests.Load() != 3 {
		t.Error("bob got alice's certificate")
	}
	if leaves := cache.Leaves(); len(leaves) != 2 || leaves[aliceID].URIs[0].String() != alice {
		t.Errorf("%v", leaves)
	}
}

func TestCacheWithoutAuthority(t *testing.T) {
	authority := identitytest.New(t)
	cache, now := newCache(authority)
	authority.Refuse.Store(true)
	if _, err := cache.Get(t.Context(), aliceID); err == nil {
		t.Fatal("a certificate from nowhere")
	}
	authority.Refuse.Store(false)
	first, err := cache.Get(t.Context(), aliceID)
	if err != nil {
		t.Fatal(err)
	}
	authority.Refuse.Store(true)
	*now = now.Add(40 * time.Minute)
	for range 3 { // one try per pause
		if got, err := cache.Get(t.Context(), aliceID); err != nil || got != first || authority.Requests.Load() != 3 {
			t.Fatalf("%v, %d requests", err, authority.Requests.Load())
		}
	}
	*now = now.Add(renewalPause)
	if _, err := cache.Get(t.Context(), aliceID); err != nil || authority.Requests.Load() != 4 {
		t.Errorf("%v, %d requests after the pause", err, authority.Requests.Load())
	}
	*now = first.Leaf.NotAfter.Add(time.Second)
	if _, err := cache.Get(t.Context(), aliceID); err == nil {
		t.Error("an ended certificate was given out")
	}
}

// handshake joins both ends and returns what each saw.
func handshake(t *testing.T, client, server *tls.Config) (clientErr, serverErr error) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	near, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer near.Close()
	far, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	done := make(chan error, 1)
	go func() {
		defer far.Close()
		secured := tls.Server(far, server)
		err := secured.HandshakeContext(ctx)
		if err == nil {
			_, err = secured.Write([]byte("x"))
		}
		done <- err
	}()
	secured := tls.Client(near, client)
	clientErr = secured.HandshakeContext(ctx)
	if clientErr == nil {
		_, clientErr = secured.Read(make([]byte, 1))
	}
	near.Close()
	return clientErr, <-done
}

func TestHandshake(t *testing.T) {
	mesh, stranger := identitytest.New(t), identitytest.New(t)
	bobID := ID{"cluster.local", "core", "bob"}
	credentials := func(own ID, authority *identitytest.Authority, roots string) Credentials {
		cache, _ := newCache(authority)
		return Credentials{own, cache, roots}
	}
	anyone := func(ID) error { return nil }
	refused := errors.New("not welcome")
	for name, test := range map[string]struct {
		client, server Credentials
		want           ID // whom the client expects
		accept         func(ID) error
		good           bool
	}{
		"good":                  {credentials(aliceID, mesh, mesh.RootFile), credentials(bobID, mesh, mesh.RootFile), bobID, anyone, true},
		"another server":        {credentials(aliceID, mesh, mesh.RootFile), credentials(aliceID, mesh, mesh.RootFile), bobID, anyone, false},
		"server of other root":  {credentials(aliceID, mesh, mesh.RootFile), credentials(bobID, stranger, mesh.RootFile), bobID, anyone, false},
		"client of other root":  {credentials(aliceID, stranger, mesh.RootFile), credentials(bobID, mesh, mesh.RootFile), bobID, anyone, false},
		"client not accepted":   {credentials(aliceID, mesh, mesh.RootFile), credentials(bobID, mesh, mesh.RootFile), bobID, func(ID) error { return refused }, false},
		"server without a root": {credentials(aliceID, mesh, mesh.RootFile), credentials(bobID, mesh, filepath.Join(t.TempDir(), "none")), bobID, anyone, false},
	} {
		t.Run(name, func(t *testing.T) {
			var seen ID
			accept := func(peer ID) error { seen = peer; return test.accept(peer) }
			clientErr, serverErr := handshake(t, test.client.TLS(t.Context(), Exactly(test.want)), test.server.TLS(t.Context(), accept))
			if good := clientErr == nil && serverErr == nil; good != test.good {
				t.Errorf("client %v, server %v", clientErr, serverErr)
			}
			if test.good && seen != aliceID {
				t.Errorf("the server saw %v", seen)
			}
		})
	}
	t.Run("client without certificate", func(t *testing.T) {
		config := credentials(aliceID, mesh, mesh.RootFile).TLS(t.Context(), Exactly(bobID))
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &tls.Certificate{}, nil }
		if _, err := handshake(t, config, credentials(bobID, mesh, mesh.RootFile).TLS(t.Context(), anyone)); err == nil {
			t.Error("nobody was let in")
		}
	})
}

func TestLoadRootsNamesTheFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadRoots(file); err == nil || !strings.Contains(err.Error(), file) {
		t.Error(err)
	}
}
