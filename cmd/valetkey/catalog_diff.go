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
}

// markdown marks a command that has -o markdown.
func (c *catalogDiffCmd) markdown() {}

// catalogChange is the JSON form of one change.
type catalogChange struct {
	review.Change

	Tier string `json:"tier"`
}

// catalogScope is the JSON form of one scope's changes.
type catalogScope struct {
	Scope       string          `json:"scope"`
	Status      review.Status   `json:"status"`
	Before      string          `json:"tier_before,omitempty"`
	After       string          `json:"tier_after,omitempty"`
	Description string          `json:"description"`
	Gained      []catalogChange `json:"gained"`
	Lost        []catalogChange `json:"lost"`
	Notes       []string        `json:"notes,omitempty"`
}

type catalogDelta struct {
	Before    string         `json:"before"`
	After     string         `json:"after"`
	Gained    int            `json:"gained"`
	Tier      string         `json:"tier"` // of what is gained; "none" where nothing is
	Unchanged int            `json:"unchanged"`
	Scopes    []catalogScope `json:"scopes"`
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
	d := review.Diff(before, after)
	switch out.format {
	case formatJSON:
		err = out.value(wireCatalogDelta(d))
	case formatMarkdown:
		err = out.printf("%s", diffMarkdown(d))
	default:
		err = printCatalogDelta(out, d)
	}
	switch {
	case err != nil:
		return err
	case d.Tier() >= scopes.TierDestructive:
		return answer(exitHarmful)
	case d.Gains() > 0:
		return answer(exitNo)
	}
	return nil
}

func wireCatalogDelta(d review.Delta) catalogDelta {
	out := catalogDelta{
		Before: d.Before, After: d.After, Gained: d.Gains(), Tier: gainTier(d.Tier()), Unchanged: d.Same, Scopes: []catalogScope{},
	}
	changes := func(in []review.Change) []catalogChange {
		list := []catalogChange{}
		for _, c := range in {
			list = append(list, catalogChange{c, c.Tier.String()})
		}
		return list
	}
	for _, s := range d.Scopes {
		w := catalogScope{
			Scope: s.Scope, Status: s.Status, Description: s.Description,
			Gained: changes(s.Gained), Lost: changes(s.Lost), Notes: s.Notes,
		}
		if s.Before != scopes.TierUnspecified {
			w.Before = s.Before.String()
		}
		if s.After != scopes.TierUnspecified {
			w.After = s.After.String()
		}
		out.Scopes = append(out.Scopes, w)
	}
	return out
}

func gainTier(t scopes.Tier) string {
	if t == scopes.TierUnspecified {
		return "none"
	}
	return t.String()
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
