//go:build tools

// Package vault pins the Vault server that the tests run.
package vault

import _ "github.com/hashicorp/vault"
