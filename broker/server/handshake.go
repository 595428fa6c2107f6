package server

import (
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"time"

	"golang.org/x/time/rate"
)

// Anybody can cause refused handshakes, so only so many of them are logged.
const (
	handshakesLogged = 10 // at once
	handshakesEvery  = time.Second
)

// LoggedRefusals says why c refuses a client's certificate. gRPC drops that error,
// and the client sees a broken connection, so nobody else would learn that, say, a
// listed trust domain has no bundle.
func LoggedRefusals(c *tls.Config, log *slog.Logger) *tls.Config {
	verify := c.VerifyPeerCertificate
	limit := rate.NewLimiter(rate.Every(handshakesEvery), handshakesLogged)
	//nolint:gosec // ServerTLS resumes no session
	c.VerifyPeerCertificate = func(raw [][]byte, chains [][]*x509.Certificate) error {
		err := verify(raw, chains)
		if err != nil && limit.Allow() {
			log.Warn("TLS handshake refused", slog.String("error", err.Error()))
		}
		return err
	}
	return c
}
