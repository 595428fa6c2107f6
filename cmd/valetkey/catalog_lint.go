package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/valetkey/valetkey/scopes"
	"github.com/valetkey/valetkey/scopes/review"
)

type catalogLintCmd struct {
	Dir string `arg:"" help:"A catalog folder, or REV:PATH of the git repository you are in."`

	enforcedBy
}

type lintReport struct {
	Scopes   int              `json:"scopes"`
	Findings []review.Finding `json:"findings"`
}

func (c *catalogLintCmd) Run(ctx context.Context, out *output) error {
	cat, err := openCatalog(ctx, c.Dir)
	if err != nil {
		if errors.Is(err, scopes.ErrCatalog) {
			return fmt.Errorf("%w\nOnly a catalog that loads can be linted; a parameter that is never used is such an error", err)
		}
		return err
	}
	if cat, err = c.under(cat); err != nil {
		return err
	}
	res := lintReport{Scopes: len(cat.Scopes()), Findings: review.Lint(cat)}
	if res.Findings == nil {
		res.Findings = []review.Finding{}
	}
	if out.json() {
		err = out.value(res)
	} else {
		err = res.print(out)
	}
	if err == nil && len(res.Findings) > 0 {
		err = answer(exitNo)
	}
	return err
}

func (r lintReport) print(out *output) error {
	for _, f := range r.Findings {
		if err := out.printf("%s: %s: %s: %s\n      %s.\n", clean(f.File), f.Scope, f.Rule, clean(strings.ReplaceAll(f.Why, "\n", " ")), f.Do); err != nil {
			return err
		}
	}
	return out.printf("%d findings in %s\n", len(r.Findings), scopeCount(r.Scopes))
}
