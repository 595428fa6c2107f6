package mcp

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/valetkey/valetkey/clients/helper"
)

// ReadToken reads the bearer token from a file, and makes the file where there is
// none. It refuses one that others can read or write (any mode but 0600 and 0400) or
// that is another user's, and anything that is no plain file.
func ReadToken(name string) (string, error) {
	made, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	switch {
	case err == nil:
		token := rand.Text() + rand.Text()
		_, err := made.WriteString(token + "\n")
		if err := errors.Join(err, made.Close()); err != nil {
			return "", fmt.Errorf("writing the token file: %w", err)
		}
		return token, nil
	case !errors.Is(err, fs.ErrExist):
		return "", fmt.Errorf("making the token file: %w", err)
	}
	// A link passes by what it leads to. Asked before it is opened: a pipe would wait.
	if info, err := os.Stat(name); err == nil && !info.Mode().IsRegular() {
		return "", fmt.Errorf("the token file %s is no plain file", name)
	}
	f, err := os.Open(name)
	if err != nil {
		return "", fmt.Errorf("reading the token file: %w", err)
	}
	defer func() { _ = f.Close() }() // only read
	info, err := f.Stat()
	switch {
	case err != nil:
		return "", fmt.Errorf("reading the token file: %w", err)
	case !info.Mode().IsRegular():
		return "", fmt.Errorf("the token file %s is no plain file", name)
	case !helper.Own(info): // root could read it, and so can who owns it
		return "", fmt.Errorf("the token file %s is another user's, who knows what is in it; name one of your own", name)
	case info.Mode().Perm()&0o077 != 0:
		return "", fmt.Errorf("the token file %s has mode %#o: others may read it; make a new one, or chmod 600 it", name, info.Mode().Perm())
	}
	raw, err := io.ReadAll(io.LimitReader(f, 4096))
	if err != nil {
		return "", fmt.Errorf("reading the token file: %w", err)
	}
	token := strings.TrimSpace(string(raw))
	if len(token) < minToken || strings.ContainsAny(token, " \t\r\n") {
		return "", fmt.Errorf("the token file %s holds no token: one line of %d characters at least; remove it to have one made", name, minToken)
	}
	return token, nil
}
