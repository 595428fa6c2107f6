// Package catalog embeds the example catalog: what valetkeyd dev serves, and
// what the tests and the documents speak of.
package catalog

import "embed"

// Files holds the scopes, the policies and their tables beside them, and what the
// example's roles have.
//
//go:embed *.yaml policies tests ceilings
var Files embed.FS
