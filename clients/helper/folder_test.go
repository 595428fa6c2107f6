package helper

import (
	"encoding/json"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/valetkey/valetkey/clients/valetkey"
)

// other is a user who is not this one.
const other = 65534

// ofOther makes a folder that another user can change: theirs, where this is root.
func ofOther(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "theirs")
	must(t, os.Mkdir(dir, 0o700))
	if os.Geteuid() != 0 {
		must(t, os.Chmod(dir, 0o777))
		return dir
	}
	must(t, os.Chown(dir, other, other))
	return dir
}

// asRoot says whether what takes root can be tried.
func asRoot(t *testing.T) bool {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Log("not root: nothing is done for other users here")
	}
	return os.Geteuid() == 0
}

// TestSocketsInFoldersOfOthers is where no socket is made, since another user could
// exchange it: a socket for others gets a mode that is not to land on a file of root's.
func TestSocketsInFoldersOfOthers(t *testing.T) {
	theirs := ofOther(t)
	open := t.TempDir()
	must(t, os.Chmod(open, 0o777))
	for name, dir := range map[string]string{"another's folder": theirs, "one that others can write": open} {
		for _, mode := range []fs.FileMode{socketOwn, socketOthers} {
			if _, err := listenShared(filepath.Join(dir, "s"), mode); !errors.Is(err, errFolder) {
				t.Errorf("%s, mode %v: %v", name, mode, err)
			}
		}
		if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
			t.Errorf("%s: %v, %v", name, left, err)
		}
	}
	dir := t.TempDir()
	for _, mode := range []fs.FileMode{socketOwn, socketOthers} {
		lis, err := listenShared(filepath.Join(dir, "s"), mode)
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
	if _, err := listenShared(filepath.Join(link, "s"), socketOthers); err == nil || !strings.Contains(err.Error(), "a link is not followed") {
		t.Errorf("through a link: %v", err)
	}
	below := filepath.Join(theirs, "below")
	must(t, os.Mkdir(below, 0o755))
	if _, err := listenShared(filepath.Join(below, "s"), socketOthers); !errors.Is(err, errFolder) {
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
			all [4]net.Listener
		)
		start := make(chan struct{})
		for i := range all {
			wg.Go(func() {
				<-start
				if lis, err := listenShared(path, socketOwn); err == nil {
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
	first, err := listenShared(path, socketOwn)
	must(t, err)
	must(t, os.Remove(path))
	second, err := listenShared(path, socketOwn)
	must(t, err)
	must(t, first.Close())
	c, err := net.Dial("unix", path)
	must(t, err)
	must(t, c.Close())
	must(t, second.Close())
}

// planted is a journal that names a file, and the file.
func planted(t *testing.T, socket string) (journal, victim string) {
	t.Helper()
	victim = writeFile(t, "id_ed25519", "a key")
	raw, err := json.Marshal(leftovers{Files: []string{victim}})
	must(t, err)
	journal = socket + ".journal"
	must(t, os.WriteFile(journal, raw, 0o600))
	return journal, victim
}

// TestPlantedFolder is a folder that another user has prepared.
func TestPlantedFolder(t *testing.T) {
	k, dir := newKit(t), ofOther(t)
	_, victim := planted(t, filepath.Join(dir, "agent.sock"))
	task := taskOf("one", t.TempDir())
	if _, err := NewAgent(AgentConfig{Client: k.client, Config: Config{Socket: filepath.Join(dir, "agent.sock"), Tasks: []TaskConfig{task}}, Log: discard()}); !errors.Is(err, errFolder) {
		t.Errorf("an agent starts there: %v", err)
	}
	link := filepath.Join(t.TempDir(), "link")
	must(t, os.Symlink(t.TempDir(), link))
	for _, dir := range []string{dir, link} {
		_, err := Quick(t.Context(), k.client, dir, "task", valetkey.TaskSpec{Purpose: "a test", Environment: "staging"}, []ScopeSpec{reads("a/")})
		if err == nil || !strings.Contains(err.Error(), "name another") {
			t.Errorf("files without a configuration go to %s: %v", dir, err)
		}
	}
	if !exists(victim) {
		t.Error("what the planted journal names was removed")
	}
	made := filepath.Join(t.TempDir(), "run", "valetkey")
	_, err := Quick(t.Context(), k.client, made, "task", valetkey.TaskSpec{Purpose: "a test", Environment: "staging"}, []ScopeSpec{reads("a/")})
	must(t, err)
	if info, err := os.Stat(made); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v", info, err)
	}
}

// TestJournalIsOurs is which journal is believed.
func TestJournalIsOurs(t *testing.T) {
	for name, c := range map[string]struct {
		change func(journal string) error
		want   bool
	}{
		"our own":   {func(string) error { return nil }, true},
		"open":      {func(j string) error { return os.Chmod(j, 0o644) }, false},
		"a link":    {func(j string) error { return errors.Join(os.Rename(j, j+"2"), os.Symlink(j+"2", j)) }, false},
		"a folder":  {func(j string) error { return errors.Join(os.Remove(j), os.Mkdir(j, 0o700)) }, false},
		"another's": {func(j string) error { return os.Chown(j, other, other) }, false},
	} {
		if name == "another's" && !asRoot(t) {
			continue
		}
		socket := filepath.Join(t.TempDir(), "s")
		journal, victim := planted(t, socket)
		must(t, c.change(journal))
		left, err := newJournal(socket, self).read()
		if (err == nil) != c.want || (len(left.Files) == 1 && left.Files[0] == victim) != c.want {
			t.Errorf("%s: %+v, %v", name, left, err)
		}
	}
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
		if err := setBlock(path, "a", []byte("x\n"), true, other); err == nil {
			t.Errorf("a block was written to %s", path)
		}
		if err := writeSecret(path, []byte("x\n"), other); err == nil {
			t.Errorf("%s was written", path)
		}
		if path != link && path != filepath.Join(dir, "hard") && path != roots { // those are names of the user's, or asked for
			if err := removeOf(path, other); err == nil {
				t.Errorf("%s was removed", path)
			}
		}
	}
	if read(t, roots) != "root's\n" || exists(filepath.Join(filepath.Dir(roots), "new")) {
		t.Error("root's folder is not as it was")
	}
	must(t, os.WriteFile(roots, []byte("# valetkey begin a\n# valetkey end a\n"), 0o600))
	if err := setBlock(filepath.Join(dir, "hard"), "a", nil, true, other); err == nil || !exists(filepath.Join(dir, "hard")) {
		t.Errorf("a file of root's that has a block alone was removed: %v", err)
	}
	must(t, syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600))
	if err := setBlock(filepath.Join(dir, "pipe"), "a", []byte("x\n"), true, other); err == nil {
		t.Error("a pipe was taken for a file")
	}
	// Their own file stays theirs.
	pass := filepath.Join(dir, ".pgpass")
	must(t, os.WriteFile(pass, []byte("mine\n"), 0o600))
	must(t, os.Chown(pass, other, other))
	must(t, setBlock(pass, "a", []byte("x\n"), true, other))
	info, err := os.Lstat(pass)
	must(t, err)
	if !owned(info, other) || info.Mode().Perm() != 0o600 || !strings.HasSuffix(read(t, pass), "mine\n") {
		t.Errorf("it is %v: %s", info.Mode(), read(t, pass))
	}
	must(t, setBlock(pass, "a", nil, true, other))
	if read(t, pass) != "mine\n" {
		t.Errorf("what is left is %q", read(t, pass))
	}
}

// TestSharedFilesAreTheirs has a root agent keep a profile for the one user that may ask.
func TestSharedFilesAreTheirs(t *testing.T) {
	if !asRoot(t) {
		return
	}
	k, dir := newKit(t), t.TempDir()
	a := k.agent(t, Config{Socket: filepath.Join(dir, "s"), UIDs: []int{other}, Tasks: []TaskConfig{taskOf("one", dir)}})
	eventually(t, "the profile is there", func() bool { return exists(filepath.Join(dir, "config")) })
	for _, f := range []string{"config", "one.token"} {
		if info, err := os.Lstat(filepath.Join(dir, f)); err != nil || !owned(info, other) {
			t.Errorf("%s is not theirs: %v", f, err)
		}
	}
	if info, err := os.Lstat(filepath.Join(dir, "one.sock")); err != nil || info.Mode().Perm() != socketOthers {
		t.Errorf("the socket is %v, %v", info.Mode(), err)
	}
	must(t, a.Close())
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("%v is left, %v", left, err)
	}
}

// TestHalfWrittenFilesGo is an agent that was killed between writing a file and putting
// it in its place.
func TestHalfWrittenFilesGo(t *testing.T) {
	k, dir := newKit(t), t.TempDir()
	socket, file, shared := filepath.Join(dir, "s"), filepath.Join(dir, "one.txt"), filepath.Join(dir, "config")
	j := newJournal(socket, self)
	must(t, j.serves(Config{Tasks: []TaskConfig{taskOf("one", dir)}}))
	for _, path := range []string{file, shared, j.path} {
		must(t, os.WriteFile(filepath.Join(dir, tempsOf(filepath.Base(path))+"ABCDEFGHIJ"), []byte("a secret"), 0o600))
	}
	foreign := filepath.Join(dir, tempsOf("somebody's")+"ABCDEFGHIJ")
	must(t, os.WriteFile(foreign, nil, 0o600))
	a := k.agent(t, Config{Socket: socket, Tasks: []TaskConfig{taskOf("two", dir)}})
	_, err := Ask(t.Context(), socket, StatusPath)
	must(t, err)
	must(t, a.Close())
	left, err := os.ReadDir(dir)
	must(t, err)
	if len(left) != 1 || left[0].Name() != filepath.Base(foreign) {
		t.Errorf("%v is left, want %s", left, foreign)
	}
}

// TestUsersChange is an agent that was killed, and has no other users when it is back.
func TestUsersChange(t *testing.T) {
	if !asRoot(t) {
		return
	}
	k, dir := newKit(t), t.TempDir()
	socket, shared := filepath.Join(dir, "s"), filepath.Join(dir, "config")
	must(t, newJournal(socket, other).serves(Config{Tasks: []TaskConfig{taskOf("one", dir)}}))
	must(t, os.WriteFile(shared, []byte("theirs\n"), 0o600))
	must(t, os.Chown(shared, other, other))
	must(t, setBlock(shared, "one/s3-prefix-read", []byte("x\n"), false, other))
	k.agent(t, Config{Socket: socket, Tasks: []TaskConfig{taskOf("two", t.TempDir())}})
	if got := read(t, shared); got != "theirs\n" {
		t.Errorf("what is left is %q", got)
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
			if all, err := fs.Glob(dir.FS(), tempsOf("f")+"*"); err == nil && len(all) > 0 {
				seen <- all
				return
			}
		}
	}()
	for {
		must(t, replaceIn(dir, "f", make([]byte, 1<<20), self))
		select {
		case <-seen:
			return
		default:
		}
	}
}

// TestKilledInAReload reads the journal while a reload ends what is gone, which takes
// as long as the broker does.
func TestKilledInAReload(t *testing.T) {
	k, dir := newKit(t), t.TempDir()
	p := newTap(t, k.h.Addr())
	k.client = k.dial(t, valetkey.WithAddr(p.addr()))
	before := Config{Socket: filepath.Join(dir, "s"), Tasks: []TaskConfig{taskOf("one", dir)}}
	a := k.agent(t, before)
	eventually(t, "it serves", func() bool { return exists(filepath.Join(dir, "one.env")) })
	after := before
	after.Tasks = []TaskConfig{taskOf("two", dir)}
	p.shut()
	done := make(chan error, 1)
	go func() { done <- a.Reload(after, nil) }()
	of := func(name string) (both bool) {
		text := read(t, a.journal.path)
		return strings.Contains(text, filepath.Join(dir, name+".txt")) && strings.Contains(text, name+"/s3-prefix-read")
	}
	eventually(t, "the new is noted", func() bool { return of("two") })
	if !of("one") {
		t.Error("what is not gone yet is not in the journal")
	}
	p.open()
	must(t, <-done)
	if of("one") || !of("two") {
		t.Errorf("the journal after: %s", read(t, a.journal.path))
	}
}
