package proc

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// stubborn is a command that SIGTERM does not end, and when it began.
func stubborn(t *testing.T, env ...string) (*exec.Cmd, string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "/bin/sh", "-c", `trap "" TERM; echo ready; while :; do sleep 0.05; done`)
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	_, err = bufio.NewReader(out).ReadString('\n')
	must(t, err)
	began, err := beginning(cmd.Process.Pid)
	must(t, err)
	return cmd, began
}

func TestGuardEndsTheCommand(t *testing.T) {
	cmd, began := stubborn(t)
	if _, abandoned := abandoned(strings.NewReader(fmt.Sprintf(commandLine, cmd.Process.Pid, began)+allIsWell), "task_of_nobody"); abandoned {
		t.Error("a session that ended well is abandoned")
	}
	// A number that has been given to another since.
	if command, abandoned := abandoned(strings.NewReader(fmt.Sprintf(commandLine, cmd.Process.Pid, "1")), "task_of_nobody"); !abandoned || command != nil {
		t.Errorf("another process of that number: %v, abandoned: %v", command, abandoned)
	}
	for _, said := range []string{"", "nonsense\n", "command x y\n"} {
		if command, abandoned := abandoned(strings.NewReader(said), "task_of_nobody"); !abandoned || command != nil || command.end() != nil {
			t.Errorf("after %q: %v, abandoned: %v", said, command, abandoned)
		}
	}
	command, abandoned := abandoned(strings.NewReader(fmt.Sprintf(commandLine, cmd.Process.Pid, began)), "task_of_nobody")
	if !abandoned || command == nil {
		t.Fatalf("%v, abandoned: %v", command, abandoned)
	}
	must(t, cmd.Process.Signal(syscall.SIGTERM))
	asked := time.Now()
	must(t, command.end())
	if took := time.Since(asked); took < EndTime || took > EndTime+5*time.Second {
		t.Errorf("it is given %v", took)
	}
	if err := cmd.Wait(); err == nil || exitStatus(cmd.ProcessState) != 128+int(syscall.SIGKILL) {
		t.Errorf("it ends with %v", err)
	}
}

// TestGuardWaitsNoLongerThanTheCommand ends it in time.
func TestGuardWaitsNoLongerThanTheCommand(t *testing.T) {
	cmd, began := stubborn(t)
	command, _ := abandoned(strings.NewReader(fmt.Sprintf(commandLine, cmd.Process.Pid, began)), "task_of_nobody")
	must(t, cmd.Process.Kill())
	asked := time.Now()
	must(t, command.end())
	if took := time.Since(asked); took >= EndTime {
		t.Errorf("it takes %v", took)
	}
	_ = cmd.Wait() // killed
}

// TestGuardFindsTheCommand is of a session killed before it could tell its guard.
func TestGuardFindsTheCommand(t *testing.T) {
	const task = "task_of_the_foundling"
	cmd, began := stubborn(t, TaskVariable+"="+task)
	for name, of := range map[string]string{"of no task": "", "of another": task + "s"} {
		if command, abandoned := abandoned(strings.NewReader(""), of); !abandoned || command != nil {
			t.Errorf("%s: %v, abandoned: %v", name, command, abandoned)
		}
	}
	// Its children have its environment; what was told and is gone is not looked for.
	gone := fmt.Sprintf(commandLine, cmd.Process.Pid, began+"0")
	if command, _ := abandoned(strings.NewReader(gone), task); command != nil {
		t.Error("another process is taken for the command that was told of")
	}
	command, abandoned := abandoned(strings.NewReader(""), task)
	if !abandoned || command == nil {
		t.Fatalf("%v, abandoned: %v", command, abandoned)
	}
	must(t, command.end())
	if err := cmd.Wait(); err == nil || exitStatus(cmd.ProcessState) != 128+int(syscall.SIGKILL) {
		t.Errorf("it ends with %v", err)
	}
}
