//go:build tools

// Package tools pins kubectl, which the tests of the sidecar run.
package tools

import _ "k8s.io/kubernetes/cmd/kubectl"
