//go:build !linux

package helper

import "errors"

// Orphan is a command whose session was killed. Nothing ends it here.
type Orphan struct{}

func adopt(int, string) *Orphan { return nil }

// End does nothing.
func (*Orphan) End() error { return nil }

func beginning(int) (string, error) { return "", errors.ErrUnsupported }
