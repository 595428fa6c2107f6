package main

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// conceal closes this process's memory and environment to other processes of its
// user, in /proc and for debuggers: prctl(2), PR_SET_DUMPABLE. Root reads on. A
// SPIRE agent that is not root cannot see by which file this runs (its unix
// attestor's discover_workload_path); all else that attests goes on.
func conceal() error {
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("closing this process to others of its user: %w", err)
	}
	return nil
}
