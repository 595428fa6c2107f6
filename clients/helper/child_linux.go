package helper

import "syscall"

// childAttr has the kernel end the command with SIGTERM where this process is
// killed: what it was served is gone then.
func childAttr() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM} }

// guardAttr keeps a terminal's signals from the guard, and those to a group.
func guardAttr() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }
