package main

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/valetkey/valetkey/scopes/iam"
)

type iamExplainCmd struct {
	Policy string `arg:"" predictor:"json" help:"A policy file, or -."`
}

// iamExplanation is the JSON form of the answer.
type iamExplanation struct {
	Statements []string    `json:"statements"` // in words
	Tier       string      `json:"tier"`
	Reasons    []iamReason `json:"reasons"`
	Reach      iamReach    `json:"reach"`
	Ways       []iamWay    `json:"ways"`
	Characters int         `json:"characters"`
	Limit      int         `json:"limit"` // of a session policy
}

// iamReason is a rule that a policy meets.
type iamReason struct {
	Tier      string   `json:"tier"`
	Rule      string   `json:"rule"`
	Actions   []string `json:"actions"`
	More      int      `json:"more,omitempty"` // actions that are not listed
	Resources []string `json:"resources"`
}

// iamReach is how far a policy reaches.
type iamReach struct {
	Text           string   `json:"text"`
	Services       []string `json:"services"`
	List           int      `json:"list"`
	Read           int      `json:"read"`
	Write          int      `json:"write"`
	Tagging        int      `json:"tagging"`
	Permissions    int      `json:"permissions"`
	Exact          int      `json:"exact_resources"`
	Patterned      int      `json:"resource_patterns"`
	AccountWide    bool     `json:"account_wide"`
	Growing        []string `json:"growing"`
	Irreversible   []string `json:"irreversible"`
	SensitiveReads []string `json:"sensitive_reads"`
	Unknown        []string `json:"unknown"`
}

// iamWay is a known way to wider rights.
type iamWay struct {
	Actions []string `json:"actions"`
	Why     string   `json:"why"`
}

func (c *iamExplainCmd) Run(out *output) error {
	p, err := readIAMPolicy(c.Policy)
	if err != nil {
		return err
	}
	text, err := p.Marshal()
	if err != nil {
		return err
	}
	res := explainIAM(p, iam.Assess(p))
	res.Characters = len(text)
	if out.json() {
		return out.value(res)
	}
	return out.table(res.rows())
}

func explainIAM(p iam.Policy, r iam.Risk) iamExplanation {
	b := r.Blast
	list := func(l []string) []string { return append([]string{}, l...) }
	out := iamExplanation{
		Statements: []string{}, Tier: r.Tier.String(), Reasons: []iamReason{}, Ways: []iamWay{}, Limit: iam.MaxSize,
		Reach: iamReach{
			Text: b.String(), Services: list(b.Services), List: b.Levels.List, Read: b.Levels.Read, Write: b.Levels.Write,
			Tagging: b.Levels.Tagging, Permissions: b.Levels.Permissions, Exact: b.Exact, Patterned: b.Patterned,
			AccountWide: b.AccountWide, Growing: list(b.Growing), Irreversible: list(b.Irreversible),
			SensitiveReads: list(b.SensitiveReads), Unknown: list(b.Unknown),
		},
	}
	for _, s := range p.Statements {
		out.Statements = append(out.Statements, s.String())
	}
	for _, s := range r.Reasons {
		out.Reasons = append(out.Reasons, iamReason{s.Tier.String(), s.Rule, list(s.Actions), s.More, list(s.Resources)})
	}
	for _, w := range r.Ways {
		out.Ways = append(out.Ways, iamWay{list(w.Actions), w.Why})
	}
	return out
}

// People are shown so many actions of a rule, and so many rules.
const (
	fewNames = 5
	fewRows  = 12
)

// few is a list for people; more is how many it lacks already.
func few(list []string, more int) string {
	if len(list) > fewNames {
		list, more = list[:fewNames], more+len(list)-fewNames
	}
	out := strings.Join(list, ", ")
	if more > 0 {
		out += fmt.Sprintf(" and %d more", more)
	}
	return out
}

// rows is the explanation for people.
func (e iamExplanation) rows() [][]string {
	var rows [][]string
	row := func(label, format string, args ...any) {
		rows = append(rows, []string{label, clean(fmt.Sprintf(format, args...))})
	}
	for i, s := range e.Statements {
		row("statement "+strconv.Itoa(i+1), "%s", s)
	}
	row("tier", "%s", e.Tier)
	for i, r := range e.Reasons {
		if i == fewRows {
			row("", "and %d more reasons; -o json has them all", len(e.Reasons)-i)
			break
		}
		row(r.Tier, "%s: %s on %s", r.Rule, few(r.Actions, r.More), few(r.Resources, 0))
	}
	row("reach", "%s", e.Reach.Text)
	for _, l := range []struct {
		label string
		names []string
	}{{"irreversible", e.Reach.Irreversible}, {"reads secrets", e.Reach.SensitiveReads}, {"unknown", e.Reach.Unknown}} {
		if len(l.names) > 0 {
			row(l.label, "%s", few(l.names, 0))
		}
	}
	for i, w := range e.Ways {
		if i == fewRows {
			row("", "and %d more ways; -o json has them all", len(e.Ways)-i)
			break
		}
		row("gains rights", "%s: %s", strings.Join(w.Actions, " + "), w.Why)
	}
	row("characters", "%d; a session policy may have %d", e.Characters, e.Limit)
	return rows
}
