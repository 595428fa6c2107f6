package identity_test

import (
	"testing"
	"time"

	"google.golang.org/grpc/metadata"
)

// BenchmarkAuthenticate is the price of verifying again on every call.
func BenchmarkAuthenticate(b *testing.B) {
	ours := newAuthority(b, ourDomain)
	auth := newAuthenticator(b, ours.Source(mustID(b, "spiffe://example.org/valetkeyd")), nil)
	begin, end := hour()
	id := mustID(b, "spiffe://example.org/agent/ann/s1")
	b.Run("x509", func(b *testing.B) {
		svid, err := ours.X509SVID(id, begin, end)
		if err != nil {
			b.Fatal(err)
		}
		for b.Loop() {
			if _, err := auth.AuthenticateX509(svid.Certificates); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("jwt", func(b *testing.B) {
		token, err := ours.JWTSVID(id, []string{audience}, time.Now(), time.Now().Add(time.Hour))
		if err != nil {
			b.Fatal(err)
		}
		ctx := metadata.NewIncomingContext(b.Context(), metadata.Pairs("authorization", "Bearer "+token))
		for b.Loop() {
			if _, err := auth.Authenticate(ctx); err != nil {
				b.Fatal(err)
			}
		}
	})
}
