package files

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// SetBlock puts content between two lines of comment in a file that others write,
// too, in place of what was there between them; nil content removes the lines. Both
// AWS's config files and libpq's password files have comments that begin with "#".
// front puts a new block first: libpq takes the first line that fits. The file is
// owner's, as Write has it.
func SetBlock(path, name string, content []byte, front bool, owner int) (err error) {
	path = TargetOf(path, owner)
	defer func() {
		if err != nil {
			err = fmt.Errorf("changing %s: %w", path, err)
		}
	}()
	dir, err := openFolder(filepath.Dir(path), owner)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dir.Close()) }()
	unlock, err := lockFolder(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	file := filepath.Base(path)
	old, mine, err := readIn(dir, file, owner)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	now, err := withBlock(old, name, content, front)
	switch {
	case err != nil:
		return err
	case bytes.Equal(old, now):
		return nil
	case old != nil && !mine:
		return errors.New("the file there is another user's; remove it or name another")
	case len(now) == 0:
		return gone(dir.Remove(file))
	}
	return replaceIn(dir, file, now, owner)
}

// TargetOf follows a link, so that one into somebody's dotfiles stays one; but none
// for another owner, whose it may be.
func TargetOf(path string, owner int) string {
	if owner != Self {
		return path
	}
	if to, err := filepath.EvalSymlinks(path); err == nil {
		return to
	}
	return path
}

// readIn reads a file, and says whether it is owner's.
func readIn(dir *os.Root, name string, owner int) (_ []byte, mine bool, err error) {
	f, err := dir.OpenFile(name, os.O_RDONLY|noWait, 0)
	if err != nil {
		return nil, false, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return nil, false, err
	}
	if !info.Mode().IsRegular() {
		return nil, false, errors.New("there is something that is no file; remove it or name another")
	}
	text, err := io.ReadAll(f)
	return text, owned(info, owner), err
}

// withBlock is the text with the block in it.
func withBlock(old []byte, name string, content []byte, front bool) ([]byte, error) {
	begin, end := "# valetkey begin "+name, "# valetkey end "+name
	var block []byte
	if content != nil {
		block = fmt.Appendf(nil, "%s\n%s%s\n", begin, content, end)
	}
	i, _ := lineAt(old, begin)
	j, after := lineAt(old, end)
	switch {
	case i >= 0 && j > i:
		return bytes.Join([][]byte{old[:i], block, old[after:]}, nil), nil
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

// lineAt finds a whole line, and where the next begins; -1 without one. An editor
// may have ended it in another way, or not at all.
func lineAt(text []byte, line string) (at, after int) {
	for l := range bytes.Lines(text) {
		after = at + len(l)
		if string(bytes.TrimSuffix(bytes.TrimSuffix(l, []byte("\n")), []byte("\r"))) == line {
			return at, after
		}
		at = after
	}
	return -1, -1
}
