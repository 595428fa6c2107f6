package helper

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// maxAnswer bounds what a socket is believed to answer, in bytes.
const maxAnswer = 1 << 20

// maxSocketPath leaves room for the folder that a socket is bound in first: systems
// take 103 bytes and more.
const maxSocketPath = 103 - len("/.vk-0123456789")

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

// listenUnix listens on a socket that this user alone can open, in a folder that
// nobody else listens in. A socket that nobody listens on any more is replaced;
// anything else in its place is not.
func listenUnix(path string) (net.Listener, error) {
	dir, err := os.OpenRoot(filepath.Dir(path))
	if err != nil {
		return nil, fmt.Errorf("listening on %s: %w", path, err)
	}
	lis, err := bindUnix(dir, path, socketOwn)
	if err != nil {
		return nil, fmt.Errorf("listening on %s: %w", path, err)
	}
	return lis, nil
}

// The modes of a socket. Where others may ask, whose a connection is decides, and
// the folder.
const (
	socketOwn    fs.FileMode = 0o600
	socketOthers fs.FileMode = 0o666
)

// listenShared listens likewise in a folder in which others listen, too: of many that
// start at once, one has the socket. The folder is one that others
// cannot change; for this user's own sockets it is made, 0700, where it is not there.
func listenShared(path string, mode fs.FileMode) (_ net.Listener, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("listening on %s: %w", path, err)
		}
	}()
	folder, owner := filepath.Dir(path), os.Geteuid()
	if mode == socketOwn {
		owner = self
		if err := os.MkdirAll(folder, 0o700); err != nil {
			return nil, err
		}
	}
	dir, err := openFolder(folder, owner)
	if err != nil {
		return nil, err
	}
	info, err := dir.Stat(".")
	if err == nil && !ours(info, othersWrite) {
		err = fmt.Errorf("%s: %w: name a folder of this user's own, or chmod go-w", folder, errFolder)
	}
	if err != nil {
		return nil, errors.Join(err, dir.Close())
	}
	unlock, err := lockFolder(dir)
	if err != nil {
		return nil, errors.Join(err, dir.Close())
	}
	lis, err := bindUnix(dir, path, mode)
	if err = errors.Join(err, unlock()); err != nil && lis != nil {
		return nil, errors.Join(err, lis.Close())
	}
	return lis, err
}

// bindUnix listens on a socket in dir, which is its to close.
func bindUnix(dir *os.Root, path string, mode fs.FileMode) (_ net.Listener, err error) {
	l := &unixListener{dir: dir, name: filepath.Base(path)}
	defer func() {
		if err == nil {
			return
		}
		if l.UnixListener != nil {
			err = errors.Join(err, l.UnixListener.Close())
		}
		err = errors.Join(err, dir.Close())
	}()
	if len(path) > maxSocketPath {
		return nil, fmt.Errorf("a socket's path has at most %d bytes here: name a shorter one, or a shorter TMPDIR", maxSocketPath)
	}
	if info, err := dir.Lstat(l.name); err == nil {
		if info.Mode().Type() != os.ModeSocket {
			return nil, errors.New("there is something that is no socket")
		}
		if c, err := net.Dial("unix", path); err == nil {
			return nil, errors.Join(errors.New("another process does already"), c.Close())
		}
		if err := dir.Remove(l.name); err != nil {
			return nil, fmt.Errorf("removing a socket that nobody listens on: %w", err)
		}
	}
	// Bound in a closed folder, where its mode is set too, and moved: so it is never
	// open to others by mistake, and no mode is set of what others put in its place.
	closed := tempPrefix + rand.Text()[:tempRandom]
	if err := dir.Mkdir(closed, 0o700); err != nil {
		return nil, err
	}
	defer func() { _ = dir.RemoveAll(closed) }() // empty by now
	at := filepath.Join(closed, "s")
	l.UnixListener, err = net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(filepath.Dir(path), at), Net: "unix"})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false)
	if err := errors.Join(dir.Chmod(at, mode), dir.Rename(at, l.name)); err != nil {
		return nil, err
	}
	if l.made, err = dir.Lstat(l.name); err != nil {
		return nil, err
	}
	return l, nil
}

// unixListener removes its socket when it is closed.
type unixListener struct {
	*net.UnixListener
	dir  *os.Root
	name string
	made fs.FileInfo // what is its own
}

// Close removes what it made, and nothing that came after it. It does so first: as
// long as it listens, nobody takes its place.
func (l *unixListener) Close() error {
	var errs []error
	switch info, err := l.dir.Lstat(l.name); {
	case err == nil && os.SameFile(info, l.made):
		if err := l.dir.Remove(l.name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		errs = append(errs, err)
	}
	return errors.Join(append(errs, l.UnixListener.Close(), l.dir.Close())...)
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
