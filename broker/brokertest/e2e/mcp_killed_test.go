package e2e_test

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// TestMCPKilled kills a server with SIGKILL in the middle of a command, and ends
// another with SIGTERM: after both nothing is left.
func TestMCPKilled(t *testing.T) {
	s := newSidecar(t).start(t)
	for name, sig := range map[string]syscall.Signal{"SIGKILL": syscall.SIGKILL, "SIGTERM": syscall.SIGTERM} {
		t.Run(name, func(t *testing.T) {
			dir, pid := filepath.Join(s.mkdir(t, "mcp"), name), filepath.Join(s.dir, name)
			cmd := exec.CommandContext(context.WithoutCancel(t.Context()), program(t, "valetkey"), "mcp", "--dir", dir, "--run", "sh")
			cmd.Env, cmd.Stderr = append(append(os.Environ(), s.env...), "TMPDIR="+s.mkdir(t, "tmp")), os.Stderr
			in, err := cmd.StdinPipe()
			must(t, err)
			out, err := cmd.StdoutPipe()
			must(t, err)
			must(t, cmd.Start())
			c, err := mcpClient().Connect(t.Context(), &mcp.IOTransport{Reader: tapped{out, out}, Writer: in}, nil)
			must(t, err)
			task := mcpCall(t, c, "open_task", map[string]any{"purpose": "end to end", "environment": "staging"})["task"]
			got := mcpCall(t, c, "request_access", map[string]any{"task": task, "scope": "s3-prefix-read", "purpose": "read a report",
				"parameters": map[string]any{"bucket": "prod", "prefix": "reports/"}})
			go func() { // cut off
				_, _ = c.CallTool(context.WithoutCancel(t.Context()), &mcp.CallToolParams{Name: "run_command", Arguments: map[string]any{
					"access": []any{got["access"]}, "argv": []string{"sh", "-c",
						`trap "" TERM; setsid sleep 1000 & echo $! $$ > "` + pid + `.part"; mv "` + pid + `.part" "` + pid + `"; wait; sleep 1000`},
				}})
			}()
			eventually(t, 2*time.Minute, "the command runs", func() bool {
				_, err := os.Stat(pid)
				return err == nil
			})
			began := time.Now()
			must(t, cmd.Process.Signal(sig))
			_, _ = io.Copy(io.Discard, out) // to its end
			if err := cmd.Wait(); sig == syscall.SIGTERM && err != nil {
				t.Errorf("it leaves with %v", err)
			}
			if took := time.Since(began); took > 12*time.Second {
				t.Errorf("its end took %v", took)
			}
			raw, err := os.ReadFile(pid)
			must(t, err)
			for _, p := range strings.Fields(string(raw)) {
				id, err := strconv.Atoi(p)
				must(t, err)
				eventually(t, 2*time.Minute, "what the command started is gone", func() bool { return over(id) })
			}
			eventually(t, 2*time.Minute, "its folder is gone", func() bool {
				_, err := os.Stat(dir)
				return errors.Is(err, os.ErrNotExist)
			})
			s.nothingLeft(t)
		})
	}
}

// over is whether a process is gone, or a zombie where nobody waits for it.
func over(pid int) bool {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	return err != nil || strings.Contains(string(stat), ") Z ")
}
