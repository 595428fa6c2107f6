package e2e_test

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	valetkeyv1 "github.com/valetkey/valetkey/proto/valetkey/v1"
)

// disk is a small file system that exists for the test's processes alone, in a
// mount namespace that one process holds open. It is gone with that process.
type disk struct {
	holder *exec.Cmd
	dir    string // as a process of the namespace sees it
}

// newDisk mounts it. Who is not root is root in a user namespace for it.
func newDisk(t *testing.T, dir, size string) *disk {
	t.Helper()
	must(t, os.Mkdir(dir, 0o700))
	attr := &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	if os.Getuid() != 0 {
		attr.Cloneflags |= syscall.CLONE_NEWUSER
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	k := &disk{dir: dir, holder: exec.Command("/bin/sh", "-c",
		`mount --make-rprivate / && mount -t tmpfs -o mode=0700,size="$2" tmpfs "$1" && echo mounted && exec cat`, "sh", dir, size)}
	k.holder.SysProcAttr, k.holder.Stderr = attr, os.Stderr
	hold, err := k.holder.StdinPipe() // it reads until we close it, or end
	must(t, err)
	said, err := k.holder.StdoutPipe()
	must(t, err)
	must(t, k.holder.Start())
	t.Cleanup(func() {
		_ = hold.Close()
		_ = k.holder.Wait() // told by the tests that needed it
	})
	if _, err := io.ReadFull(said, make([]byte, len("mounted\n"))); err != nil {
		t.Fatalf("mounting a file system of %s for the test: %v", size, err)
	}
	return k
}

// outside is a path that we can use for a file on the disk.
func (k *disk) outside(name string) string {
	return filepath.Join("/proc", strconv.Itoa(k.holder.Process.Pid), "root", k.dir, name)
}

// enter is the command that runs valetkeyd where the disk is.
func (k *disk) enter(t *testing.T, l *local) (string, []string) {
	t.Helper()
	args := []string{"--mount", "--target", strconv.Itoa(k.holder.Process.Pid)}
	if os.Getuid() != 0 {
		args = append(args, "--user", "--preserve-credentials")
	}
	enter, err := exec.LookPath("nsenter")
	must(t, err)
	return enter, append(append(args, "--", program(t, "valetkeyd")), l.args()...)
}

func (k *disk) start(t *testing.T, l *local) *daemon {
	t.Helper()
	path, args := k.enter(t, l)
	return start(t, path, awsEnv(), args...)
}

// free gives back so many bytes of what fill took.
func (k *disk) free(t *testing.T, n int64) {
	t.Helper()
	info, err := os.Stat(k.outside("filler"))
	must(t, err)
	must(t, os.Truncate(k.outside("filler"), info.Size()-n))
}

// fill leaves no byte free.
func (k *disk) fill(t *testing.T) {
	t.Helper()
	f, err := os.Create(k.outside("filler"))
	must(t, err)
	for block := make([]byte, 4096); err == nil; {
		_, err = f.Write(block)
	}
	must(t, f.Close())
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("filling the disk: %v", err)
	}
}

// TestDiskFillsAndEmpties fills the file system under a running broker. It must
// refuse by the right reason, go on serving the record, and work again, without a
// restart, when there is room.
func TestDiskFillsAndEmpties(t *testing.T) {
	l := newLocal(t)
	k := newDisk(t, l.path("disk"), "3m")
	l.edit(t, "valetkeyd.yaml", l.path("valetkey.db"), l.path("disk/valetkey.db"))
	d := k.start(t, l)
	c := l.dial(t, d, "alice")
	task := openTask(t, c)
	first, err := c.Agent.RequestGrant(t.Context(), ask(task))
	must(t, err)
	minted := []*valetkeyv1.RequestGrantResponse{first}

	k.fill(t)
	untilFull := func() {
		t.Helper()
		for err = nil; err == nil; {
			var resp *valetkeyv1.RequestGrantResponse
			if resp, err = c.Agent.RequestGrant(t.Context(), ask(task)); err == nil {
				minted = append(minted, resp)
			}
		}
		refused(t, err, valetkeyv1.ErrorReason_ERROR_REASON_LEDGER_UNAVAILABLE)
	}
	// A little room at a time: the last of it goes between an intent and its outcome.
	for range 12 {
		untilFull()
		k.free(t, 5*4096)
	}
	k.fill(t)
	// The write-ahead log may have room left in what it has of the disk, for a
	// transaction that is smaller than the one that failed.
	for inRow, tries := 0, 0; inRow < 5; tries++ {
		calls := l.sts.calls()
		resp, err := c.Agent.RequestGrant(t.Context(), ask(task))
		switch asked := l.sts.calls() > calls; {
		case err == nil:
			minted, inRow = append(minted, resp), 0
		case asked: // its intent found room, and its outcome did not
			inRow = 0
		default:
			inRow++
		}
		if err != nil {
			refused(t, err, valetkeyv1.ErrorReason_ERROR_REASON_LEDGER_UNAVAILABLE)
		}
		if tries == 200 {
			t.Fatal("the disk does not get full")
		}
	}
	release := &valetkeyv1.ReleaseGrantRequest{GrantId: first.GetGrant().GetId()}
	if _, err = c.Agent.ReleaseGrant(t.Context(), release); err != nil { // it is small, and may find room
		refused(t, err, valetkeyv1.ErrorReason_ERROR_REASON_LEDGER_UNAVAILABLE)
	}
	verify(t, l.site, d.log)

	must(t, os.Remove(k.outside("filler")))
	resp, err := c.Agent.RequestGrant(t.Context(), ask(task))
	must(t, err)
	minted = append(minted, resp)
	_, err = c.Agent.ReleaseGrant(t.Context(), release)
	must(t, err)
	verify(t, l.site, d.log)
	if code := d.term(t); code != 0 {
		t.Errorf("after SIGTERM it exits %d", code)
	}

	// The next one does not start without room to say that it did, and closes what
	// the full disk left open.
	k.fill(t)
	path, args := k.enter(t, l)
	if out, code := run(t, awsEnv(), path, args...); code != 1 || !strings.Contains(out.stderr, "store unavailable") {
		t.Errorf("on a full disk it exits %d: %s", code, out.stderr)
	}
	must(t, os.Remove(k.outside("filler")))
	d = k.start(t, l)
	eventually(t, 2*time.Minute, "every end of a credential is carried upstream", func() bool { return l.endsCarried(t, d.log) })
	verify(t, l.site, d.log)
	raw, log := readLog(t, l.site, d.log)
	for _, resp := range minted {
		recorded(t, resp.GetReceipt(), raw)
	}
	l.sessions(t, log)
	orphaned := count(log, func(e entry) bool { return e.Type == "issuance.orphaned" })
	if calls := l.sts.calls(); orphaned == 0 || calls != len(minted)+orphaned {
		t.Errorf("%d credentials given, %d orphaned, %d calls of the STS: the disk was never full between an intent and its outcome", len(minted), orphaned, calls)
	}
}
