package main

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/valetkey/valetkey/scopes/actions"
	"github.com/valetkey/valetkey/scopes/iam"
)

type iamExplain struct {
	iamFiles
	readBy
}

// iamExplanation is the JSON form of the answer.
type iamExplanation struct {
	Statements []string `json:"statements"` // in words
	iam.Risk

	Characters int `json:"characters"`
	Limit      int `json:"limit"` // of a session policy
}

func (c iamExplain) explain(files []textFile) (any, [][]string, error) {
	p, err := oneIAM(files)
	if err != nil {
		return nil, nil, err
	}
	d, err := c.dialect()
	if err != nil {
		return nil, nil, err
	}
	if _, err := iam.Compile(d, []iam.Policy{p}, nil, nil); err != nil {
		return nil, nil, err
	}
	res, err := explainIAM(d, p)
	return res, res.rows(), err
}

func explainIAM(d iam.Dialect, p iam.Policy) (iamExplanation, error) {
	text, err := p.Marshal()
	out := iamExplanation{Statements: []string{}, Risk: iam.Assess(d, p), Characters: len(text), Limit: iam.MaxSize}
	for _, s := range p.Statements {
		out.Statements = append(out.Statements, s.String())
	}
	return out, err
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
		row(r.Tier.String(), "%s: %s on %s", r.Rule, few(r.Actions, r.More), few(r.Resources, 0))
	}
	row("reach", "%s", e.Blast)
	for _, l := range []struct {
		label string
		names []string
	}{{"irreversible", e.Blast.Irreversible}, {"reads secrets", e.Blast.SensitiveReads}} {
		if len(l.names) > 0 {
			row(l.label, "%s", few(l.names, 0))
		}
	}
	for i, name := range e.Blast.Unknown {
		switch near := actions.Nearest(name); {
		case i == fewRows:
			row("", "and %d more unknown actions; -o json has them all", len(e.Blast.Unknown)-i)
		case i < fewRows && near != "":
			row("unknown", "%s; did you mean %s?", name, near)
		case i < fewRows:
			row("unknown", "%s", name)
		}
	}
	for i, w := range e.Ways {
		if i == fewRows {
			row("", "and %d more ways; -o json has them all", len(e.Ways)-i)
			break
		}
		row("gains rights", "%s: %s", w, w.Why)
	}
	row("characters", "%d; a session policy may have %d", e.Characters, e.Limit)
	return rows
}
