package actions

import (
	"compress/gzip"
	_ "embed"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/valetkey/valetkey/scopes/internal/glob"
)

//go:embed catalogue.json.gz
var packed string

// Level is AWS's own access level of an action.
type Level string

// The access levels.
const (
	LevelRead        Level = "Read"
	LevelList        Level = "List"
	LevelWrite       Level = "Write"
	LevelTagging     Level = "Tagging"
	LevelPermissions Level = "Permissions management"
)

// Action is one known action.
type Action struct {
	Name  string // as AWS spells it: "s3:GetObject"
	Level Level
	types []glob.Pattern // empty: the action takes no resource but "*"
}

// NeedsStar tells whether the action takes no resource but "*".
func (a Action) NeedsStar() bool { return len(a.types) == 0 }

// Takes tells whether some resource that matches the pattern can be a target of the action. An action without resource
// types takes "*" alone, which the caller knows by NeedsStar.
func (a Action) Takes(resource glob.Pattern) bool {
	return slices.ContainsFunc(a.types, func(t glob.Pattern) bool { return glob.Overlap(t, resource) })
}

type table struct {
	source, updated string
	byName          map[string]Action // lower-case name -> action
	sorted          []string          // lower-case names
	global          []glob.Pattern
	conditions      map[string][]glob.Pattern // service -> condition keys
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
	var raw struct {
		Source, Updated string
		Global          []string
		Services        map[string]struct {
			Types      map[string]string
			Actions    map[string][]string
			Conditions []string
		}
	}
	if err := json.NewDecoder(z).Decode(&raw); err != nil {
		return nil, fmt.Errorf("decoding action catalogue: %w", err)
	}
	levels := map[string]Level{"R": LevelRead, "L": LevelList, "W": LevelWrite, "T": LevelTagging, "P": LevelPermissions}
	t := &table{source: raw.Source, updated: raw.Updated, byName: map[string]Action{}, conditions: map[string][]glob.Pattern{}}
	for _, k := range raw.Global {
		t.global = append(t.global, glob.Wild(k))
	}
	for service, s := range raw.Services {
		types := make(map[string]glob.Pattern, len(s.Types))
		for name, arn := range s.Types {
			types[name] = arnPattern(arn, s.Types)
		}
		for _, k := range s.Conditions {
			t.conditions[service] = append(t.conditions[service], glob.Wild(k))
		}
		for name, row := range s.Actions {
			a := Action{Name: service + ":" + name, Level: levels[row[0]]}
			for _, ty := range row[1:] {
				a.types = append(a.types, types[ty])
			}
			t.byName[strings.ToLower(a.Name)] = a
		}
	}
	for name := range t.byName {
		t.sorted = append(t.sorted, name)
	}
	slices.Sort(t.sorted)
	return t, nil
}

// arnPattern reads "arn:${Partition}:s3:::${BucketName}". A variable cannot take the delimiter that follows it. The
// last one can take anything, but the delimiter by which another type of the service goes on: a bucket name has no
// slash because an object's ARN is a bucket's with a slash and more.
func arnPattern(arn string, types map[string]string) glob.Pattern {
	var p glob.Pattern
	for rest := arn; rest != ""; {
		start := strings.Index(rest, "${")
		end := strings.IndexByte(rest, '}')
		if start < 0 || end < start {
			p = append(p, glob.Wild(rest)...)
			break
		}
		p = append(p, glob.Wild(rest[:start])...)
		rest = rest[end+1:]
		hole := glob.Token{Hole: true}
		if rest != "" {
			hole.Not = rest[:1]
		} else {
			for _, d := range []string{"/", ":"} {
				for _, other := range types {
					if strings.HasPrefix(other, arn+d) {
						hole.Not += d
						break
					}
				}
			}
		}
		first := hole
		first.One = true // a variable is never empty
		p = append(p, first, hole)
	}
	return p
}

// Snapshot returns the catalogue's source and its date, "2006-01-02".
func Snapshot() (source, date string) { return load().source, load().updated }

// Lookup returns the action of that name; IAM ignores case.
func Lookup(name string) (Action, bool) {
	a, ok := load().byName[strings.ToLower(name)]
	return a, ok
}

// Expand returns, sorted and as AWS spells them, the known actions that a pattern such as "s3:Get*" matches.
func Expand(pattern string) []string {
	t := load()
	if !strings.ContainsAny(pattern, "*?") {
		if a, ok := Lookup(pattern); ok {
			return []string{a.Name}
		}
		return nil
	}
	p := glob.Wild(strings.ToLower(pattern))
	var out []string
	for _, name := range t.sorted {
		if p.Match(name) {
			out = append(out, t.byName[name].Name)
		}
	}
	slices.Sort(out)
	return out
}

// KnownCondition tells whether a condition key is global or belongs to the service ("s3"); IAM ignores case.
func KnownCondition(service, key string) bool {
	key = strings.ToLower(key)
	match := func(p glob.Pattern) bool { return p.Match(key) }
	return slices.ContainsFunc(load().global, match) || slices.ContainsFunc(load().conditions[strings.ToLower(service)], match)
}
