package devauthority

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"github.com/spiffe/go-spiffe/v2/proto/spiffe/workload"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/grpc"

	"github.com/valetkey/valetkey/broker/listen"
)

// maxSocketPath is sun_path on Linux less its final zero byte.
const maxSocketPath = 107

// Serve opens a Workload API whose every caller is id, and returns once the
// socket accepts connections. It serves until ctx is done or Close. A relative
// socketPath lies in Config.SocketDir.
//
// The socket gets mode 0600. A missing folder is made with 0700; a folder that
// others can write to is refused, and so is a path where something else than a
// socket lies. A socket that is left over is replaced.
func (a *Authority) Serve(ctx context.Context, socketPath string, id spiffeid.ID) error {
	path, err := a.SocketPath(socketPath)
	if err == nil && !id.MemberOf(a.domain) {
		err = fmt.Errorf("the ID is not in trust domain %q", a.domain)
	}
	if err != nil {
		return fmt.Errorf("serving Workload API for %q: %w", id, err)
	}
	select {
	case <-a.stop:
		return fmt.Errorf("serving Workload API for %q: the authority is closed", id)
	default:
	}
	listener, err := listenPrivate(path)
	if err != nil {
		return fmt.Errorf("serving Workload API for %q: %w", id, err)
	}
	server := grpc.NewServer(append(listen.Table().Workload.Options(),
		grpc.UnaryInterceptor(requireHeaderUnary),
		grpc.StreamInterceptor(requireHeaderStream))...)
	workload.RegisterSpiffeWorkloadAPIServer(server, &workloadServer{authority: a, id: id})
	a.servers.Go(func() {
		// Serve's error is that of the listener closed by Stop.
		_ = server.Serve(listener)
	})
	a.servers.Go(func() {
		select {
		case <-ctx.Done():
		case <-a.stop:
		}
		server.Stop()
	})
	return nil
}

// SocketPath is the whole path of a socket that Serve is or would be given.
func (a *Authority) SocketPath(socketPath string) (string, error) {
	if !filepath.IsAbs(socketPath) {
		if a.cfg.SocketDir == "" || !filepath.IsLocal(socketPath) {
			return "", fmt.Errorf("socket path %q is not absolute", socketPath)
		}
		socketPath = filepath.Join(a.cfg.SocketDir, socketPath)
	}
	if len(socketPath) > maxSocketPath {
		return "", fmt.Errorf("socket path %q has over %d bytes", socketPath, maxSocketPath)
	}
	return socketPath, nil
}

func listenPrivate(path string) (net.Listener, error) {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	info, err := os.Stat(dir)
	if err != nil {
		return nil, err
	}
	if info.Mode().Perm()&0o022 != 0 {
		return nil, fmt.Errorf("others can write to %q", dir)
	}
	if err := removeStale(path); err != nil {
		return nil, err
	}
	listener, err := listen.Unix(path, listen.Table().Workload.Conns)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	return listener, nil
}

func removeStale(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode().Type() != os.ModeSocket:
		return fmt.Errorf("%q exists and is no socket", path)
	}
	return os.Remove(path)
}

func makePrivateDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return fmt.Errorf("socket folder %q has mode %o: chmod 700, since who opens a socket gets its identity", dir, info.Mode().Perm())
	}
	return nil
}
