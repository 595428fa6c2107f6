package main

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

func TestConceal(t *testing.T) {
	t.Cleanup(func() {
		if err := unix.Prctl(unix.PR_SET_DUMPABLE, 1, 0, 0, 0); err != nil {
			t.Error(err)
		}
	})
	if err := conceal(); err != nil {
		t.Fatal(err)
	}
	if v, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0); v != 0 || err != nil {
		t.Errorf("it can be looked into: %d, %v", v, err)
	}
	// What this program needs of its own.
	if _, err := os.Executable(); err != nil {
		t.Error(err)
	}
}
