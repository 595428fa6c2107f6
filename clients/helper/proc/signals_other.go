//go:build !unix

package proc

import (
	"os"
	"os/exec"
)

var forwarded = []os.Signal{os.Interrupt}

// fromTerminal: a console sends its signals to every process of it.
func fromTerminal(os.Signal) bool { return true }

func group(*exec.Cmd, bool) {}

func killGroup(*exec.Cmd) {}
