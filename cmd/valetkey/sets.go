package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

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

// fault says what is wrong with the file.
func (f textFile) fault(err error) error { return fmt.Errorf("%s: %w", f.name, err) }

// readSet reads the files that make one set: a file, standard input for "-",
// or all files of a folder whose names end in ext. An empty set is an error.
func readSet(path, ext string) ([]textFile, error) {
	if path == "-" {
		data, err := io.ReadAll(os.Stdin)
		if err != nil {
			return nil, fmt.Errorf("reading standard input: %w", err)
		}
		return []textFile{{"stdin", data}}, nil
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("reading policies: %w", err)
	}
	names := []string{path}
	if info.IsDir() {
		if names, err = filepath.Glob(filepath.Join(path, "*"+ext)); err != nil {
			return nil, fmt.Errorf("reading policies of %s: %w", path, err)
		}
		if len(names) == 0 {
			return nil, fmt.Errorf("reading policies of %s: no file there ends in %s", path, ext)
		}
		slices.Sort(names)
	}
	var out []textFile
	for _, n := range names {
		data, err := os.ReadFile(n)
		if err != nil {
			return nil, fmt.Errorf("reading policies: %w", err)
		}
		out = append(out, textFile{n, data})
	}
	return out, nil
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
				return fmt.Errorf("writing %s: %w", f.name, err)
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
