package helper

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// setBlock puts content between two lines of comment in a file that others write,
// too, in place of what was there between them; nil content removes the lines. Both
// AWS's config files and libpq's password files have comments that begin with "#".
// front puts a new block first: libpq takes the first line that fits.
func setBlock(path, name string, content []byte, front bool) (err error) {
	// Followed, so that a link into somebody's dotfiles stays one.
	if to, err := filepath.EvalSymlinks(path); err == nil {
		path = to
	}
	unlock, err := lockFolder(filepath.Dir(path))
	if err != nil {
		return fmt.Errorf("changing %s: %w", path, err)
	}
	defer func() { err = errors.Join(err, unlock()) }()
	old, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("reading %s: %w", path, err)
	}
	now, err := withBlock(old, name, content, front)
	switch {
	case err != nil:
		return fmt.Errorf("changing %s: %w", path, err)
	case bytes.Equal(old, now):
		return nil
	case len(now) == 0:
		return removeFile(path)
	}
	return writeSecret(path, now, self)
}

// withBlock is the text with the block in it.
func withBlock(old []byte, name string, content []byte, front bool) ([]byte, error) {
	begin, end := []byte("# valetkey begin "+name+"\n"), []byte("# valetkey end "+name+"\n")
	var block []byte
	if content != nil {
		block = bytes.Join([][]byte{begin, content, end}, nil)
	}
	i, j := lineAt(old, begin), lineAt(old, end)
	switch {
	case i >= 0 && j > i:
		return bytes.Join([][]byte{old[:i], block, old[j+len(end):]}, nil), nil
	case i >= 0 || j >= 0:
		return nil, fmt.Errorf("one of the lines around %q is gone: remove the other", name)
	case content == nil:
		return old, nil
	case front:
		return append(block, old...), nil
	}
	if len(old) > 0 && old[len(old)-1] != '\n' {
		old = append(bytes.Clone(old), '\n')
	}
	return append(bytes.Clone(old), block...), nil
}

// lineAt finds a whole line.
func lineAt(text, line []byte) int {
	if bytes.HasPrefix(text, line) {
		return 0
	}
	if i := bytes.Index(text, append([]byte("\n"), line...)); i >= 0 {
		return i + 1
	}
	return -1
}
