package identity

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"sync"
	"time"
)

// renewalPause is how long a failed renewal is not tried again while the old certificate serves.
const renewalPause = 5 * time.Second

// Signer makes certificates.
type Signer interface {
	Sign(ctx context.Context, id ID) (*tls.Certificate, error)
}

// Cache keeps one certificate per identity, gets it at first use and renews it
// from half of its life on.
type Cache struct {
	signer Signer
	now    func() time.Time
	log    func(format string, arguments ...any)

	mutex   sync.Mutex
	entries map[ID]*cached
}

type cached struct {
	mutex       sync.Mutex // held while signing, so that an identity is asked for once
	certificate *tls.Certificate
	retry       time.Time // no renewal before this
}

// NewCache makes an empty cache. log gets one line per certificate and per failure.
func NewCache(signer Signer, log func(format string, arguments ...any)) *Cache {
	return &Cache{signer: signer, now: time.Now, log: log, entries: map[ID]*cached{}}
}

// Get returns a certificate that is valid now. While a renewal fails the old one
// is returned until it ends; then the failure is.
func (c *Cache) Get(ctx context.Context, id ID) (*tls.Certificate, error) {
	c.mutex.Lock()
	entry := c.entries[id]
	if entry == nil {
		entry = &cached{}
		c.entries[id] = entry
	}
	c.mutex.Unlock()

	entry.mutex.Lock()
	defer entry.mutex.Unlock()
	now := c.now()
	usable := entry.certificate != nil && now.Before(entry.certificate.Leaf.NotAfter)
	if usable && (now.Before(halfLife(entry.certificate.Leaf)) || now.Before(entry.retry)) {
		return entry.certificate, nil
	}
	fresh, err := c.signer.Sign(ctx, id)
	if err != nil {
		c.log("certificate: %v", err)
		if usable {
			entry.retry = now.Add(renewalPause)
			return entry.certificate, nil
		}
		return nil, err
	}
	c.log("certificate for %s until %s", id, fresh.Leaf.NotAfter.Format(time.RFC3339))
	entry.certificate = fresh
	return fresh, nil
}

func halfLife(leaf *x509.Certificate) time.Time {
	return leaf.NotBefore.Add(leaf.NotAfter.Sub(leaf.NotBefore) / 2)
}

// Leaves are the certificates held now, by identity.
func (c *Cache) Leaves() map[ID]*x509.Certificate {
	c.mutex.Lock()
	entries := make(map[ID]*cached, len(c.entries))
	for id, entry := range c.entries {
		entries[id] = entry
	}
	c.mutex.Unlock()
	leaves := map[ID]*x509.Certificate{}
	for id, entry := range entries {
		entry.mutex.Lock()
		if entry.certificate != nil {
			leaves[id] = entry.certificate.Leaf
		}
		entry.mutex.Unlock()
	}
	return leaves
}
