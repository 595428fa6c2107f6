package files

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/valetkey/valetkey/broker/brokertest/clienttest"
	"github.com/valetkey/valetkey/broker/listen"
)

func TestListenUnix(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	first, err := Socket(path)
	must(t, err)
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	if _, err := Socket(path); err == nil {
		t.Error("a socket that is listened on was taken over")
	}
	must(t, first.Close())
	if _, err := os.Lstat(path); !os.IsNotExist(err) {
		t.Errorf("a closed one is left: %v", err)
	}
	stale, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	must(t, err)
	stale.SetUnlinkOnClose(false)
	must(t, stale.Close())
	again, err := Socket(path)
	must(t, err)
	must(t, again.Close())
	must(t, os.WriteFile(path, nil, 0o600))
	if _, err := Socket(path); err == nil {
		t.Error("a file was taken for a socket")
	}
	if _, err := Socket(filepath.Join(filepath.Dir(path), strings.Repeat("x", 100))); err == nil || !strings.Contains(err.Error(), "shorter") {
		t.Errorf("a long path: %v", err)
	}
}

// TestSocketsInFoldersOfOthers is where no socket is made, since another user could
// exchange it: a socket for others gets a mode that is not to land on a file of root's.
func TestSocketsInFoldersOfOthers(t *testing.T) {
	theirs := ofOther(t)
	open := t.TempDir()
	must(t, os.Chmod(open, 0o777))
	for name, dir := range map[string]string{"another's folder": theirs, "one that others can write": open} {
		for _, mode := range []fs.FileMode{SocketOwn, SocketOthers} {
			if _, err := SharedSocket(filepath.Join(dir, "s"), mode); !errors.Is(err, ErrFolder) {
				t.Errorf("%s, mode %v: %v", name, mode, err)
			}
		}
		if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
			t.Errorf("%s: %v, %v", name, left, err)
		}
	}
	dir := t.TempDir()
	for _, mode := range []fs.FileMode{SocketOwn, SocketOthers} {
		lis, err := SharedSocket(filepath.Join(dir, "s"), mode)
		must(t, err)
		if info, err := os.Lstat(filepath.Join(dir, "s")); err != nil || info.Mode().Perm() != mode {
			t.Errorf("it is %v, %v; want %v", info.Mode(), err, mode)
		}
		must(t, lis.Close())
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("%v is left, %v", left, err)
	}
	if !asRoot(t) {
		return
	}
	link := filepath.Join(dir, "link")
	must(t, os.Symlink(t.TempDir(), link))
	if _, err := SharedSocket(filepath.Join(link, "s"), SocketOthers); err == nil || !strings.Contains(err.Error(), "a link is not followed") {
		t.Errorf("through a link: %v", err)
	}
	below := filepath.Join(theirs, "below")
	must(t, os.Mkdir(below, 0o755))
	if _, err := SharedSocket(filepath.Join(below, "s"), SocketOthers); !errors.Is(err, ErrFolder) {
		t.Errorf("below another's folder: %v", err)
	}
}

// TestOneStarterWins has many begin at once where a killed one has left its socket.
func TestOneStarterWins(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	for range 300 {
		stale, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
		must(t, err)
		stale.SetUnlinkOnClose(false)
		must(t, stale.Close())
		var (
			wg  sync.WaitGroup
			all [4]*listen.Local
		)
		start := make(chan struct{})
		for i := range all {
			wg.Go(func() {
				<-start
				if lis, err := SharedSocket(path, SocketOwn); err == nil {
					all[i] = lis
				}
			})
		}
		close(start)
		wg.Wait()
		n := 0
		for _, lis := range all {
			if lis != nil {
				n++
				must(t, lis.Close())
			}
		}
		if n != 1 {
			t.Fatalf("%d of %d have the socket", n, len(all))
		}
	}
}

// TestCloseLeavesAnothersSocket is a listener that ends after its place was taken.
func TestCloseLeavesAnothersSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	first, err := SharedSocket(path, SocketOwn)
	must(t, err)
	must(t, os.Remove(path))
	second, err := SharedSocket(path, SocketOwn)
	must(t, err)
	must(t, first.Close())
	c, err := net.Dial("unix", path)
	must(t, err)
	must(t, c.Close())
	must(t, second.Close())
}

// TestFilesForAnotherUser is what root writes for another user: nothing of root's, and
// nothing through that user's links.
func TestFilesForAnotherUser(t *testing.T) {
	if !asRoot(t) {
		return
	}
	dir := ofOther(t)
	roots := writeFile(t, "shadow", "root's\n")
	link, folder := filepath.Join(dir, "link"), filepath.Join(dir, "folder")
	must(t, os.Symlink(roots, link))
	must(t, os.Symlink(filepath.Dir(roots), folder))
	must(t, os.Link(roots, filepath.Join(dir, "hard")))
	for _, path := range []string{link, filepath.Join(folder, "shadow"), filepath.Join(folder, "new"), filepath.Join(dir, "hard"), roots} {
		if err := SetBlock(path, "a", []byte("x\n"), true, clienttest.Other); err == nil {
			t.Errorf("a block was written to %s", path)
		}
		if err := Write(path, []byte("x\n"), clienttest.Other); err == nil {
			t.Errorf("%s was written", path)
		}
		if path != link && path != filepath.Join(dir, "hard") && path != roots { // those are names of the user's, or asked for
			if err := Remove(path, clienttest.Other); err == nil {
				t.Errorf("%s was removed", path)
			}
		}
	}
	if read(t, roots) != "root's\n" || exists(filepath.Join(filepath.Dir(roots), "new")) {
		t.Error("root's folder is not as it was")
	}
	must(t, os.WriteFile(roots, []byte("# valetkey begin a\n# valetkey end a\n"), 0o600))
	if err := SetBlock(filepath.Join(dir, "hard"), "a", nil, true, clienttest.Other); err == nil || !exists(filepath.Join(dir, "hard")) {
		t.Errorf("a file of root's that has a block alone was removed: %v", err)
	}
	must(t, syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600))
	if err := SetBlock(filepath.Join(dir, "pipe"), "a", []byte("x\n"), true, clienttest.Other); err == nil {
		t.Error("a pipe was taken for a file")
	}
	// Their own file stays theirs.
	pass := filepath.Join(dir, ".pgpass")
	must(t, os.WriteFile(pass, []byte("mine\n"), 0o600))
	must(t, os.Chown(pass, clienttest.Other, clienttest.Other))
	must(t, SetBlock(pass, "a", []byte("x\n"), true, clienttest.Other))
	info, err := os.Lstat(pass)
	must(t, err)
	if !owned(info, clienttest.Other) || info.Mode().Perm() != 0o600 || !strings.HasSuffix(read(t, pass), "mine\n") {
		t.Errorf("it is %v: %s", info.Mode(), read(t, pass))
	}
	must(t, SetBlock(pass, "a", nil, true, clienttest.Other))
	if read(t, pass) != "mine\n" {
		t.Errorf("what is left is %q", read(t, pass))
	}
}

// TestTempNames holds what is swept to what is written.
func TestTempNames(t *testing.T) {
	dir, err := os.OpenRoot(t.TempDir())
	must(t, err)
	t.Cleanup(func() { must(t, dir.Close()) })
	seen := make(chan []string, 1)
	go func() {
		for t.Context().Err() == nil {
			if all, err := fs.Glob(dir.FS(), TempsOf("f")+"*"); err == nil && len(all) > 0 {
				seen <- all
				return
			}
		}
	}()
	for {
		must(t, replaceIn(dir, "f", make([]byte, 1<<20), Self))
		select {
		case <-seen:
			return
		default:
		}
	}
}
