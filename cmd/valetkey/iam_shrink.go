package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/valetkey/valetkey/scopes/iam"
)

type iamShrinkCmd struct {
	Policy string `arg:"" predictor:"json" help:"A policy file, or -."`
	Limit  int    `help:"How many characters it may have." default:"2048"`
}

type iamStep struct {
	What      string `json:"what"`
	Saved     int    `json:"saved"`
	Catalogue bool   `json:"catalogue"` // it leans on what actions and resources AWS has
}

type iamPart struct {
	Statement  int    `json:"statement"` // from 0
	Element    string `json:"element"`
	Characters int    `json:"characters"`
	Values     int    `json:"values"`
}

// iamShrunk is the JSON form of the answer.
type iamShrunk struct {
	Fits   bool            `json:"fits"`
	Policy json.RawMessage `json:"policy"` // the shortest that was found
	Before int             `json:"before"`
	After  int             `json:"after"`
	Limit  int             `json:"limit"`
	Steps  []iamStep       `json:"steps"`
	Parts  []iamPart       `json:"parts"` // the dearest first
	Help   []string        `json:"help"`
}

func (c *iamShrinkCmd) Run(out *output) error {
	if c.Limit < 1 {
		return &usageError{"the limit is at least 1"}
	}
	p, err := readIAMPolicy(c.Policy)
	if err != nil {
		return err
	}
	p, report, long := iam.Shrink(p, c.Limit)
	if long != nil && !errors.Is(long, iam.ErrTooLong) {
		return long
	}
	text, err := policyText(p, false)
	if err != nil {
		return err
	}
	if !out.json() {
		if long == nil {
			err = out.printf("%s", text)
		}
		return errors.Join(long, err, printReport(out, report, c.Limit))
	}
	res := iamShrunk{
		Fits: long == nil, Policy: text, Before: report.Before, After: report.After, Limit: c.Limit,
		Steps: []iamStep{}, Parts: []iamPart{}, Help: append([]string{}, report.Help...),
	}
	for _, s := range report.Steps {
		res.Steps = append(res.Steps, iamStep(s))
	}
	for _, s := range report.Parts {
		res.Parts = append(res.Parts, iamPart(s))
	}
	return errors.Join(long, out.value(res))
}

// printReport tells people what was done and where the characters are.
func printReport(out *output, r iam.Report, limit int) error {
	out.say("%d characters, before %d, limit %d", r.After, r.Before, limit)
	for _, s := range r.Steps {
		by := ""
		if s.Catalogue {
			by = ", by the action catalogue"
		}
		out.say("%s%s: %d saved", s.What, by, s.Saved)
	}
	rows := [][]string{{"STATEMENT", "ELEMENT", "VALUES", "CHARACTERS"}}
	for _, p := range r.Parts {
		rows = append(rows, []string{strconv.Itoa(p.Statement + 1), p.Element, strconv.Itoa(p.Values), strconv.Itoa(p.Characters)})
	}
	return printTable(out.stderr, rows)
}

// policyText is the policy in its one form, as a text file: compact, which is
// what AWS counts, or with one value a line.
func policyText(p iam.Policy, indent bool) ([]byte, error) {
	text, err := p.Marshal()
	if err != nil {
		return nil, err
	}
	if indent {
		var b bytes.Buffer
		if err := json.Indent(&b, text, "", "  "); err != nil {
			return nil, fmt.Errorf("laying out the policy: %w", err)
		}
		text = b.Bytes()
	}
	return append(text, '\n'), nil
}
