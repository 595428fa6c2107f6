package e2e_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
)

// inMemory says whether a process has these bytes anywhere that it can write to,
// which takes in what it has thrown away and not yet overwritten.
func inMemory(t *testing.T, pid int, secret string) bool {
	t.Helper()
	maps, err := os.Open(fmt.Sprintf("/proc/%d/maps", pid))
	must(t, err)
	defer func() { must(t, maps.Close()) }()
	mem, err := os.Open(fmt.Sprintf("/proc/%d/mem", pid))
	must(t, err)
	defer func() { must(t, mem.Close()) }()
	read := int64(0)
	lines := bufio.NewScanner(maps)
	for lines.Scan() {
		var from, to int64
		var mode string
		if _, err := fmt.Sscanf(lines.Text(), "%x-%x %s", &from, &to, &mode); err != nil || !strings.HasPrefix(mode, "rw") {
			continue
		}
		part := make([]byte, to-from)
		n, err := mem.ReadAt(part, from)
		if err != nil && !errors.Is(err, io.EOF) && n == 0 {
			continue // the kernel's own pages
		}
		read += int64(n)
		if bytes.Contains(part[:n], []byte(secret)) {
			return true
		}
	}
	must(t, lines.Err())
	if read < 1<<20 {
		t.Fatalf("only %d bytes of the process could be read: what is not found proves nothing", read)
	}
	return false
}
