//go:build unix && !linux

package mcp

import "syscall"

// groupAttr has a command lead a process group.
func groupAttr() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
