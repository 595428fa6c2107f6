package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
)

// What the commands that treat policies as sets leave with, beside exitOK,
// exitError and exitUsage.
const (
	exitNo      = exitDenied        // not covered, not allowed, something gained
	exitUnknown = exitNeedsApproval // neither could be shown
	exitHarmful = exitNeedsApproval // something gained that can destroy or administer
)

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

// readPair reads the two sides of a comparison; one of them can be standard
// input.
func readPair[T any](a, b string, read func(path string) (T, error)) (x, y T, err error) {
	if a == "-" && b == "-" {
		return x, y, &usageError{"only one side can be standard input"}
	}
	if x, err = read(a); err != nil {
		return x, y, err
	}
	y, err = read(b)
	return x, y, err
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
	enc := json.NewEncoder(o.stdout)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("printing: %w", err)
	}
	return nil
}

// printf prints a piece of the result.
func (o *output) printf(format string, args ...any) error {
	if _, err := fmt.Fprintf(o.stdout, format, args...); err != nil {
		return fmt.Errorf("printing: %w", err)
	}
	return nil
}
