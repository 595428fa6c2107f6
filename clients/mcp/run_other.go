//go:build !unix

package mcp

import (
	"os"
	"os/exec"
)

func group(*exec.Cmd) {}

func killGroup(*exec.Cmd) {}

func exitStatus(p *os.ProcessState) int { return p.ExitCode() }
