package mcp

import (
	"crypto/rand"

	"github.com/valetkey/valetkey/clients/helper/files"
)

// NewToken makes a bearer token and leaves it in a file, mode 0600, in place of the one
// before: what somebody got hold of while no server ran opens nothing. Call it when the
// server's address is its own. A file of another user's, or anything that is no plain
// file, is not replaced.
func NewToken(file string) (string, error) {
	token := rand.Text() + rand.Text()
	return token, files.Write(file, []byte(token+"\n"), files.Self)
}
