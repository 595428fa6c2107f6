package helper

import (
	"bufio"
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// stubborn is a command that SIGTERM does not end, and when it began.
func stubborn(t *testing.T) (*exec.Cmd, string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "/bin/sh", "-c", `trap "" TERM; echo ready; while :; do sleep 0.05; done`)
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	_, err = bufio.NewReader(out).ReadString('\n')
	must(t, err)
	began, err := beginning(cmd.Process.Pid)
	must(t, err)
	return cmd, began
}

func TestGuardEndsTheCommand(t *testing.T) {
	cmd, began := stubborn(t)
	if _, abandoned := Abandoned(strings.NewReader(fmt.Sprintf(commandLine, cmd.Process.Pid, began) + allIsWell)); abandoned {
		t.Error("a session that ended well is abandoned")
	}
	// A number that has been given to another since.
	if command, abandoned := Abandoned(strings.NewReader(fmt.Sprintf(commandLine, cmd.Process.Pid, "1"))); !abandoned || command != nil {
		t.Errorf("another process of that number: %v, abandoned: %v", command, abandoned)
	}
	for _, said := range []string{"", "nonsense\n", "command x y\n"} {
		if command, abandoned := Abandoned(strings.NewReader(said)); !abandoned || command != nil || command.End() != nil {
			t.Errorf("after %q: %v, abandoned: %v", said, command, abandoned)
		}
	}
	command, abandoned := Abandoned(strings.NewReader(fmt.Sprintf(commandLine, cmd.Process.Pid, began)))
	if !abandoned || command == nil {
		t.Fatalf("%v, abandoned: %v", command, abandoned)
	}
	must(t, cmd.Process.Signal(syscall.SIGTERM))
	asked := time.Now()
	must(t, command.End())
	if took := time.Since(asked); took < endTime || took > endTime+5*time.Second {
		t.Errorf("it is given %v", took)
	}
	if err := cmd.Wait(); err == nil || exitStatus(cmd.ProcessState) != 128+int(syscall.SIGKILL) {
		t.Errorf("it ends with %v", err)
	}
}

// TestGuardWaitsNoLongerThanTheCommand ends it in time.
func TestGuardWaitsNoLongerThanTheCommand(t *testing.T) {
	cmd, began := stubborn(t)
	command, _ := Abandoned(strings.NewReader(fmt.Sprintf(commandLine, cmd.Process.Pid, began)))
	must(t, cmd.Process.Kill())
	asked := time.Now()
	must(t, command.End())
	if took := time.Since(asked); took >= endTime {
		t.Errorf("it takes %v", took)
	}
	_ = cmd.Wait() // killed
}
