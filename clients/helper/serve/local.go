package serve

import (
	"fmt"
	"log/slog"
	"net/http"
	"path/filepath"
	"strings"

	"github.com/valetkey/valetkey/broker/listen"
	"github.com/valetkey/valetkey/clients/helper/files"
)

// socketScheme begins the address of a Unix socket.
const socketScheme = "unix://"

// Local is an address of this machine that this process's own user alone may ask.
type Local struct{ lis *listen.Local }

// ListenLocal listens on "unix:///a/path", or on a loopback address with a port. A
// socket is better: its folder says who can put another in its place, while of a port
// anybody can take hold as long as nobody listens there.
func ListenLocal(address string) (*Local, error) {
	if err := CheckLocal(address); err != nil {
		return nil, err
	}
	var l Local
	var err error
	if path, is := strings.CutPrefix(address, socketScheme); is {
		l.lis, err = files.SharedSocket(path, files.SocketOwn)
	} else {
		l.lis, err = listen.Loopback(address)
	}
	return &l, err
}

// CheckLocal says why ListenLocal takes no such address.
func CheckLocal(address string) error {
	path, socket := strings.CutPrefix(address, socketScheme)
	switch {
	case socket && !filepath.IsAbs(path):
		return fmt.Errorf("%q has no absolute path, such as in unix:///run/user/1000/valetkey-mcp.sock", address)
	case !socket && !listen.OnLoopback(address):
		return fmt.Errorf("%q is neither a Unix socket, such as unix:///run/user/1000/valetkey-mcp.sock, nor a loopback address with a port, such as 127.0.0.1:7411", address)
	}
	return nil
}

// IsSocket says whether it is a Unix socket.
func (l *Local) IsSocket() bool { return l.lis.Addr().Network() == "unix" }

// URL is where a path is to be asked for.
func (l *Local) URL(path string) string {
	if l.IsSocket() {
		return "http://localhost" + path
	}
	return "http://" + l.lis.Addr().String() + path
}

// Serve serves h until close, and refuses whoever is another user, a browser, or comes
// through a proxy or by another name. It takes l over.
func (l *Local) Serve(log *slog.Logger, h http.Handler) (close func() error) {
	return Start(l.lis, listen.NewPeers(nil, true), log, h).Close
}

// Close ends an address that nothing is served on.
func (l *Local) Close() error { return l.lis.Close() }
