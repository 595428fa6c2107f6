//go:build !unix

package mcp

import (
	"os"
	"os/exec"
)

func group(*exec.Cmd, bool) {}

func killGroup(*exec.Cmd) {}

func exitStatus(p *os.ProcessState) int { return p.ExitCode() }
