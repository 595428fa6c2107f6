package session

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/valetkey/valetkey/clients/environ"
	"github.com/valetkey/valetkey/clients/helper/files"
)

// ErrUnknownShell is a shell whose start files would be read after the session's
// variables are set, so that they could set others.
var ErrUnknownShell = errors.New("this shell cannot be made to take the session's variables after its own start files")

// shellKind is how a shell is made to read something after a person's own start files.
type shellKind struct {
	programs []string
	// before comes before the arguments; FILE stands for the session's own.
	before []string
	file   string
}

var shellKinds = []shellKind{
	// Its own file is read in place of ~/.bashrc, which it reads first.
	{[]string{"bash"}, []string{"--rcfile", "FILE"}, "bashrc"},
	{[]string{"fish"}, []string{"--init-command", "source FILE"}, "start.fish"},
	// No file comes after ~/.tcshrc: none is read.
	{[]string{"tcsh", "csh"}, []string{"-f"}, ""},
	// ENV and ZDOTDIR name theirs.
	{[]string{"sh", "dash", "ash", "ksh", "ksh93", "mksh"}, nil, ""},
	{[]string{"zsh"}, nil, ""},
}

func shellKindOf(program string) (shellKind, bool) {
	i := slices.IndexFunc(shellKinds, func(k shellKind) bool { return slices.Contains(k.programs, filepath.Base(program)) })
	if i < 0 {
		return shellKind{}, false
	}
	return shellKinds[i], true
}

// CheckShell is ErrUnknownShell for a shell that Start does not know.
func CheckShell(program string) error {
	if _, ok := shellKindOf(program); !ok {
		return fmt.Errorf("%s: %w; start bash, zsh, fish, tcsh or sh, or run it with exec and see to its start files", program, ErrUnknownShell)
	}
	return nil
}

// Start is a command line as it is to be run. A shell's is made to read the session's
// variables again after the start files of whoever it belongs to: those may set what
// would win over them. The shell ends where that fails. Environ is to be asked after.
func (s *Session) Start(args []string) ([]string, error) {
	kind, ok := shellKindOf(args[0])
	if !ok {
		return args, nil
	}
	if err := s.writeStartFiles(); err != nil {
		return nil, fmt.Errorf("preparing %s: %w", args[0], err)
	}
	out := []string{args[0]}
	for _, arg := range kind.before {
		word := s.path(kind.file)
		if strings.HasPrefix(arg, "source") {
			word = environ.Word(word)
		}
		out = append(out, strings.ReplaceAll(arg, "FILE", word))
	}
	return append(out, args[1:]...), nil
}

// zshFiles are the start files of zsh, which it looks for in ZDOTDIR.
var zshFiles = []string{".zshenv", ".zprofile", ".zshrc", ".zlogin"}

// writeStartFiles writes them for all shells: one may start another.
func (s *Session) writeStartFiles() error {
	zsh, env := s.path("zsh"), s.path("shrc")
	if err := os.MkdirAll(zsh, 0o700); err != nil {
		return err
	}
	s.give.Also["ENV"], s.give.Also["ZDOTDIR"] = env, zsh
	e, start := s.give.Environment(), environ.Word(s.path("start.sh"))
	again := ". " + start + " || { echo 'valetkey: a start file keeps what was granted from being used' >&2; exit 1; }\n"
	errs := []error{
		files.Write(s.path("start.sh"), e.File(), files.Self),
		files.Write(s.path("start.fish"), e.FishFile(), files.Self),
		files.Write(s.path("bashrc"), []byte(sourced("~/.bashrc")+again), files.Self),
		files.Write(env, []byte(sourced(environ.Word(os.ExpandEnv(os.Getenv("ENV"))))+again), files.Self),
	}
	theirs := "${HOME}"
	if d := os.Getenv("ZDOTDIR"); d != "" {
		theirs = environ.Word(d)
	}
	for _, name := range zshFiles {
		text := "ZDOTDIR=${vk_zdotdir}\n"
		if name == ".zshenv" { // the first
			text = "ZDOTDIR=" + theirs + "\n"
		}
		text += sourced("${ZDOTDIR}/"+name) + "vk_zdotdir=${ZDOTDIR}\n" + again
		errs = append(errs, files.Write(filepath.Join(zsh, name), []byte(text), files.Self))
	}
	return errors.Join(errs...)
}

// sourced reads a file that may not be there. An interrupt meanwhile, which would have the shell go on
// without what comes after, ends it.
func sourced(word string) string {
	if strings.HasPrefix(word, "$") {
		word = `"` + word + `"`
	}
	return "trap 'exit 130' INT\nif [ -r " + word + " ]; then . " + word + "; fi\ntrap - INT\n"
}
