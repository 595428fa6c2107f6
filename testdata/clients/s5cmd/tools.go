//go:build tools

// Package tools pins s5cmd, which the tests of the sidecar run.
package tools

import _ "github.com/peak/s5cmd/v2"
