package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
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

// maxLine bounds one line of cases on standard input, in bytes.
const maxLine = 4 << 20

// eachLine calls f for each line of JSON, decoded into a new T; an unknown
// member is an error. An error names the line. No line at all is an error.
func eachLine[T any](in io.Reader, f func(T) error) error {
	sc := bufio.NewScanner(in)
	sc.Buffer(nil, maxLine)
	n, seen := 0, 0
	for sc.Scan() {
		n++
		if strings.TrimSpace(sc.Text()) == "" {
			continue
		}
		seen++
		var v T
		dec := json.NewDecoder(strings.NewReader(sc.Text()))
		dec.UseNumber()
		dec.DisallowUnknownFields()
		if err := dec.Decode(&v); err != nil {
			return fmt.Errorf("reading line %d: %w", n, err)
		}
		if err := f(v); err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
	}
	if err := sc.Err(); err != nil {
		return fmt.Errorf("reading line %d: %w", n+1, err)
	}
	if seen == 0 {
		return errors.New("no cases on standard input")
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
