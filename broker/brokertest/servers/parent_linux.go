package servers

import "syscall"

// dieWithParent has the kernel stop the server when a test binary is killed, for
// instance by its own timeout, and its clean-up never runs.
func dieWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
