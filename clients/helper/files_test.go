package helper

import (
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"text/template"
)

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

func TestBlocks(t *testing.T) {
	const mine = "# valetkey begin a\nnew\n# valetkey end a\n"
	for _, c := range []struct {
		name, old, content string
		remove, front      bool
		want               string
		fails              bool
	}{
		{name: "into nothing", content: "new\n", want: mine},
		{name: "behind", old: "x\n", content: "new\n", want: "x\n" + mine},
		{name: "behind half a line", old: "x", content: "new\n", want: "x\n" + mine},
		{name: "in front", old: "x\n", content: "new\n", front: true, want: mine + "x\n"},
		{name: "in place", old: "x\n# valetkey begin a\nold\n# valetkey end a\ny\n", content: "new\n", want: "x\n" + mine + "y\n"},
		{name: "beside another's", old: "# valetkey begin ab\nold\n# valetkey end ab\n", content: "new\n", want: "# valetkey begin ab\nold\n# valetkey end ab\n" + mine},
		{name: "away", old: "x\n" + mine + "y\n", remove: true, want: "x\ny\n"},
		{name: "away again", old: "x\n", remove: true, want: "x\n"},
		{name: "in place of one with CRLF", old: "x\r\n# valetkey begin a\r\nold\r\n# valetkey end a\r\ny\r\n", content: "new\n", want: "x\r\n" + mine + "y\r\n"},
		{name: "away with CRLF", old: "# valetkey begin a\r\nold\r\n# valetkey end a\r\ny\r\n", remove: true, want: "y\r\n"},
		{name: "away at the very end", old: "x\n# valetkey begin a\nold\n# valetkey end a", remove: true, want: "x\n"},
		{name: "beside a longer line", old: "# valetkey begin a too\n", content: "new\n", want: "# valetkey begin a too\n" + mine},
		{name: "without its end", old: "# valetkey begin a\nnew\n", content: "new\n", fails: true},
		{name: "without its beginning", old: "x\n# valetkey end a\n", content: "new\n", fails: true},
		{name: "the wrong way round", old: "# valetkey end a\n# valetkey begin a\n", content: "new\n", fails: true},
	} {
		var content []byte
		if !c.remove {
			content = []byte(c.content)
		}
		got, err := withBlock([]byte(c.old), "a", content, c.front)
		if (err != nil) != c.fails || err == nil && string(got) != c.want {
			t.Errorf("%s: %q, %v; want %q", c.name, got, err, c.want)
		}
	}
}

func TestSetBlockLeavesNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config")
	must(t, setBlock(path, "a", []byte("new\n"), false, self))
	must(t, setBlock(path, "a", nil, false, self))
	left, err := os.ReadDir(filepath.Dir(path))
	must(t, err)
	if len(left) != 0 {
		t.Errorf("%v is left", left)
	}
}

func TestWriteSecret(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "secret")
	must(t, os.WriteFile(path, []byte("old and longer"), 0o644))
	must(t, writeSecret(path, []byte("new"), self))
	info, err := os.Stat(path)
	must(t, err)
	if raw, _ := os.ReadFile(path); string(raw) != "new" || info.Mode().Perm() != 0o600 {
		t.Errorf("it is %q with mode %v", raw, info.Mode())
	}
	must(t, os.Symlink(path, filepath.Join(dir, "link")))
	must(t, os.Mkdir(filepath.Join(dir, "folder"), 0o700))
	for _, name := range []string{"link", "folder", "none/secret"} {
		if err := writeSecret(filepath.Join(dir, name), []byte("x"), self); err == nil {
			t.Errorf("%s was written", name)
		}
	}
	left, err := os.ReadDir(dir)
	must(t, err)
	if len(left) != 3 {
		t.Errorf("%v are there", left)
	}
}

func TestListenUnix(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	first, err := listenUnix(path)
	must(t, err)
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	if _, err := listenUnix(path); err == nil {
		t.Error("a socket that is listened on was taken over")
	}
	must(t, first.Close())
	if _, err := os.Lstat(path); !os.IsNotExist(err) {
		t.Errorf("a closed one is left: %v", err)
	}
	stale, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	must(t, err)
	stale.SetUnlinkOnClose(false)
	must(t, stale.Close())
	again, err := listenUnix(path)
	must(t, err)
	must(t, again.Close())
	must(t, os.WriteFile(path, nil, 0o600))
	if _, err := listenUnix(path); err == nil {
		t.Error("a file was taken for a socket")
	}
	if _, err := listenUnix(filepath.Join(filepath.Dir(path), strings.Repeat("x", 100))); err == nil || !strings.Contains(err.Error(), "shorter") {
		t.Errorf("a long path: %v", err)
	}
}

func TestLoopbackOnly(t *testing.T) {
	for _, addr := range []string{"0.0.0.0:0", ":0", "[::]:0", "10.0.0.1:80", "localhost:0", "127.0.0.1", "x"} {
		if lis, err := listenLoopback(addr); err == nil {
			t.Errorf("%s is listened on", addr)
			must(t, lis.Close())
		}
	}
}

func TestWhoseAConnectionIs(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Log("only Linux says it")
		return
	}
	for _, network := range []string{"127.0.0.1:0", "[::1]:0"} {
		lis, err := net.Listen("tcp", network)
		must(t, err)
		client, err := net.Dial("tcp", lis.Addr().String())
		must(t, err)
		conn, err := lis.Accept()
		must(t, err)
		if err := newPeers(nil, true).check(conn); err != nil {
			t.Errorf("%s: our own connection: %v", network, err)
		}
		if err := newPeers([]int{os.Geteuid() + 1}, true).check(conn); err == nil {
			t.Errorf("%s: we pass for another user", network)
		}
		must(t, client.Close())
		must(t, conn.Close())
		must(t, lis.Close())
	}
}

func TestProcAddress(t *testing.T) {
	for addr, want := range map[string][2]string{
		"127.0.0.1:8080": {"0100007F:1F90", "0000000000000000FFFF00000100007F:1F90"},
		"[::1]:80":       {":0050", "00000000000000000000000001000000:0050"},
	} {
		at := netip.MustParseAddrPort(addr)
		if got := procAddress(at, "/proc/net/tcp6"); got != want[1] {
			t.Errorf("%s in tcp6: %s", addr, got)
		}
		if got := procAddress(at, "/proc/net/tcp"); got != want[0] {
			t.Errorf("%s in tcp: %s", addr, got)
		}
	}
}

func TestQuoting(t *testing.T) {
	for in, want := range map[string]string{"/a/b": "/a/b", "/a b": `"/a b"`, `/a"b`: `"/a\"b"`} {
		if got := quoteWord(in); got != want {
			t.Errorf("quoteWord(%q) is %s", in, got)
		}
	}
	for in, want := range map[string]string{"http://a:1/b": "http://a:1/b", "a b": "'a b'", "it's": `'it'\''s'`, "$x": "'$x'"} {
		if got := quoteShell(in); got != want {
			t.Errorf("quoteShell(%q) is %s", in, got)
		}
	}
	if got := string(envText(map[string]string{"B": "2", "A": "1", "C": ""})); got != "A=1\nB=2\n" {
		t.Errorf("variables are %q", got)
	}
}

func TestTemplates(t *testing.T) {
	data := TemplateData{Task: "t", Login: &TemplateLogin{Username: "u", Password: "p"}, Data: map[string]any{"k": "v"}}
	for text, want := range map[string]string{
		"{{.Login.Username}}:{{.Login.Password}}": "u:p", "{{.Data.k}}": "v", "{{.Data.none}}": "", "{{.AWS.Region}}": "", "{{.None}}": "", "{{": "",
	} {
		got, err := render(TemplateOutput{Text: text, File: "f"}, data)
		if (err != nil) != (want == "") || string(got) != want {
			t.Errorf("%s gives %q, %v", text, got, err)
		}
		if err != nil && strings.Contains(err.Error(), `"p"`) {
			t.Errorf("%s: the error has the secret: %v", text, err)
		}
	}
}

// TestTemplateErrorsNameNoValue is what goes to the log and the status.
func TestTemplateErrorsNameNoValue(t *testing.T) {
	const secret = "S3CR3T"
	data := TemplateData{Login: &TemplateLogin{Username: "u", Password: secret}, Data: map[string]any{"secret": secret, "n": 1, "list": []any{secret}, "map": map[string]any{"a": 1}}}
	for text, field := range map[string]string{
		"\n{{range .Data.secret}}{{end}}": ":2:13: executing \"f\" at <.Data.secret>", "{{index .Data.map .Data.secret .Data.secret}}": "index", "{{.Data.secret.x}}": ".Data.secret.x",
		"{{slice .Data.secret 9}}": "slice", "{{index .Data.list .Data.secret}}": "index", "{{lt .Data.secret .Data.n}}": "lt", "{{template \"x\" .Data.secret}}": "x",
		"{{call .Data.secret}}": "call", "{{len .Data.n}}": "len", "{{with $x := .Data.secret}}{{$x.y}}{{end}}": "$x.y",
	} {
		_, err := render(TemplateOutput{Text: text, File: "f"}, data)
		if err == nil || !strings.Contains(err.Error(), field) || strings.Contains(err.Error(), secret) {
			t.Errorf("%s: %v", text, err)
		}
		var failed template.ExecError
		if errors.As(err, &failed) {
			t.Errorf("%s: the error has what text/template says", text)
		}
	}
}
