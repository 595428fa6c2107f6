package identity

import (
	"crypto/x509"
	"math/big"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// TestVerifiedWindow ends a remembered chain with its shortest certificate.
func TestVerifiedWindow(t *testing.T) {
	id := spiffeid.RequireFromString("spiffe://example.org/ann")
	now := time.Now()
	cert := func(raw string, from, until time.Duration) *x509.Certificate {
		return &x509.Certificate{Raw: []byte(raw), NotBefore: now.Add(from), NotAfter: now.Add(until)}
	}
	leaf := cert("leaf", -time.Hour, time.Hour)
	middle := cert("middle", -time.Minute, 2*time.Hour)
	root := cert("root", -2*time.Hour, time.Minute)
	authorities := []*x509.Certificate{root}
	var v verified
	if _, ok := v.lookup(leaf, authorities, now); ok {
		t.Error("an empty memory knows a leaf")
	}
	v.remember(id, []*x509.Certificate{leaf, middle, root}, authorities)
	for at, want := range map[time.Duration]bool{
		0: true, -59 * time.Second: true, 59 * time.Second: true,
		-61 * time.Second: false, 61 * time.Second: false,
	} {
		if _, ok := v.lookup(leaf, authorities, now.Add(at)); ok != want {
			t.Errorf("at %v: %v, want %v", at, ok, want)
		}
	}
	if _, ok := v.lookup(middle, authorities, now); ok {
		t.Error("another leaf is known")
	}
	if _, ok := v.lookup(leaf, append(authorities, middle), now); ok {
		t.Error("known under other authorities")
	}
	if _, ok := v.lookup(leaf, nil, now); ok {
		t.Error("known under no authority")
	}
}

func TestVerifiedIsBounded(t *testing.T) {
	var v verified
	for i := range int64(maxVerified + 10) {
		leaf := &x509.Certificate{Raw: big.NewInt(i).Bytes()}
		v.remember(spiffeid.ID{}, []*x509.Certificate{leaf}, nil)
	}
	if len(v.leaves) > maxVerified {
		t.Errorf("%d leaves are held", len(v.leaves))
	}
}
