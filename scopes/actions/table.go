package actions

import (
	"compress/gzip"
	_ "embed"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
)

//go:embed catalogue.txt.gz
var packed string

// format is the first line of the catalogue's text. The lines after it have a letter, a space, and fields with tabs
// between them: "V source date", "G key" for a condition key of every service, "S service", and for the service
// before them "T type arn", "C key", "A name level type...". Names are in the order of compareFold.
const format = "valetkey action catalogue 2"

// table is the catalogue, unpacked. Its texts are pieces of one.
type table struct {
	source, updated string
	global          []string
	services        map[string]*service
	actions         []Action // in the order of compareFold
}

// load unpacks the catalogue once, when it is first asked.
var load = sync.OnceValue(mustUnpack)

// mustUnpack panics where the embedded file is broken: it is a constant of the program, and a test reads it.
func mustUnpack() *table {
	t, err := unpack(packed)
	if err != nil {
		panic("actions: " + err.Error()) //nolint:forbidigo // Must*
	}
	return t
}

func unpack(data string) (*table, error) {
	z, err := gzip.NewReader(strings.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("unpacking action catalogue: %w", err)
	}
	var text strings.Builder
	text.Grow(8 * len(data))
	if _, err := io.Copy(&text, z); err != nil { //nolint:gosec // it is embedded, not sent by anybody
		return nil, fmt.Errorf("unpacking action catalogue: %w", err)
	}
	return parse(text.String())
}

func parse(text string) (*table, error) {
	head, rest, _ := strings.Cut(text, "\n")
	if head != format {
		return nil, fmt.Errorf("reading action catalogue: it begins with %q, not with %q", head, format)
	}
	t := &table{services: map[string]*service{}, actions: make([]Action, 0, strings.Count(rest, "\nA "))}
	s := newService("")
	for line := range strings.Lines(rest) {
		line = strings.TrimSuffix(line, "\n")
		if len(line) < 3 || line[1] != ' ' {
			return nil, fmt.Errorf("reading action catalogue: line %q", line)
		}
		first, more, _ := strings.Cut(line[2:], "\t")
		switch line[0] {
		case 'V':
			t.source, t.updated = first, more
		case 'G':
			t.global = append(t.global, first)
		case 'S':
			s = newService(first)
			t.services[first] = s
		case 'T':
			s.types[first] = more
		case 'C':
			s.conditions = append(s.conditions, first)
		case 'A':
			level, types, _ := strings.Cut(more, "\t")
			t.actions = append(t.actions, Action{Name: first, Level: levelOf(level), service: s, types: types})
		default:
			return nil, fmt.Errorf("reading action catalogue: line %q", line)
		}
	}
	if t.source == "" || !slices.IsSortedFunc(t.actions, func(a, b Action) int { return compareFold(a.Name, b.Name) }) {
		return nil, fmt.Errorf("reading action catalogue: it has no source, or is not in order")
	}
	return t, nil
}

// levelOf is empty for a letter that is none: such an action is admin.
func levelOf(letter string) Level {
	switch letter {
	case "R":
		return LevelRead
	case "L":
		return LevelList
	case "W":
		return LevelWrite
	case "T":
		return LevelTagging
	case "P":
		return LevelPermissions
	}
	return ""
}

// under returns the actions whose names begin with prefix, in any case.
func (t *table) under(prefix string) []Action {
	from, _ := slices.BinarySearchFunc(t.actions, prefix, func(a Action, p string) int { return compareFold(a.Name, p) })
	n := from
	for n < len(t.actions) && hasPrefixFold(t.actions[n].Name, prefix) {
		n++
	}
	return t.actions[from:n:n]
}

func hasPrefixFold(s, prefix string) bool {
	return len(s) >= len(prefix) && compareFold(s[:len(prefix)], prefix) == 0
}

// compareFold compares as strings.ToLower would, for ASCII, without making new texts.
func compareFold(a, b string) int {
	for i := range min(len(a), len(b)) {
		if x, y := lower(a[i]), lower(b[i]); x != y {
			return int(x) - int(y)
		}
	}
	return len(a) - len(b)
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}
