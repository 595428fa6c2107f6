package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/valetkey/valetkey/scopes"
)

// maxBlob is more than a scope's file may have, so that the loader is the one to refuse it, and to say so.
const maxBlob = 1 << 20

// openCatalog loads a catalog folder, or a folder of a git revision, REV:PATH. What is there as a folder is one.
func openCatalog(ctx context.Context, name string) (_ *scopes.Catalog, err error) {
	dir := name
	_, statErr := os.Stat(name)
	if rev, _, ok := strings.Cut(name, ":"); ok && errors.Is(statErr, os.ErrNotExist) {
		if rev == "" || strings.HasPrefix(rev, "-") {
			return nil, &usageError{fmt.Sprintf("%q names no revision; it is REV:PATH", name)}
		}
		if dir, err = os.MkdirTemp("", "valetkey-catalog-"); err != nil {
			return nil, fmt.Errorf("making a folder for %s: %w", name, err)
		}
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
		if err := checkout(ctx, name, dir); err != nil {
			return nil, err
		}
	}
	c, err := scopes.Load(dir)
	if err != nil {
		return nil, fmt.Errorf("loading catalog %s:\n%w", name, err)
	}
	return c, nil
}

// checkout writes the files of a tree into a folder, its own folders left out. It asks git for the tree and its blobs;
// git archive would leave out what the revision's own .gitattributes tell it to.
func checkout(ctx context.Context, tree, dir string) error {
	list, err := gitOutput(ctx, "ls-tree", "-z", "-l", "--full-tree", tree)
	if err != nil {
		return fmt.Errorf("reading %s: %w", tree, err)
	}
	for _, entry := range strings.Split(strings.TrimSuffix(string(list), "\x00"), "\x00") {
		head, name, _ := strings.Cut(entry, "\t")
		fields := strings.Fields(head) // mode, type, object, size
		ext := filepath.Ext(name)
		if len(fields) != 4 || fields[1] != "blob" || ext != ".yaml" && ext != ".yml" {
			continue
		}
		if fields[0] == "120000" {
			return fmt.Errorf("reading %s: %s is a symbolic link, which is not followed in a revision", tree, name)
		}
		if n, err := strconv.Atoi(fields[3]); err != nil || n > maxBlob {
			return fmt.Errorf("reading %s: %s has %s bytes, over %d", tree, name, fields[3], maxBlob)
		}
		if !filepath.IsLocal(name) || filepath.Base(name) != name {
			return fmt.Errorf("reading %s: %q is no name for a file", tree, name)
		}
		blob, err := gitOutput(ctx, "cat-file", "blob", fields[2])
		if err != nil {
			return fmt.Errorf("reading %s of %s: %w", name, tree, err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), blob, 0o600); err != nil {
			return fmt.Errorf("writing %s of %s: %w", name, tree, err)
		}
	}
	return nil
}

// gitOutput runs the user's git in the current folder.
func gitOutput(ctx context.Context, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "git", args...) //nolint:gosec // no shell, and no argument of the user's begins with a dash
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("running git %s: %w: %s", args[0], err, clean(strings.TrimSpace(stderr.String())))
	}
	return out, nil
}
