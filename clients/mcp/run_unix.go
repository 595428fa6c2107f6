//go:build unix

package mcp

import (
	"os"
	"os/exec"
	"syscall"
)

// group has the command lead a process group, which the end of its time ends. A keeper
// is told alone: it tells the others.
func group(cmd *exec.Cmd, kept bool) {
	cmd.SysProcAttr = groupAttr()
	cmd.Cancel = func() error {
		if kept {
			return cmd.Process.Signal(syscall.SIGTERM)
		}
		return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM)
	}
}

// killGroup ends what is left of it.
func killGroup(cmd *exec.Cmd) {
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // nothing is left, mostly
}

func exitStatus(p *os.ProcessState) int {
	if ws, ok := p.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return p.ExitCode()
}
