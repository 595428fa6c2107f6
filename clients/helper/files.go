package helper

import (
	"encoding/json"
	"errors"
	"fmt"
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

// writeSecret replaces a file as a whole, or leaves it as it was: readers see the
// old or the new, never half. It is 0600 from its first byte on, and owner's, which
// takes root where that is not self. A link, or a file of another user, is not
// replaced.
func writeSecret(path string, content []byte, owner int) (err error) {
	if info, err := os.Lstat(path); err == nil {
		if !info.Mode().IsRegular() {
			return fmt.Errorf("writing %s: there is something that is no file; remove it or name another", path)
		}
		if !owned(info, owner) {
			return fmt.Errorf("writing %s: the file there is another user's; remove it or name another", path)
		}
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".vk-*") // 0600
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	if owner != self {
		if err := f.Chown(owner, -1); err != nil {
			return errors.Join(fmt.Errorf("giving %s to user %d, which takes root: %w", path, owner, err), f.Close())
		}
	}
	if _, err := f.Write(content); err != nil {
		return errors.Join(fmt.Errorf("writing %s: %w", path, err), f.Close())
	}
	// Synced, so that a full disk is found out now and not when it is read.
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return nil
}

// removeFile removes a file that may be gone.
func removeFile(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("removing %s: %w", path, err)
	}
	return nil
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
