package actions

import (
	_ "embed"
	"fmt"
	"slices"
	"strings"
	"sync"
)

//go:embed catalogue.txt
var embedded string

// format is the first line of the catalogue's text. The lines after it have a letter, a space, and fields with tabs
// between them: "V source date", "K class marks reason" for each reason that people gave, "G key type" for a condition key
// of every service, "S service", and for the service before them "T type arn", "C key type", "A name level type...", where
// the number of the reason, from 0, follows the level's letter. Names are in the order of compareFold.
const format = "valetkey action catalogue 4"

// table is the catalogue, read. Its texts are pieces of the embedded one.
type table struct {
	source, updated string
	global          []string
	keys            keyTypes
	services        map[string]*service
	reasons         []reason // whole before the first action: actions point into it
	actions         []Action // in the order of compareFold
}

// load reads the catalogue once, when it is first asked.
var load = sync.OnceValue(mustParse)

// mustParse panics where the embedded file is broken: it is a constant of the program, and a test reads it.
func mustParse() *table {
	t, err := parse(embedded)
	if err != nil {
		panic("actions: " + err.Error()) //nolint:forbidigo // Must*
	}
	return t
}

func parse(text string) (*table, error) {
	head, rest, _ := strings.Cut(text, "\n")
	if head != format {
		return nil, fmt.Errorf("reading action catalogue: it begins with %q, not with %q", head, format)
	}
	t := &table{services: map[string]*service{}, keys: keyTypes{exact: map[string]string{}, heads: map[string]string{}}, actions: make([]Action, 0, strings.Count(rest, "\nA "))}
	s := newService("")
	var err error
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
			t.keys.add(first, more)
		case 'S':
			s = newService(first)
			t.services[first] = s
		case 'T':
			s.types[first] = more
		case 'C':
			s.conditions = append(s.conditions, first)
			t.keys.add(first, more)
		case 'K':
			if len(t.actions) > 0 {
				return nil, fmt.Errorf("reading action catalogue: a reason after an action: %q", line)
			}
			var k reason
			if k, err = parseReason(first, more); err != nil {
				return nil, err
			}
			t.reasons = append(t.reasons, k)
		case 'A':
			level, types, _ := strings.Cut(more, "\t")
			a := Action{Name: first, service: s, types: types}
			if a.Level, a.reason, err = t.reviewed(level); err != nil {
				return nil, err
			}
			t.actions = append(t.actions, a)
		default:
			return nil, fmt.Errorf("reading action catalogue: line %q", line)
		}
	}
	if t.source == "" || !slices.IsSortedFunc(t.actions, func(a, b Action) int { return compareFold(a.Name, b.Name) }) {
		return nil, fmt.Errorf("reading action catalogue: it has no source, or is not in order")
	}
	return t, nil
}

// reviewed reads "R12": the level's letter, and the number of the reason. Without a number nobody reviewed the action,
// and it is admin; without a known letter too.
func (t *table) reviewed(text string) (Level, *reason, error) {
	if text == "" {
		return LevelUnknown, nil, nil
	}
	if len(text) == 1 {
		return levelOf(text[0]), nil, nil
	}
	n := 0
	for i := 1; i < len(text); i++ {
		if text[i] < '0' || text[i] > '9' || n > len(t.reasons) {
			return LevelUnknown, nil, fmt.Errorf("reading action catalogue: level and reason %q", text)
		}
		n = 10*n + int(text[i]-'0')
	}
	if n >= len(t.reasons) {
		return LevelUnknown, nil, fmt.Errorf("reading action catalogue: there is no reason %d", n)
	}
	return levelOf(text[0]), &t.reasons[n], nil
}

// levelOf is LevelUnknown for a letter that is none.
func levelOf(letter byte) Level { return Level(strings.IndexByte("RLWTP", letter) + 1) } //nolint:gosec // 0 to 5

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

// appendLower appends strings.ToLower of a text, for ASCII.
func appendLower(to []byte, s string) []byte {
	for i := range len(s) {
		to = append(to, lower(s[i]))
	}
	return to
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}
