//go:build !linux

package servers

import "syscall"

// dieWithParent does nothing: only Linux can signal the child of a dead parent.
func dieWithParent() *syscall.SysProcAttr { return &syscall.SysProcAttr{} }
