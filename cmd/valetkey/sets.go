package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/valetkey/valetkey/scopes/tier"
	"github.com/valetkey/valetkey/scopes/verdict"
)

// exitNo is what a question leaves with that is answered no: not covered, not
// allowed, something gained or found.
const exitNo = exitDenied

// answerError is an answer that leaves with a code of its own. Its text is
// empty where standard output has said all.
type answerError struct {
	code int
	text string
}

func (e *answerError) Error() string { return e.text }

// answer returns the error that leaves with the code; none for exitOK.
func answer(code int) error {
	if code == exitOK {
		return nil
	}
	return &answerError{code: code}
}

// answerOf is the answer to a question with three answers.
func answerOf(a verdict.Answer) error {
	switch a {
	case verdict.Yes:
		return nil
	case verdict.No:
		return answer(exitNo)
	case verdict.Unknown:
	}
	return answer(exitUnknown)
}

// gain is what counts of a thing that was gained.
type gain struct {
	tier  tier.Tier
	known bool // false for a doubt
}

// failOn says which gains matter.
type failOn struct {
	FailOn string `name:"fail-on" enum:"read,write,destructive,admin" default:"read" placeholder:"TIER" help:"Leave with 0 where all that is gained is of a lower tier: read, write, destructive or admin. Default: any gain counts."`
}

// answer says whether nothing was gained that matters. Where something may be
// missing, or all that was gained is doubts, that is unknown.
func (f failOn) answer(gains []gain, complete bool) error {
	got := verdict.Yes
	if !complete {
		got = verdict.Unknown
	}
	for _, g := range gains {
		switch {
		case max(g.tier, tier.Read) < tier.Parse(f.FailOn):
		case g.known:
			return answer(exitNo)
		default:
			got = verdict.Unknown
		}
	}
	return answerOf(got)
}

// missing says which flag a request by flags lacks.
func missing(flag string) error {
	return &usageError{flag + " is missing; cases on standard input take no flags of a request"}
}

// textFile is a file that was read, with the name to call it by.
type textFile struct {
	name string
	data []byte
}

// fault says what is wrong with the file. Whoever named the file writes no line of ours.
func (f textFile) fault(err error) error { return fmt.Errorf("%s: %w", clean(f.name), err) }

// unread is an error of the file system, which has the file's name in it.
func unread(err error) error { return fmt.Errorf("reading policies: %w", lineError{err}) }

// lineError is an error whose text is one line.
type lineError struct{ error }

func (e lineError) Error() string { return clean(e.error.Error()) }
func (e lineError) Unwrap() error { return e.error }

// readSet reads the files that make one set: a file, standard input for "-",
// or all files of a folder whose names end in ext. An empty set is an error.
func readSet(path, ext string) ([]textFile, error) {
	if path == "-" {
		f, err := readText("stdin", os.Stdin)
		if err != nil {
			return nil, err
		}
		return []textFile{f}, nil
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, unread(err)
	}
	names := []string{path}
	if info.IsDir() {
		entries, err := os.ReadDir(path) // sorted; a pattern would take a folder "a[1]" for another's name
		if err != nil {
			return nil, unread(err)
		}
		names = nil
		for _, e := range entries {
			if strings.HasSuffix(e.Name(), ext) {
				names = append(names, filepath.Join(path, e.Name()))
			}
		}
		if len(names) == 0 {
			return nil, fmt.Errorf("reading policies of %s: no file there ends in %s", clean(path), ext)
		}
	}
	var out []textFile
	for _, n := range names {
		file, err := os.Open(n)
		if err != nil {
			return nil, unread(err)
		}
		f, err := readText(n, file)
		if err = errors.Join(err, file.Close()); err != nil {
			return nil, err
		}
		out = append(out, f)
	}
	return out, nil
}

// maxFile bounds one file of policies, in bytes. It is more than either language's parser takes.
const maxFile = 4 << 20

var (
	errLongFile = fmt.Errorf("it has more than %d bytes", maxFile)
	// errEmptyFile is for what wrote nothing because it failed: no policy at all would be covered by any.
	errEmptyFile = errors.New("it is empty, which is no policy")
)

// readText reads one file to its end.
func readText(name string, from io.Reader) (textFile, error) {
	f := textFile{name: name}
	var err error
	f.data, err = io.ReadAll(io.LimitReader(from, maxFile+1))
	switch {
	case err != nil:
		return f, unread(err)
	case len(f.data) > maxFile:
		return f, f.fault(errLongFile)
	case len(bytes.TrimSpace(f.data)) == 0:
		return f, f.fault(errEmptyFile)
	}
	return f, nil
}

// formatFiles prints each file as format has it, or writes it back, or tells
// which of them format would change.
func (o *output) formatFiles(paths []string, ext string, write, check bool, format func([]byte) ([]byte, error)) error {
	if write && check {
		return &usageError{"either write the files or check them"}
	}
	differ := false
	for _, path := range paths {
		if path == "-" && write {
			return &usageError{"standard input cannot be written"}
		}
		files, err := readSet(path, ext)
		if err != nil {
			return err
		}
		for _, f := range files {
			text, err := format(f.data)
			if err != nil {
				return f.fault(err)
			}
			same := bytes.Equal(text, f.data)
			differ = differ || !same
			switch {
			case check && !same:
				err = o.printf("%s\n", clean(f.name))
			case write && !same:
				if err = os.WriteFile(f.name, text, 0o600); err == nil {
					o.say("%s", clean(f.name))
				}
			case !check && !write:
				err = o.printf("%s", text)
			}
			if err != nil {
				return fmt.Errorf("writing %s: %w", clean(f.name), lineError{err})
			}
		}
	}
	if check && differ {
		return answer(exitNo)
	}
	return nil
}

// line prints a value as one line of JSON.
func (o *output) line(v any) error {
	return o.encode(v, "")
}

// printf prints a piece of the result: a policy as it is, and others' words only clean.
func (o *output) printf(format string, args ...any) error {
	if _, err := fmt.Fprintf(o.stdout, format, args...); err != nil {
		return fmt.Errorf("printing: %w", err)
	}
	return nil
}
