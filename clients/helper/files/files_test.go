package files

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
)

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
	must(t, SetBlock(path, "a", []byte("new\n"), false, Self))
	must(t, SetBlock(path, "a", nil, false, Self))
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
	must(t, Write(path, []byte("new"), Self))
	info, err := os.Stat(path)
	must(t, err)
	if raw, _ := os.ReadFile(path); string(raw) != "new" || info.Mode().Perm() != 0o600 {
		t.Errorf("it is %q with mode %v", raw, info.Mode())
	}
	must(t, os.Symlink(path, filepath.Join(dir, "link")))
	must(t, os.Mkdir(filepath.Join(dir, "folder"), 0o700))
	for _, name := range []string{"link", "folder", "none/secret"} {
		if err := Write(filepath.Join(dir, name), []byte("x"), Self); err == nil {
			t.Errorf("%s was written", name)
		}
	}
	left, err := os.ReadDir(dir)
	must(t, err)
	if len(left) != 3 {
		t.Errorf("%v are there", left)
	}
}

// TestQuoting has what reads a profile's command line read it: a shell, as the SDKs of Go
// and JavaScript have one do, and Python's shlex, as botocore does.
func TestQuoting(t *testing.T) {
	for _, path := range []string{
		"/a/b", "/a b", `/a"b`, "/it's", `/a\b`, "/$HOME", "/a$(touch x)", "/a;touch x", "/a & touch x", "/(a)", "/`touch x`", "/a #b", "/a ;b", "/~a", "/a*", "/é", "/{a,b}", "/!a", "/a'", "/'",
	} {
		line, err := processCommand(path, path)
		must(t, err)
		want := path + "\nagent\ncredential\n--socket\n" + path + "\n"
		if comment.MatchString(line) {
			t.Errorf("%q: the SDKs take the end of %s for a comment", path, line)
		}
		for _, argv := range [][]string{
			{"sh", "-c", `printf '%s\n' ` + line}, {"bash", "-c", `printf '%s\n' ` + line}, {"python3", "-c", "import shlex, sys\nfor w in shlex.split(sys.argv[1]): print(w)", line},
		} {
			cmd := exec.CommandContext(t.Context(), argv[0], argv[1:]...)
			cmd.Dir = t.TempDir()
			out, err := cmd.CombinedOutput()
			if err != nil || string(out) != want {
				t.Errorf("%q: %s reads %q (%v)", path, argv[0], out, err)
			}
			if left, err := os.ReadDir(cmd.Dir); err != nil || len(left) > 0 {
				t.Errorf("%q: %s ran something: %v %v", path, argv[0], left, err)
			}
		}
	}
	if _, err := processCommand("/a", "/b\n[profile x]"); !errors.Is(err, errLine) {
		t.Errorf("a path of two lines: %v", err)
	}
}

// comment is what the SDKs of Go and JavaScript cut a line at.
var comment = regexp.MustCompile(`\s[;#]`)
