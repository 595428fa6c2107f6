//go:build !linux

package proc

import (
	"errors"
	"syscall"
)

// orphan is a command whose session was killed. Nothing ends it here.
type orphan struct{}

func adopt(int, string) *orphan { return nil }

func foundling(string) *orphan { return nil }

// end does nothing.
func (*orphan) end() error { return nil }

func beginning(int) (string, error) { return "", errors.ErrUnsupported }

// Keep runs nothing where the system has no subreapers.
func Keep(string, []string) (int, error) {
	return 0, errors.New("this system has no way to end all that a command starts")
}

func childAttr() *syscall.SysProcAttr { return &syscall.SysProcAttr{} }

func guardAttr() *syscall.SysProcAttr { return nil }
