package main

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"reflect"
	"strings"

	"github.com/hashicorp/hcl/hcl/printer"

	"github.com/valetkey/valetkey/scopes/vaultacl"
)

type vaultaclExplainCmd struct {
	Policies string            `arg:"" predictor:"hcl" help:"The token's policies: a file, a folder with .hcl files, or -."`
	Path     string            `help:"Say what decides about this path."`
	Given    map[string]string `help:"What a template is filled with, such as identity.entity.id=ID." placeholder:"SELECTOR=VALUE"`
}

// aclRule is the JSON form of a rule that allows something.
type aclRule struct {
	vaultacl.Ref

	Tier   string `json:"tier"`
	Reason string `json:"reason,omitempty"`
}

type aclPolicyReport struct {
	Tier  string    `json:"tier"`
	Rules []aclRule `json:"rules"`
}

// aclPathReport is what decides about a path.
type aclPathReport struct {
	Path         string           `json:"path"`
	Capabilities []string         `json:"capabilities"` // as sys/capabilities answers
	Matches      []vaultacl.Match `json:"matches"`      // the first decides
	List         *vaultacl.Match  `json:"list"`         // decides about a list
}

func (c *vaultaclExplainCmd) Run(out *output) error {
	set, err := readACL(c.Policies)
	if err != nil {
		return err
	}
	if c.Path != "" {
		return c.path(out, set)
	}
	tier, reasons := vaultacl.TierIn(set)
	res := aclPolicyReport{Tier: tier.String(), Rules: []aclRule{}}
	rows := [][]string{{"TIER", "PATH", "BECAUSE", "RULE"}}
	for _, r := range reasons {
		res.Rules = append(res.Rules, aclRule{r.Rule, r.Tier.String(), r.Text})
		rows = append(rows, []string{r.Tier.String(), clean(r.Rule.Path), clean(cmp.Or(r.Text, "reads")), clean(refText([]vaultacl.Ref{r.Rule}))})
	}
	if out.json() {
		return out.value(res)
	}
	if err := out.table(rows); err != nil {
		return err
	}
	return out.printf("tier %s\n", res.Tier)
}

func (c *vaultaclExplainCmd) path(out *output, set []vaultacl.Policy) error {
	acl := vaultacl.Compile(vaultacl.Fill(set, c.Given))
	res := aclPathReport{Path: c.Path, Capabilities: acl.Capabilities(c.Path), Matches: acl.Matches(c.Path)}
	list := strings.TrimSuffix(c.Path, "/") + "/"
	if m, ok := acl.ListMatch(list); ok {
		res.List = &m
	}
	if res.Matches == nil {
		res.Matches = []vaultacl.Match{}
	}
	if out.json() {
		return out.value(res)
	}
	rows := [][]string{{"capabilities", strings.Join(res.Capabilities, " ")}}
	row := func(word string, m vaultacl.Match) {
		rows = append(rows, []string{word, fmt.Sprintf("%s  %s  (%s)", clean(m.Path), cmp.Or(strings.Join(m.Capabilities, " "), "nothing"), clean(refText(m.Rules)))})
	}
	for i, m := range res.Matches {
		if i == 0 {
			row("decides", m)
		} else {
			row("does not count", m)
		}
	}
	if len(res.Matches) == 0 {
		rows = append(rows, []string{"decides", "no rule matches the path"})
	}
	if res.List != nil {
		row("decides on a list", *res.List)
	}
	return out.table(rows)
}

var errReformatted = errors.New("formatting would change what the policy means; use --canonical")

type vaultaclFmtCmd struct {
	Files     []string `arg:"" predictor:"hcl" help:"Policy files, or - for standard input."`
	Write     bool     `short:"w" help:"Write the files instead of printing them."`
	Check     bool     `help:"Print the names of files that are not so, and leave with 3 if there are any."`
	Canonical bool     `help:"Print one form for one meaning, without comments."`
}

func (c *vaultaclFmtCmd) Run(out *output) error {
	return out.formatFiles(c.Files, ".hcl", c.Write, c.Check, func(text []byte) ([]byte, error) {
		return formatACL(text, c.Canonical)
	})
}

// formatACL lays out a policy as "vault policy fmt" does, which keeps comments, and checks that it means the same.
func formatACL(text []byte, canonical bool) ([]byte, error) {
	p, err := vaultacl.Parse(text)
	if err != nil {
		return nil, err
	}
	if canonical || bytes.HasPrefix(bytes.TrimSpace(text), []byte("{")) {
		return p.Marshal()
	}
	out, err := printer.Format(text)
	if err != nil {
		return nil, fmt.Errorf("formatting: %w", err)
	}
	out = append(bytes.TrimSpace(out), '\n')
	again, err := vaultacl.Parse(out)
	for _, q := range []*vaultacl.Policy{&p, &again} {
		for i := range q.Paths {
			q.Paths[i].Pos = vaultacl.Pos{}
		}
	}
	if err != nil || !reflect.DeepEqual(p, again) {
		return nil, errReformatted
	}
	return out, nil
}
