// Command gen writes readonly.json: a policy of about 1,000 action patterns in the style of AWS's ReadOnlyAccess, made
// from the embedded action catalogue. Benchmarks and ceilings need a policy of that size, and AWS's own text is not ours
// to copy.
//
//	go run ./testdata/iam/policies/gen -out testdata/iam/policies/readonly.json
//
// The same catalogue gives the same bytes. Laws:
//   - every known action that the policy allows is a read that hands out no secret, as package actions sees it;
//   - a pattern stands where all that it matches are such reads; a read that shares its words with something else, and
//     has no pattern to stand in, is left out.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/valetkey/valetkey/scopes/actions"
)

// verbs are the first words of what reads; ReadOnlyAccess names little else.
var verbs = []string{"Describe", "Get", "List", "Search"}

type statement struct {
	Sid      string
	Effect   string
	Action   []string
	Resource string
}

type policy struct {
	Version   string
	Statement []statement
}

func main() {
	out := flag.String("out", "testdata/iam/policies/readonly.json", "the file to write")
	flag.Parse()
	if err := run(*out); err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1)
	}
}

func run(out string) error {
	patterns := readOnly()
	if len(patterns) == 0 {
		return errors.New("the catalogue has no reads")
	}
	p := policy{Version: "2012-10-17", Statement: []statement{
		{Sid: "ReadOnly", Effect: "Allow", Action: patterns, Resource: "*"},
	}}
	b, err := json.MarshalIndent(p, "", "  ")
	if err != nil {
		return fmt.Errorf("encoding policy: %w", err)
	}
	if err := os.WriteFile(out, append(b, '\n'), 0o644); err != nil { //nolint:gosec // it is read by everybody
		return fmt.Errorf("writing policy: %w", err)
	}
	return nil
}

// readOnly returns the sorted patterns and names.
func readOnly() []string {
	known := actions.Expand("*")
	var services []string
	for _, name := range known {
		service, _, _ := strings.Cut(name, ":")
		services = append(services, service)
	}
	slices.Sort(services)
	var out []string
	for _, service := range slices.Compact(services) {
		for _, verb := range verbs {
			out = append(out, cover(known, service+":"+verb)...)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// cover returns the patterns for the reads whose name begins with a prefix: the prefix and an asterisk where nothing
// else begins so, or else what covers the prefixes that are one word longer. A read that is alone is named only where
// it is the service's only action of that verb.
func cover(known []string, prefix string) []string {
	all := begin(known, prefix)
	reads := slices.DeleteFunc(slices.Clone(all), func(name string) bool { return !harmless(name) })
	switch {
	case len(all) == 1:
		return reads
	case len(reads) == len(all) && len(all) > 0:
		return []string{prefix + "*"}
	}
	var out, longer []string
	for _, name := range reads {
		longer = append(longer, word(name, len(prefix)))
	}
	slices.Sort(longer)
	for _, next := range slices.Compact(longer) {
		if next != prefix && len(begin(known, next)) > 1 {
			out = append(out, cover(known, next)...)
		}
	}
	return out
}

// begin returns the names that the prefix and an asterisk match; IAM ignores case.
func begin(names []string, prefix string) []string {
	var out []string
	for _, name := range names {
		if len(name) >= len(prefix) && strings.EqualFold(name[:len(prefix)], prefix) {
			out = append(out, name)
		}
	}
	return out
}

// word returns the name up to the end of the word that begins at a place: "s3:GetObjectAcl" from 6 is "s3:GetObject". A
// run of capitals belongs to the word that follows it.
func word(name string, from int) string {
	upper := func(i int) bool { return name[i] >= 'A' && name[i] <= 'Z' }
	for i := from + 1; i < len(name); i++ {
		if upper(i) && !upper(i-1) {
			return name[:i]
		}
	}
	return name
}

// harmless tells whether an action only reads, and reads no secret.
func harmless(name string) bool {
	class, _ := actions.Classify(name)
	_, secret := actions.Sensitive(name)
	return class == actions.ClassRead && !secret
}
