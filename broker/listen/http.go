package listen

import (
	"net"
	"net/http"
)

// Server is an HTTP server that is held to the budget. Serve it on a listener of TCP.
func (b HTTP) Server(h http.Handler) *http.Server {
	return &http.Server{
		Handler: h, ReadHeaderTimeout: b.Header, ReadTimeout: b.Read, WriteTimeout: b.Write, IdleTimeout: b.Idle, MaxHeaderBytes: b.HeaderBytes,
		ConnState: func(c net.Conn, s http.ConnState) {
			if c, ok := c.(*conn); ok {
				c.gate.busy(c, s == http.StateActive)
			}
		},
	}
}
