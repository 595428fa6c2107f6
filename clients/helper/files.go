package helper

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// messageIn is the text of an error's body, or else the status.
func messageIn(body []byte, status string) string {
	var said struct{ Message string }
	if json.Unmarshal(body, &said) != nil || said.Message == "" {
		return status
	}
	return said.Message
}

// writeSecret replaces a file as a whole, or leaves it as it was: readers see the
// old or the new, never half. It is 0600 from its first byte on. A link, or a file
// of another user, is not replaced.
func writeSecret(path string, content []byte) (err error) {
	if info, err := os.Lstat(path); err == nil {
		if !info.Mode().IsRegular() {
			return fmt.Errorf("writing %s: there is something that is no file; remove it or name another", path)
		}
		if !owned(info) {
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
