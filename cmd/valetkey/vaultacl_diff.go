package main

import (
	"strings"

	"github.com/valetkey/valetkey/scopes/vaultacl"
)

type vaultaclDiffCmd struct {
	A      string `arg:"" predictor:"hcl" help:"Before: a file, a folder with the .hcl files of one token, or -."`
	B      string `arg:"" predictor:"hcl" help:"After, likewise."`
	Budget int    `help:"How many kinds of paths to look at." default:"200000"`
}

// aclChange is the JSON form of one change.
type aclChange struct {
	Path       string               `json:"path"`
	Operations []vaultacl.Operation `json:"operations"`
	Sudo       bool                 `json:"sudo,omitempty"`
	Tier       string               `json:"tier"`
	Reason     string               `json:"reason,omitempty"`
	Known      bool                 `json:"known"`
	Why        string               `json:"why,omitempty"`
	Witness    aclRequest           `json:"witness"`
	Rules      []vaultacl.Ref       `json:"rules"`
}

type aclDelta struct {
	Gained   []aclChange `json:"gained"`
	Lost     []aclChange `json:"lost"`
	Tier     string      `json:"tier"` // of what is gained
	Complete bool        `json:"complete"`
	Why      string      `json:"why,omitempty"`
}

func (c *vaultaclDiffCmd) Run(out *output) error {
	a, b, err := readPair(c.A, c.B, readACL)
	if err != nil {
		return err
	}
	d := vaultacl.DiffWithin(c.Budget, a, b)
	if out.json() {
		err = out.value(aclDelta{wireChanges(d.Gained), wireChanges(d.Lost), d.Tier().String(), d.Complete, d.Why})
	} else {
		err = printDelta(out, d)
	}
	if err != nil {
		return err
	}
	switch {
	case d.Tier() >= vaultacl.TierDestructive, !d.Complete:
		return answer(exitHarmful)
	case len(d.Gained) > 0:
		return answer(exitNo)
	}
	return nil
}

func wireChanges(changes []vaultacl.Change) []aclChange {
	out := []aclChange{}
	for _, c := range changes {
		out = append(out, aclChange{
			Path: c.Path, Operations: c.Operations, Sudo: c.Sudo, Tier: c.Tier.String(), Reason: c.TierWhy,
			Known: c.Known, Why: c.Why, Witness: wireRequest(c.Witness, c.Given), Rules: c.Rules,
		})
	}
	return out
}

func printDelta(out *output, d vaultacl.Delta) error {
	if len(d.Gained)+len(d.Lost) == 0 && d.Complete {
		return out.printf("no change\n")
	}
	rows := [][]string{{"", "TIER", "PATH", "OPERATIONS", "FOR EXAMPLE", "RULES"}}
	for _, side := range []struct {
		word    string
		changes []vaultacl.Change
	}{{"gained", d.Gained}, {"lost", d.Lost}} {
		for _, c := range side.changes {
			word, example := side.word, c.Witness.String()
			if !c.Known {
				word, example = "perhaps "+word, example+" ("+c.Why+")"
			}
			if g := givenText(c.Given); g != "" {
				example += " for " + g
			}
			rows = append(rows, []string{word, c.Tier.String(), clean(c.Path), operationsText(c), clean(example), clean(refText(c.Rules))})
		}
	}
	if err := out.table(rows); err != nil {
		return err
	}
	if !d.Complete {
		return out.printf("something may be missing: %s\n", clean(d.Why))
	}
	return nil
}

func operationsText(c vaultacl.Change) string {
	var out []string
	for _, op := range c.Operations {
		out = append(out, string(op))
	}
	if c.Sudo {
		out = append(out, "(sudo)")
	}
	return strings.Join(out, " ")
}
