package agent

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/valetkey/valetkey/broker/brokertest/clienttest"
	"github.com/valetkey/valetkey/clients/helper/files"
	"github.com/valetkey/valetkey/clients/helper/serve"
	"github.com/valetkey/valetkey/clients/valetkey"
)

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
	specs := []serve.ScopeSpec{{Scope: "s3-prefix-read", Params: valetkey.Params{"bucket": {"prod"}, "prefix": {"a/"}}}}
	k, dir := newKit(t), ofOther(t)
	_, victim := planted(t, filepath.Join(dir, "agent.sock"))
	task := taskOf("one", t.TempDir())
	if _, err := New(Setup{Client: k.Client, Config: Config{Socket: filepath.Join(dir, "agent.sock"), Tasks: []TaskConfig{task}}, Log: discard()}); !errors.Is(err, files.ErrFolder) {
		t.Errorf("an agent starts there: %v", err)
	}
	link := filepath.Join(t.TempDir(), "link")
	must(t, os.Symlink(t.TempDir(), link))
	for _, dir := range []string{dir, link} {
		_, err := Quick(t.Context(), k.Client, dir, "task", clienttest.Task, specs)
		if err == nil || !strings.Contains(err.Error(), "name another") {
			t.Errorf("files without a configuration go to %s: %v", dir, err)
		}
	}
	if !exists(victim) {
		t.Error("what the planted journal names was removed")
	}
	made := filepath.Join(t.TempDir(), "run", "valetkey")
	_, err := Quick(t.Context(), k.Client, made, "task", clienttest.Task, specs)
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
		"another's": {func(j string) error { return os.Chown(j, clienttest.Other, clienttest.Other) }, false},
	} {
		if name == "another's" && !asRoot(t) {
			continue
		}
		socket := filepath.Join(t.TempDir(), "s")
		journal, victim := planted(t, socket)
		must(t, c.change(journal))
		left, err := newJournal(socket, files.Self).read()
		if (err == nil) != c.want || (len(left.Files) == 1 && left.Files[0] == victim) != c.want {
			t.Errorf("%s: %+v, %v", name, left, err)
		}
	}
}

// TestSharedFilesAreTheirs has a root agent keep a profile for the one user that may ask.
func TestSharedFilesAreTheirs(t *testing.T) {
	if !asRoot(t) {
		return
	}
	k, dir := newKit(t), t.TempDir()
	a := newAgent(t, k, Config{Socket: filepath.Join(dir, "s"), UIDs: []int{clienttest.Other}, Tasks: []TaskConfig{taskOf("one", dir)}})
	eventually(t, "the profile is there", func() bool { return exists(filepath.Join(dir, "config")) })
	for _, f := range []string{"config", "one.token"} {
		if info, err := os.Lstat(filepath.Join(dir, f)); err != nil || info.Sys().(*syscall.Stat_t).Uid != clienttest.Other {
			t.Errorf("%s is not theirs: %v", f, err)
		}
	}
	if info, err := os.Lstat(filepath.Join(dir, "one.sock")); err != nil || info.Mode().Perm() != files.SocketOthers {
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
	j := newJournal(socket, files.Self)
	must(t, j.serves(Config{Tasks: []TaskConfig{taskOf("one", dir)}}))
	for _, path := range []string{file, shared, j.path} {
		must(t, os.WriteFile(filepath.Join(dir, files.TempsOf(filepath.Base(path))+"ABCDEFGHIJ"), []byte("a secret"), 0o600))
	}
	foreign := filepath.Join(dir, files.TempsOf("somebody's")+"ABCDEFGHIJ")
	must(t, os.WriteFile(foreign, nil, 0o600))
	a := newAgent(t, k, Config{Socket: socket, Tasks: []TaskConfig{taskOf("two", dir)}})
	_, err := serve.Ask(t.Context(), socket, StatusPath)
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
	must(t, newJournal(socket, clienttest.Other).serves(Config{Tasks: []TaskConfig{taskOf("one", dir)}}))
	must(t, os.WriteFile(shared, []byte("theirs\n"), 0o600))
	must(t, os.Chown(shared, clienttest.Other, clienttest.Other))
	must(t, files.SetBlock(shared, "one/s3-prefix-read", []byte("x\n"), false, clienttest.Other))
	newAgent(t, k, Config{Socket: socket, Tasks: []TaskConfig{taskOf("two", t.TempDir())}})
	if got := read(t, shared); got != "theirs\n" {
		t.Errorf("what is left is %q", got)
	}
}

// TestKilledInAReload reads the journal while a reload ends what is gone, which takes
// as long as the broker does.
func TestKilledInAReload(t *testing.T) {
	k, dir := newKit(t), t.TempDir()
	p := clienttest.NewTap(t, k.H.Addr())
	k.Client = k.Dial(t, valetkey.WithAddr(p.Addr()))
	before := Config{Socket: filepath.Join(dir, "s"), Tasks: []TaskConfig{taskOf("one", dir)}}
	a := newAgent(t, k, before)
	eventually(t, "it serves", func() bool { return exists(filepath.Join(dir, "one.env")) })
	after := before
	after.Tasks = []TaskConfig{taskOf("two", dir)}
	p.Shut()
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
	p.Open()
	must(t, <-done)
	if of("one") || !of("two") {
		t.Errorf("the journal after: %s", read(t, a.journal.path))
	}
}
