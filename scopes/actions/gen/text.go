package main

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
)

// lines is the catalogue's text, as package actions reads it.
func (c catalogue) lines() []string {
	out := []string{"valetkey action catalogue 2", "V " + c.Source + "\t" + c.Updated}
	for _, k := range c.Global {
		out = append(out, "G "+k)
	}
	// By "service:", as the full names of actions are ordered.
	names := slices.SortedFunc(maps.Keys(c.Services), func(a, b string) int { return strings.Compare(a+":", b+":") })
	for _, name := range names {
		s := c.Services[name]
		out = append(out, "S "+name)
		for _, t := range slices.Sorted(maps.Keys(s.Types)) {
			out = append(out, "T "+t+"\t"+s.Types[t])
		}
		for _, k := range s.Conditions {
			out = append(out, "C "+k)
		}
		actions := slices.SortedFunc(maps.Keys(s.Actions), func(a, b string) int {
			return cmp.Compare(strings.ToLower(a), strings.ToLower(b))
		})
		for _, a := range actions {
			out = append(out, "A "+name+":"+a+"\t"+strings.Join(s.Actions[a], "\t"))
		}
	}
	return out
}

func pack(lines []string, out string) error {
	var buf bytes.Buffer
	z, err := gzip.NewWriterLevel(&buf, gzip.BestCompression)
	if err != nil {
		return err
	}
	if _, err := io.WriteString(z, strings.Join(lines, "\n")+"\n"); err != nil {
		return err
	}
	if err := z.Close(); err != nil {
		return err
	}
	return os.WriteFile(out, buf.Bytes(), 0o644) //nolint:gosec // a source file, read by all
}

func unpack(file string) (_ []string, err error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	z, err := gzip.NewReader(f)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", file, err)
	}
	text, err := io.ReadAll(z)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", file, err)
	}
	return strings.Split(strings.TrimSuffix(string(text), "\n"), "\n"), nil
}

// report prints the lines of actions that came, went or changed.
func report(w io.Writer, before, now []string) {
	old, latest := actions(before), actions(now)
	var came, went, changed []string
	for name, line := range latest {
		switch was, ok := old[name]; {
		case !ok:
			came = append(came, "+ "+line)
		case was != line:
			changed = append(changed, "~ "+was+" -> "+line)
		}
	}
	for name, line := range old {
		if _, ok := latest[name]; !ok {
			went = append(went, "- "+line)
		}
	}
	for _, list := range [][]string{came, went, changed} {
		slices.Sort(list)
		for _, line := range list {
			_, _ = fmt.Fprintln(w, strings.ReplaceAll(line, "\t", " "))
		}
	}
	_, _ = fmt.Fprintf(w, "%d actions: %d new, %d gone, %d changed\n", len(latest), len(came), len(went), len(changed))
}

// actions are the lines of actions by name: the level, and what resources it takes.
func actions(lines []string) map[string]string {
	out := map[string]string{}
	for _, line := range lines {
		if rest, ok := strings.CutPrefix(line, "A "); ok {
			name, _, _ := strings.Cut(rest, "\t")
			out[name] = rest
		}
	}
	return out
}
