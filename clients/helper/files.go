package helper

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// messageIn is the text of an error's body, or else the status.
func messageIn(body []byte, status string) string {
	var said struct{ Message string }
	if json.Unmarshal(body, &said) != nil || said.Message == "" {
		return status
	}
	return said.Message
}

// self is the owner of what is this user's own.
const self = -1

const (
	// tempPrefix begins the names of what is not in its place yet.
	tempPrefix = ".vk-"
	// tempRandom is how many letters of theirs are drawn.
	tempRandom = 10
)

// tempsOf begins the names of what is to become the file of a name, so that what a
// killed process has left of it can be told.
func tempsOf(name string) string {
	sum := sha256.Sum256([]byte(name))
	return tempPrefix + hex.EncodeToString(sum[:4]) + "-"
}

// writeSecret replaces a file as a whole, or leaves it as it was: readers see the
// old or the new, never half. It is 0600 from its first byte on, and owner's, which
// takes root where that is not self. A link, or a file of another user, is not
// replaced; and for another owner none of root's.
func writeSecret(path string, content []byte, owner int) error {
	dir, err := openFolder(filepath.Dir(path), owner)
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	if err := errors.Join(replaceIn(dir, filepath.Base(path), content, owner), dir.Close()); err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return nil
}

func replaceIn(dir *os.Root, name string, content []byte, owner int) (err error) {
	if info, err := dir.Lstat(name); err == nil {
		if !info.Mode().IsRegular() {
			return errors.New("there is something that is no file; remove it or name another")
		}
		if !owned(info, owner) {
			return errors.New("the file there is another user's; remove it or name another")
		}
	}
	temp := tempsOf(name) + rand.Text()[:tempRandom]
	f, err := dir.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, dir.Remove(temp))
		}
	}()
	if owner != self {
		if err := f.Chown(owner, -1); err != nil {
			return errors.Join(fmt.Errorf("giving it to user %d, which takes root: %w", owner, err), f.Close())
		}
	}
	if _, err := f.Write(content); err != nil {
		return errors.Join(err, f.Close())
	}
	// Synced, so that a full disk is found out now and not when it is read.
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return err
	}
	return dir.Rename(temp, name)
}

// removeFile removes a file of this user's that may be gone.
func removeFile(path string) error { return removeOf(path, self) }

// removeOf removes a file that writeSecret wrote, and that may be gone.
func removeOf(path string, owner int) error {
	dir, err := openFolder(filepath.Dir(path), owner)
	if err == nil {
		err = errors.Join(gone(dir.Remove(filepath.Base(path))), dir.Close())
	}
	if err := gone(err); err != nil {
		return fmt.Errorf("removing %s: %w", path, err)
	}
	return nil
}

// gone takes what is not there for removed.
func gone(err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

// sweep removes what a killed process has left of a file that it was writing. Who
// writes into it now holds the folder's lock, or is this process.
func sweep(path string, owner int) (err error) {
	defer func() {
		if err = gone(err); err != nil {
			err = fmt.Errorf("removing what was left of %s: %w", path, err)
		}
	}()
	dir, err := openFolder(filepath.Dir(path), owner)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dir.Close()) }()
	temps, err := fs.Glob(dir.FS(), tempsOf(filepath.Base(path))+"*")
	if err != nil || len(temps) == 0 {
		return err
	}
	unlock, err := lockFolder(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	var errs []error
	for _, name := range temps {
		info, err := dir.Lstat(name)
		if err == nil && info.Mode().IsRegular() && (owned(info, owner) || owned(info, self)) {
			errs = append(errs, gone(dir.Remove(name)))
		}
	}
	return errors.Join(errs...)
}

// envText writes variables for a shell and for systemd's EnvironmentFile, without
// the empty ones.
func envText(vars map[string]string) []byte {
	var b strings.Builder
	for _, k := range slices.Sorted(maps.Keys(vars)) {
		if v := vars[k]; v != "" {
			fmt.Fprintf(&b, "%s=%s\n", k, quoteShell(v))
		}
	}
	return []byte(b.String())
}

// quoteShell makes one word of any text, and leaves plain ones as they are.
func quoteShell(s string) string {
	if !strings.ContainsFunc(s, func(r rune) bool {
		return !strings.ContainsRune("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789%+,-./:=@_", r)
	}) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
