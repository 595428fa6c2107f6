package main

import (
	"fmt"

	"github.com/valetkey/valetkey/scopes/actions"
	"github.com/valetkey/valetkey/scopes/iam"
)

type iamCoverCmd struct {
	A string `arg:"" predictor:"json" help:"The wider side: a file, a folder with the .json files of one caller, or -."`
	B string `arg:"" predictor:"json" help:"The narrower side, likewise."`
}

// iamCoverAnswer is the JSON form of the answer.
type iamCoverAnswer struct {
	Answer  string        `json:"answer"`
	Witness *iamRequest   `json:"witness,omitempty"` // B allows it, A does not
	A       *iam.Decision `json:"a,omitempty"`       // of the witness
	B       *iam.Decision `json:"b,omitempty"`
	Why     string        `json:"why,omitempty"`
}

func (c *iamCoverCmd) Run(out *output) error {
	a, b, err := readPair(c.A, c.B, readIAM)
	if err != nil {
		return err
	}
	got, err := iam.Covers(a.policies, b.policies)
	if err != nil {
		return err
	}
	res := iamCoverAnswer{Answer: got.Answer.String(), Witness: wireIAMRequest(got.Witness), Why: got.Why}
	text := res.Answer
	if got.Why != "" {
		text += ": " + got.Why
	}
	text = clean(text) + "\n"
	if got.Witness != nil {
		text = clean(fmt.Sprintf("%s: %s", res.Answer, res.Witness)) + "\n"
		for _, s := range []struct {
			side string
			set  iamSet
			to   **iam.Decision
		}{{"A", a, &res.A}, {"B", b, &res.B}} {
			d, err := iam.Allows(s.set.policies, nil, nil, *got.Witness)
			if err != nil {
				return fmt.Errorf("evaluating the witness: %w", err)
			}
			*s.to = &d
			text += clean(fmt.Sprintf("  %s: %s", s.side, s.set.decision(d))) + "\n"
		}
	}
	if out.json() {
		err = out.value(res)
	} else {
		err = out.printf("%s", text)
	}
	if err != nil {
		return err
	}
	switch got.Answer {
	case iam.Yes:
		return nil
	case iam.No:
		return answer(exitNo)
	case iam.Unknown:
	}
	return answer(exitUnknown)
}

type iamDiffCmd struct {
	A string `arg:"" predictor:"json" help:"Before: a file, a folder with the .json files of one caller, or -."`
	B string `arg:"" predictor:"json" help:"After, likewise."`
}

// iamChange is the JSON form of one change.
type iamChange struct {
	Policy       string                         `json:"policy"`    // the file that allows it
	Statement    int                            `json:"statement"` // from 0
	Sid          string                         `json:"sid,omitempty"`
	Actions      []string                       `json:"actions,omitempty"`
	NotActions   []string                       `json:"not_actions,omitempty"`
	Resources    []string                       `json:"resources,omitempty"`
	NotResources []string                       `json:"not_resources,omitempty"`
	Condition    map[string]map[string][]string `json:"condition,omitempty"`
	Tier         string                         `json:"tier"`
	Names        []string                       `json:"names"` // the catalogue's actions among them, the first few
	More         int                            `json:"more,omitempty"`
	Known        bool                           `json:"known"`
	Witness      *iamRequest                    `json:"witness,omitempty"`
	Why          string                         `json:"why,omitempty"` // where it is not known
}

type iamDelta struct {
	Gained []iamChange `json:"gained"`
	Lost   []iamChange `json:"lost"`
	Tier   string      `json:"tier"` // of what is gained; doubts count
}

func (c *iamDiffCmd) Run(out *output) error {
	a, b, err := readPair(c.A, c.B, readIAM)
	if err != nil {
		return err
	}
	d, err := iam.Diff(a.policies, b.policies)
	if err != nil {
		return err
	}
	tier := actions.ClassUnspecified
	for _, g := range d.Gained {
		tier = max(tier, g.Tier)
	}
	res := iamDelta{wireIAMChanges(b, d.Gained), wireIAMChanges(a, d.Lost), tier.String()}
	switch {
	case out.json():
		err = out.value(res)
	case d.Empty():
		err = out.printf("no change\n")
	default:
		rows := [][]string{{"", "TIER", "WHAT", "FOR EXAMPLE", "STATEMENT"}}
		rows = append(rows, iamChangeRows("gained", b, d.Gained)...)
		err = out.table(append(rows, iamChangeRows("lost", a, d.Lost)...))
	}
	switch {
	case err != nil:
		return err
	case tier >= actions.ClassDestructive:
		return answer(exitHarmful)
	case len(d.Gained) > 0:
		return answer(exitNo)
	}
	return nil
}

func wireIAMChanges(side iamSet, changes []iam.Change) []iamChange {
	out := []iamChange{}
	for _, c := range changes {
		w := iamChange{
			Policy: side.name(c.Policy), Statement: c.Statement, Sid: c.Sid, Actions: c.Actions, NotActions: c.NotActions,
			Resources: c.Resources, NotResources: c.NotResources, Condition: c.Condition, Tier: c.Tier.String(),
			Names: append([]string{}, c.Names...), More: c.More, Known: c.Known, Why: c.Why,
		}
		if c.Known {
			w.Witness = wireIAMRequest(&c.Witness)
		}
		out = append(out, w)
	}
	return out
}

func iamChangeRows(word string, side iamSet, changes []iam.Change) [][]string {
	var rows [][]string
	for _, c := range changes {
		word, example := word, c.Why
		if c.Known {
			example = wireIAMRequest(&c.Witness).String()
		} else {
			word = "perhaps " + word
		}
		rows = append(rows, []string{word, c.Tier.String(), clean(c.What()), clean(example), clean(statementText(side.name(c.Policy), c.Statement, c.Sid))})
	}
	return rows
}
