package main

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/valetkey/valetkey/scopes/actions/internal/reviewed"
)

// lines is the catalogue's text without classes.
func (c catalogue) lines() []string {
	out := []string{format, "V " + c.Source + "\t" + c.Updated}
	for _, k := range slices.Sorted(maps.Keys(c.Global)) {
		out = append(out, "G "+k+"\t"+c.Global[k])
	}
	// By "service:", as the full names of actions are ordered.
	names := slices.SortedFunc(maps.Keys(c.Services), func(a, b string) int { return strings.Compare(a+":", b+":") })
	for _, name := range names {
		s := c.Services[name]
		out = append(out, "S "+name)
		for _, t := range slices.Sorted(maps.Keys(s.Types)) {
			out = append(out, "T "+t+"\t"+s.Types[t])
		}
		for _, k := range slices.Sorted(maps.Keys(s.Conditions)) {
			out = append(out, "C "+k+"\t"+s.Conditions[k])
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

// format is the first line of what package actions reads.
const format = "valetkey action catalogue 4"

// classified puts what people said into the catalogue's lines: each reason once, and its number behind the level of an
// action. It fails where an action has not been reviewed.
func classified(lines []string, r *reviewed.Review) ([]string, error) {
	levels := map[byte]string{'R': "Read", 'L': "List", 'W': "Write", 'T': "Tagging", 'P': "Permissions management"}
	var all []reviewed.Action
	for _, l := range lines {
		if name, rest, ok := actionLine(l); ok {
			all = append(all, reviewed.Action{Name: name, Level: levels[rest[0]]})
		}
	}
	if err := r.Hold(all); err != nil {
		return nil, err
	}
	numbers := map[string]int{}
	var reasons, rest []string
	for _, l := range lines[2:] { // the format, and where it comes from
		if name, more, ok := actionLine(l); ok {
			e, known := r.Of(all[0])
			if !known || all[0].Name != name {
				return nil, fmt.Errorf("action %q was lost on the way", name)
			}
			all = all[1:]
			if e.Class == "read" {
				e.Reason = "read" // nobody is told why a read is no more
			}
			reason := strings.Join([]string{"K " + e.Class, strings.Join(e.Marks, ","), e.Reason}, "\t")
			n, there := numbers[reason]
			if !there {
				n = len(reasons)
				numbers[reason] = n
				reasons = append(reasons, reason)
			}
			l = fmt.Sprintf("A %s\t%c%d%s", name, more[0], n, more[1:])
		}
		rest = append(rest, l)
	}
	return slices.Concat([]string{format, lines[1]}, reasons, rest), nil
}

// bare takes the classes out of a catalogue's lines, of this format or the one before it.
func bare(lines []string) []string {
	var out []string
	for _, l := range lines {
		if strings.HasPrefix(l, "K ") {
			continue
		}
		if name, rest, ok := actionLine(l); ok {
			level, types, more := strings.Cut(rest, "\t")
			l = "A " + name + "\t" + level[:1]
			if more {
				l += "\t" + types
			}
		}
		out = append(out, l)
	}
	return out
}

// actionLine cuts the line of an action into its name and the rest, which begins with the level's letter.
func actionLine(line string) (name, rest string, ok bool) {
	after, ok := strings.CutPrefix(line, "A ")
	if !ok {
		return "", "", false
	}
	name, rest, ok = strings.Cut(after, "\t")
	return name, rest, ok && rest != ""
}

func write(lines []string, file string) error {
	return os.WriteFile(file, []byte(strings.Join(lines, "\n")+"\n"), 0o644) //nolint:gosec // a source file, read by all
}

func readLines(file string) ([]string, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
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
		if name, rest, ok := actionLine(line); ok {
			out[name] = name + "\t" + rest
		}
	}
	return out
}
