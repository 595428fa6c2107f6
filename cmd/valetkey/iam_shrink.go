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
	iamFiles
	readBy

	Policy string `arg:"" predictor:"policy" help:"A policy file, or -."`
	Limit  int    `help:"How many characters it may have." default:"2048"`
}

// iamShrunk is the JSON form of the answer.
type iamShrunk struct {
	Fits   bool            `json:"fits"`
	Policy json.RawMessage `json:"policy"` // the shortest that was found
	Limit  int             `json:"limit"`
	iam.Report
}

func (c *iamShrinkCmd) Run(out *output) error {
	if c.Limit < 1 {
		return &usageError{"the limit is at least 1"}
	}
	files, err := readSet(c.Policy, c.ext())
	if err != nil {
		return err
	}
	p, err := oneIAM(files)
	if err != nil {
		return err
	}
	d, err := c.dialect()
	if err != nil {
		return err
	}
	p, report, long := iam.Shrink(d, p, c.Limit)
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
	return errors.Join(long, out.value(iamShrunk{long == nil, text, c.Limit, report}))
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
