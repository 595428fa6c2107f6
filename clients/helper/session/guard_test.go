package session

import (
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/valetkey/valetkey/broker/brokertest/clienttest"
	"github.com/valetkey/valetkey/clients/helper/serve"
	"github.com/valetkey/valetkey/clients/valetkey"
)

// TestGuardEndsWhatCloseCouldNot is what a guard is told, by a session that could close
// its task and by one that could not.
func TestGuardEndsWhatCloseCouldNot(t *testing.T) {
	k := newKit(t)
	p := clienttest.NewTap(t, k.H.Addr())
	k.Client = k.Dial(t, valetkey.WithAddr(p.Addr()))
	for _, away := range []bool{false, true} {
		said := filepath.Join(t.TempDir(), "said")
		s, err := Open(t.Context(), Config{
			Client: k.Client, Task: clienttest.Task, Scopes: []serve.ScopeSpec{reads("a/")},
			Dir: t.TempDir(), Log: slog.New(slog.DiscardHandler),
			Guard: func(_, _ string) *exec.Cmd {
				return exec.Command("/bin/sh", "-c", `cat > "$1.part"; mv "$1.part" "$1"`, "sh", said)
			},
		})
		must(t, err)
		want := "done\n"
		if away {
			p.Shut()
			want = ""
		}
		if err := s.Close(); (err != nil) != away {
			t.Errorf("the broker is away: %v; closing: %v", away, err)
		}
		eventually(t, "the guard has an answer", func() bool { _, err := os.Stat(said); return err == nil })
		if got := read(t, said); got != want {
			t.Errorf("the broker is away: %v; the guard is told %q, want %q", away, got, want)
		}
		p.Open()
	}
}
