// Package catalog embeds the example catalog: what valetkeyd dev serves, and
// what the tests and the documents speak of.
package catalog

import "embed"

// Files holds the scopes, and the policies and their tables beside them.
//
//go:embed *.yaml policies tests
var Files embed.FS
