package helper

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// maxAnswer bounds what a socket is believed to answer, in bytes.
const maxAnswer = 1 << 20

// processHandler answers what credential_process prints. The socket that it is
// served on is its lock.
func processHandler(src source) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s, expires, err := awsOf(r.Context(), src)
		if err != nil {
			refuse(w, err)
			return
		}
		answer(w, processAnswer{Version: 1, AccessKeyID: s.AccessKeyID, SecretAccessKey: s.SecretAccessKey,
			SessionToken: s.SessionToken, Expiration: stamp(expires)})
	})
}

// processCommand is the line of a profile that asks the socket.
func processCommand(program, socket string) string {
	return quoteWord(program) + " agent credential --socket " + quoteWord(socket)
}

// quoteWord keeps a path one word for the SDKs, which split as a shell does.
func quoteWord(s string) string {
	if !strings.ContainsAny(s, " \t\"'\\") {
		return s
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

// listenUnix listens on a socket that this user alone can open. A socket that
// nobody listens on any more is replaced; anything else in its place is not.
func listenUnix(path string) (net.Listener, error) {
	if info, err := os.Lstat(path); err == nil {
		if info.Mode().Type() != os.ModeSocket {
			return nil, fmt.Errorf("listening on %s: there is something that is no socket", path)
		}
		if c, err := net.Dial("unix", path); err == nil {
			return nil, errors.Join(fmt.Errorf("listening on %s: another process does already", path), c.Close())
		}
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("removing a socket that nobody listens on: %w", err)
		}
	}
	// Bound in a closed folder and moved, so that it is never open to others.
	dir, err := os.MkdirTemp(filepath.Dir(path), ".vk-")
	if err != nil {
		return nil, fmt.Errorf("listening on %s: %w", path, err)
	}
	defer func() { _ = os.RemoveAll(dir) }() // empty by now
	lis, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(dir, "s"), Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("listening on %s: %w", path, err)
	}
	lis.SetUnlinkOnClose(false)
	if err := errors.Join(os.Chmod(filepath.Join(dir, "s"), 0o600), os.Rename(filepath.Join(dir, "s"), path)); err != nil {
		return nil, errors.Join(fmt.Errorf("listening on %s: %w", path, err), lis.Close())
	}
	return &unixListener{UnixListener: lis, path: path}, nil
}

// unixListener removes its socket when it is closed.
type unixListener struct {
	*net.UnixListener
	path string
}

func (l *unixListener) Close() error {
	err := l.UnixListener.Close()
	if rm := os.Remove(l.path); rm != nil && !os.IsNotExist(rm) {
		err = errors.Join(err, rm)
	}
	return err
}

// Ask asks a helper's socket for a path, such as "/" of a credential's, and returns
// the answer's body. An answer that is not 200 is an error with the helper's text.
func Ask(ctx context.Context, socket, path string) ([]byte, error) {
	client := &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		},
	}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://localhost"+path, nil)
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("asking %s: %w; see that the agent runs, and that the task is not over", socket, err)
	}
	defer func() { _ = resp.Body.Close() }() // only read
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("asking %s: %w", socket, err)
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("asking %s: %s", socket, messageIn(body, resp.Status))
	}
	return body, nil
}
