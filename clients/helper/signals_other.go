//go:build !unix

package helper

import "os"

var forwarded = []os.Signal{os.Interrupt}

// fromTerminal: a console sends its signals to every process of it.
func fromTerminal(os.Signal) bool { return true }
