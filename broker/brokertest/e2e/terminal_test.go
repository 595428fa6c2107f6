package e2e_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
)

// What a terminal makes of a key: interrupt, quit, suspend.
const (
	ctrlC         = "\x03"
	ctrlBackslash = "\x1c"
	ctrlZ         = "\x1a"
)

// terminal is one with a command on it, and whoever sits in front of it.
type terminal struct {
	cmd  *exec.Cmd
	pty  *os.File
	done chan struct{} // closed when the command has ended

	mu   sync.Mutex
	said bytes.Buffer // what is on the screen; locked by mu
	seen int          // of said, by shows; locked by mu
}

// terminal starts a command as the leader of a session whose terminal is a new one.
func (s *sidecar) terminal(t *testing.T, env []string, path string, args ...string) *terminal {
	t.Helper()
	x := &terminal{cmd: exec.Command(path, args...), done: make(chan struct{})}
	x.cmd.Env = append(append(append(os.Environ(), s.operators(t)...), s.env...), append(env, "TERM=dumb", "PATH="+binaries+":"+os.Getenv("PATH"))...)
	blocking, err := pty.Start(x.cmd)
	must(t, err)
	// Of a file that does not block: Close ends a Read of such a one, and with it the terminal.
	fd, err := syscall.Dup(int(blocking.Fd()))
	must(t, err)
	must(t, blocking.Close())
	must(t, syscall.SetNonblock(fd, true))
	x.pty = os.NewFile(uintptr(fd), "terminal")
	read := make(chan struct{})
	go func() {
		defer close(read)
		for buf := make([]byte, 4096); ; {
			n, err := x.pty.Read(buf)
			x.mu.Lock()
			x.said.Write(buf[:n])
			x.mu.Unlock()
			if err != nil { // nobody is left who has it open
				return
			}
		}
	}()
	go func() {
		_ = x.cmd.Wait() // its state is what counts
		close(x.done)
	}()
	t.Cleanup(func() {
		_ = x.cmd.Process.Kill() // it may have ended
		<-x.done
		_ = x.pty.Close() // some tests do
		<-read
		if t.Failed() {
			t.Logf("on the terminal is:\n%s", x.screen())
		}
	})
	return x
}

func (x *terminal) screen() string {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.said.String()
}

func (x *terminal) types(t *testing.T, text string) {
	t.Helper()
	_, err := x.pty.WriteString(text)
	must(t, err)
}

// shows waits for a text behind the one that it waited for before. What is typed
// shows, too: write "ec"ho for echo there.
func (x *terminal) shows(t *testing.T, text string) {
	t.Helper()
	eventually(t, 2*time.Minute, "the terminal shows "+text, func() bool {
		x.mu.Lock()
		defer x.mu.Unlock()
		i := strings.Index(x.said.String()[x.seen:], text)
		if i >= 0 {
			x.seen += i + len(text)
		}
		return i >= 0
	})
}

// ends is the command's status, as a shell has it.
func (x *terminal) ends(t *testing.T) int {
	t.Helper()
	select {
	case <-x.done:
	case <-time.After(2 * time.Minute):
		t.Fatal("it does not end")
	}
	if ws, ok := x.cmd.ProcessState.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return x.cmd.ProcessState.ExitCode()
}

// onTerminal runs valetkey exec of a shell's script there.
func (s *sidecar) onTerminal(t *testing.T, script string) *terminal {
	t.Helper()
	return s.terminal(t, nil, program(t, "valetkey"), append(append([]string{"exec", "-e", "staging"}, strings.Fields(readScope)...), "--", "/bin/sh", "-c", script)...)
}

// closed wants every task that was opened to be closed, and nothing to be left.
func (s *sidecar) closed(t *testing.T) {
	t.Helper()
	s.nothingLeft(t)
	vkey, err := os.ReadFile(filepath.Join(s.dev, "ledger.key.pub"))
	must(t, err)
	eventually(t, revocationLimit, "every task is closed", func() bool {
		_, log := readLog(t, &site{dir: s.dev, vkey: strings.TrimSpace(string(vkey))}, s.log)
		opened := count(log, func(e entry) bool { return e.Type == "task.opened" })
		return opened > 0 && opened == count(log, func(e entry) bool { return e.Type == "task.closed" })
	})
}

// countsInterrupts is a program that says of each interrupt which process it is from.
// It takes them one by one, where a shell makes one of two that are close.
const countsInterrupts = `
import os, signal, sys
for f in range(3): assert os.isatty(f)
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
print("ready", flush=True)
n = 0
while not os.path.exists(sys.argv[1]):
    got = signal.sigtimedwait({signal.SIGINT}, 0.05)
    if got:
        n += 1
        print("got %d, from %d." % (n, got.si_pid), flush=True)
print("in all %d." % n)
sys.exit(9)
`

// TestExecAtATerminal types what ends a program at a terminal that valetkey exec has
// with its command.
func TestExecAtATerminal(t *testing.T) {
	s := newSidecar(t).start(t)
	const sleeps = "echo ready; exec sleep 1000"
	for name, c := range map[string]struct {
		keys string
		code int
	}{
		"interrupt": {ctrlC, 130}, "quit": {ctrlBackslash, 131}, "interrupt, twice in a row": {ctrlC + ctrlC, 130},
	} {
		t.Run(name, func(t *testing.T) {
			x := s.onTerminal(t, "ulimit -c 0; "+sleeps)
			x.shows(t, "ready")
			x.types(t, c.keys)
			if code := x.ends(t); code != c.code {
				t.Errorf("exits %d, want %d", code, c.code)
			}
			s.closed(t)
		})
	}
	t.Run("a command that handles it", func(t *testing.T) {
		stop := filepath.Join(s.dir, "stop")
		x := s.onTerminal(t, "exec "+filepath.Join(clientsDir(t), "python3")+" -c '"+countsInterrupts+"' "+stop)
		x.shows(t, "ready")
		for n := range 10 {
			x.types(t, ctrlC)
			x.shows(t, fmt.Sprintf("got %d, from 0.", n+1)) // which is the kernel
		}
		must(t, os.WriteFile(stop, nil, 0o600))
		x.shows(t, "in all 10.")
		if code := x.ends(t); code != 9 {
			t.Errorf("exits %d and not with the command's own status", code)
		}
		s.closed(t)
	})
	t.Run("the terminal goes away", func(t *testing.T) {
		x := s.onTerminal(t, sleeps)
		x.shows(t, "ready")
		must(t, x.pty.Close())
		x.ends(t)
		s.closed(t)
	})
	t.Run("a job of a shell", func(t *testing.T) {
		x := s.terminal(t, []string{"PS1=" + prompt}, "/bin/sh", "-i")
		x.shows(t, prompt)
		x.interrupts(t, "valetkey exec -e staging "+readScope+" -- sh -c '"+`echo "rea"dy; exec sleep 1000'`)
		x.types(t, "exit\n")
		x.ends(t)
		s.closed(t)
	})
}

// prompt is what the shells are told to say.
const prompt = "yes? "

// interrupts runs a job that says "ready" in a shell, stops it, has it go on, and ends
// it; the shell is there after each.
func (x *terminal) interrupts(t *testing.T, job string) {
	t.Helper()
	x.types(t, job+"\n")
	x.shows(t, "ready")
	x.types(t, ctrlZ)
	x.shows(t, "Stopped")
	x.shows(t, prompt)
	x.types(t, "fg\n")
	x.shows(t, "exec sleep 1000") // the shell says what goes on
	x.types(t, ctrlC)
	x.shows(t, prompt)
	x.types(t, `echo it "was" $?.`+"\n")
	x.shows(t, "it was 130.")
	x.shows(t, prompt)
}

// interruptsThePrompt has a shell say its prompt anew. One that has only just said it may not listen yet, and drops a
// Ctrl-C: then comes another.
func (x *terminal) interruptsThePrompt(t *testing.T) {
	t.Helper()
	x.mu.Lock()
	before := x.seen
	x.mu.Unlock()
	var typed time.Time
	eventually(t, 2*time.Minute, "the prompt is there again", func() bool {
		if strings.Contains(x.screen()[before:], prompt) {
			return true
		}
		if time.Since(typed) > time.Second {
			x.types(t, ctrlC)
			typed = time.Now()
		}
		return false
	})
	x.shows(t, prompt)
}

// TestShellAtATerminal has jobs be interrupted, stopped and continued in a shell of
// valetkey shell, which goes on.
func TestShellAtATerminal(t *testing.T) {
	s := newSidecar(t).start(t)
	must(t, os.WriteFile(filepath.Join(s.mkdir(t, "home"), ".bashrc"), []byte("PS1='"+prompt+"'\n"), 0o600)) // over the system's
	for _, shell := range []string{"/bin/bash", "/bin/sh"} {
		t.Run(filepath.Base(shell), func(t *testing.T) {
			x := s.terminal(t, []string{"SHELL=" + shell, "PS1=" + prompt}, program(t, "valetkey"), append([]string{"shell", "-e", "staging"}, strings.Fields(readScope)...)...)
			x.shows(t, "this shell has the task's credentials")
			x.shows(t, prompt)
			x.interruptsThePrompt(t)
			x.types(t, `test -n "$AWS_CONTAINER_CREDENTIALS_FULL_URI" && echo it "has".`+"\n")
			x.shows(t, "it has.")
			x.interrupts(t, `sh -c 'echo "rea"dy; exec sleep 1000'`)
			x.types(t, "exit 4\n")
			if code := x.ends(t); code != 4 {
				t.Errorf("exits %d", code)
			}
			if strings.Contains(x.screen(), "job control") {
				t.Error("the shell has no job control")
			}
			s.closed(t)
		})
	}
}
