package mcp

import "syscall"

// groupAttr has a command, or its keeper, lead a process group, and the kernel end it
// where this process is killed.
func groupAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
}
