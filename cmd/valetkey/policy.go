package main

import (
	"cmp"
	"fmt"

	"github.com/valetkey/valetkey/broker/policy"
)

type policyCmd struct {
	Test policyTestCmd `cmd:"" help:"Decide every case of the policy tables, and hold the answers against them."`
}

type policyTestCmd struct {
	Dir     string `arg:"" help:"The folder with the tables: its tests/, or itself."`
	Catalog string `help:"The catalog folder with scopes and policies/. Default: DIR." placeholder:"DIR"`
	Verbose bool   `short:"v" help:"Show the cases that pass, too."`
}

// tableResult is the JSON form of one case.
type tableResult struct {
	File     string   `json:"file"`
	Name     string   `json:"name"`
	Outcome  string   `json:"outcome"`
	Passed   bool     `json:"passed"`
	Failures []string `json:"failures,omitempty"`
}

type tableReport struct {
	Files  int           `json:"files"`
	Cases  []tableResult `json:"cases"`
	Failed int           `json:"failed"`
	Unused []string      `json:"unused_policies"`
}

func (c *policyTestCmd) Run(out *output) error {
	report, err := policy.RunTables(c.Dir, cmp.Or(c.Catalog, c.Dir))
	if err != nil {
		return err
	}
	if err := c.print(out, report); err != nil {
		return err
	}
	if n := report.Failed(); n > 0 {
		return fmt.Errorf("%w: %d of %d cases fail", errTables, n, len(report.Cases))
	}
	return nil
}

func (c *policyTestCmd) print(out *output, report policy.Report) error {
	res := tableReport{Files: report.Files, Failed: report.Failed(), Unused: report.Unused}
	for _, k := range report.Cases {
		res.Cases = append(res.Cases, tableResult{k.File, k.Name, k.Got.Outcome.String(), k.Passed(), k.Failures})
	}
	if out.json() {
		return out.value(res)
	}
	var rows [][]string
	for _, k := range res.Cases {
		if k.Passed && !c.Verbose {
			continue
		}
		word := "ok"
		if !k.Passed {
			word = "FAIL"
		}
		rows = append(rows, []string{word, k.File, clean(k.Name), k.Outcome})
		for _, f := range k.Failures {
			rows = append(rows, []string{"", "", "", clean(f)})
		}
	}
	rows = append(rows, []string{fmt.Sprintf("%d cases in %d files, %d fail", len(res.Cases), res.Files, res.Failed)})
	if err := out.table(rows); err != nil {
		return err
	}
	for _, id := range res.Unused {
		out.say("policy %s decides no case", id)
	}
	return nil
}
