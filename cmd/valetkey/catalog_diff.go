package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/valetkey/valetkey/scopes"
	"github.com/valetkey/valetkey/scopes/review"
)

type catalogDiffCmd struct {
	Old string `arg:"" help:"Before: a catalog folder, or REV:PATH of the git repository you are in."`
	New string `arg:"" help:"After, likewise."`

	enforcedBy
	failOn
}

// markdown marks a command that has -o markdown.
func (c *catalogDiffCmd) markdown() {}

// catalogDelta is the JSON form of the answer.
type catalogDelta struct {
	Gained int         `json:"gained"`
	Tier   scopes.Tier `json:"tier"` // of what is gained; "none" where nothing is
	review.Delta
}

func (c *catalogDiffCmd) Run(ctx context.Context, out *output) error {
	before, err := openCatalog(ctx, c.Old)
	if err != nil {
		return err
	}
	after, err := openCatalog(ctx, c.New)
	if err != nil {
		return err
	}
	if before, err = c.under(before); err != nil {
		return err
	}
	if after, err = c.under(after); err != nil {
		return err
	}
	d := review.Diff(before, after)
	switch out.format {
	case formatJSON:
		err = out.value(catalogDelta{d.Gains(), d.Tier(), d})
	case formatMarkdown:
		err = out.printf("%s", diffMarkdown(d))
	default:
		err = printCatalogDelta(out, d)
	}
	if err != nil {
		return err
	}
	var gains []gain
	for _, s := range d.Scopes {
		for _, g := range s.Gained {
			gains = append(gains, gain{g.Tier, g.Known})
		}
	}
	return c.answer(gains, true)
}

// diffSummary is the whole difference in one sentence.
func diffSummary(d review.Delta) string {
	if len(d.Scopes) == 0 {
		return "no change in " + scopeCount(d.Same)
	}
	where := scopeCount(len(d.Scopes))
	if n := d.Gains(); n > 0 {
		return fmt.Sprintf("%d gained in %s, up to tier %s; %d as before", n, where, d.Tier(), d.Same)
	}
	return fmt.Sprintf("nothing gained in %s; %d as before", where, d.Same)
}

func scopeCount(n int) string {
	if n == 1 {
		return "1 scope"
	}
	return fmt.Sprintf("%d scopes", n)
}

// tierStep says a scope's tier on both sides: "write -> destructive".
func tierStep(s review.ScopeDelta) string {
	switch {
	case s.Before == scopes.TierUnspecified:
		return s.After.String()
	case s.After == scopes.TierUnspecified || s.Before == s.After:
		return s.Before.String()
	}
	return s.Before.String() + " -> " + s.After.String()
}

// exampleText says what makes a change, or why it is only a doubt.
func exampleText(c review.Change) string {
	if !c.Known {
		return "not known: " + c.Why
	}
	if c.Given == "" || c.Witness == "" {
		return c.Witness
	}
	return c.Witness + " (" + c.Given + ")"
}

func printCatalogDelta(out *output, d review.Delta) error {
	for _, s := range d.Scopes {
		if err := out.printf("%s %s, tier %s: %s\n", s.Scope, s.Status, tierStep(s), clean(s.Description)); err != nil {
			return err
		}
		for _, side := range []struct {
			word    string
			changes []review.Change
		}{{"gained", s.Gained}, {"lost", s.Lost}} {
			for _, c := range side.changes {
				word := side.word
				if !c.Known {
					word = "perhaps " + word
				}
				if err := out.printf("  %s (%s) %s\n", word, c.Tier, clean(c.What)); err != nil {
					return err
				}
				if e := exampleText(c); e != "" {
					if err := out.printf("      %s\n", clean(strings.TrimPrefix("for one, "+e, "for one, not known: "))); err != nil {
						return err
					}
				}
			}
		}
		for _, n := range s.Notes {
			if err := out.printf("  note: %s\n", clean(n)); err != nil {
				return err
			}
		}
	}
	return out.printf("%s\n", diffSummary(d))
}
