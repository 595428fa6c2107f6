package files

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"

	"github.com/valetkey/valetkey/broker/listen"
)

// maxSocketPath leaves room for the folder that a socket is bound in first: systems
// take 103 bytes and more.
const maxSocketPath = 103 - len("/.vk-0123456789")

// Socket listens on a socket that this user alone can open, in a folder that
// nobody else listens in. A socket that nobody listens on any more is replaced;
// anything else in its place is not.
func Socket(path string) (*listen.Local, error) {
	dir, err := os.OpenRoot(filepath.Dir(path))
	if err != nil {
		return nil, fmt.Errorf("listening on %s: %w", path, err)
	}
	lis, err := bindUnix(dir, path, SocketOwn)
	if err != nil {
		return nil, fmt.Errorf("listening on %s: %w", path, err)
	}
	return lis, nil
}

// The modes of a socket. Where others may ask, whose a connection is decides, and
// the folder.
const (
	SocketOwn    fs.FileMode = 0o600
	SocketOthers fs.FileMode = 0o666
)

// SharedSocket listens likewise in a folder in which others listen, too: of many that
// start at once, one has the socket. The folder is one that others
// cannot change; for this user's own sockets it is made, 0700, where it is not there.
func SharedSocket(path string, mode fs.FileMode) (_ *listen.Local, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("listening on %s: %w", path, err)
		}
	}()
	folder, owner := filepath.Dir(path), os.Geteuid()
	if mode == SocketOwn {
		owner = Self
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
		err = fmt.Errorf("%s: %w: name a folder of this user's own, or chmod go-w", folder, ErrFolder)
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
func bindUnix(dir *os.Root, path string, mode fs.FileMode) (l *listen.Local, err error) {
	defer func() {
		if err == nil {
			return
		}
		if l != nil {
			err = errors.Join(err, l.Close())
		}
		l, err = nil, errors.Join(err, dir.Close())
	}()
	if len(path) > maxSocketPath {
		return nil, fmt.Errorf("a socket's path has at most %d bytes here: name a shorter one, or a shorter TMPDIR", maxSocketPath)
	}
	name := filepath.Base(path)
	if info, err := dir.Lstat(name); err == nil {
		if info.Mode().Type() != os.ModeSocket {
			return nil, errors.New("there is something that is no socket")
		}
		if c, err := net.Dial("unix", path); err == nil {
			return nil, errors.Join(errors.New("another process does already"), c.Close())
		}
		if err := dir.Remove(name); err != nil {
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
	if l, err = listen.Socket(filepath.Join(filepath.Dir(path), at)); err != nil {
		return nil, err
	}
	if err := errors.Join(dir.Chmod(at, mode), dir.Rename(at, name)); err != nil {
		return l, err
	}
	made, err := dir.Lstat(name)
	if err != nil {
		return l, err
	}
	l.OnClose(func() error { return errors.Join(removeOwn(dir, name, made), dir.Close()) })
	return l, nil
}

// removeOwn removes what was made, and nothing that came after it. It is called while
// it is listened on: as long as it is, nobody takes its place.
func removeOwn(dir *os.Root, name string, made fs.FileInfo) error {
	info, err := dir.Lstat(name)
	if err == nil && os.SameFile(info, made) {
		err = dir.Remove(name)
	}
	return gone(err)
}
