//go:build !linux

package mcp

import "errors"

// Keep runs nothing where the system has no subreapers.
func Keep(string, []string) (int, error) {
	return 0, errors.New("this system has no way to end all that a command starts")
}
