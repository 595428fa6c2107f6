// Package e2e_test runs the real binaries against the real servers: valetkeyd
// and valetkey as they are shipped, SPIRE, MinIO and Vault as others ship them.
//
// Laws:
//   - Nothing of the broker runs inside the tests: they see what a user sees.
//   - What was answered is held against the record, and the record is read
//     without the broker's code.
//   - A missing server or a binary that does not build fails; nothing skips.
package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/valetkey/valetkey/broker/brokertest/servers"
)

// binaries is where TestMain built them; the tests only read it.
var binaries string

// TestMain builds what the tests run. A build that fails is told by each test,
// so that no run passes because nothing ran.
func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "vk-e2e-bin-")
	if err == nil {
		err = build(dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "building the binaries:", err)
	} else {
		binaries = dir
	}
	code := m.Run()
	if err := errors.Join(err, os.RemoveAll(dir)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = max(code, 1)
	}
	os.Exit(code)
}

func build(dir string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", "build", "-o", dir+string(filepath.Separator),
		"github.com/valetkey/valetkey/cmd/valetkeyd", "github.com/valetkey/valetkey/cmd/valetkey",
		"github.com/valetkey/valetkey/cmd/"+pluginName)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	// What dev mode brings is a module of its own; "make servers" has built it.
	target, err := servers.Binary("valetkey-target")
	if err != nil {
		return err
	}
	return os.Symlink(target, filepath.Join(dir, "valetkey-target"))
}

// program is the path of one of ours.
func program(t *testing.T, name string) string {
	t.Helper()
	if binaries == "" {
		t.Fatalf("%s was not built; TestMain said why", name)
	}
	return filepath.Join(binaries, name)
}

// shortDir is a temporary folder whose name leaves room for a socket's path,
// which t.TempDir's does not.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "vk-e2e-")
	must(t, err)
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Log(err)
		}
	})
	return dir
}

// eventually polls ok until it holds, and fails the test after limit.
func eventually(t *testing.T, limit time.Duration, what string, ok func() bool) {
	t.Helper()
	end := time.NewTimer(limit)
	defer end.Stop()
	tick := time.NewTicker(25 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-end.C:
			t.Fatalf("not within %v: %s", limit, what)
		case <-tick.C:
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
