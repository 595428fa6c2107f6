package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"github.com/valetkey/valetkey/scopes/vaultacl"
)

type vaultaclSimulateCmd struct {
	Policies  string            `arg:"" optional:"" predictor:"hcl" help:"The token's policies: a file, or a folder with .hcl files. A line can bring its own."`
	Operation string            `help:"The operation." enum:"create,read,update,delete,list,patch,recover" default:"read"`
	Path      string            `help:"The path, without v1/. Without it, cases are read from standard input."`
	Data      string            `help:"The parameters, as a JSON object." placeholder:"JSON"`
	WrapTTL   string            `name:"wrap-ttl" help:"The life asked for of a wrapping token."`
	Sudo      bool              `help:"Suppose that Vault protects the path, so that sudo is needed."`
	Given     map[string]string `help:"What a template is filled with, such as identity.entity.id=ID." placeholder:"SELECTOR=VALUE"`
}

// aclCase is one line of standard input: a request, with what it may need.
type aclCase struct {
	aclRequest

	Name     string   `json:"name,omitempty"`
	Policies []string `json:"policies,omitempty"` // HCL; they take the place of the argument's
	Verdict  string   `json:"verdict,omitempty"`  // what is expected
	Why      string   `json:"why,omitempty"`      // a remark; not used
}

// aclVerdict is one line of the answer.
type aclVerdict struct {
	Name     string         `json:"name,omitempty"`
	Verdict  string         `json:"verdict"`
	Expected string         `json:"expected,omitempty"` // where it is not the verdict
	Path     string         `json:"path,omitempty"`     // of the rule that decides
	Rules    []vaultacl.Ref `json:"rules"`
	MFA      bool           `json:"mfa,omitempty"`
	Why      string         `json:"why"`
}

func (c *vaultaclSimulateCmd) Run(ctx context.Context, out *output) error {
	var set []vaultacl.Policy
	var err error
	switch {
	case c.Policies != "":
		if c.Policies == "-" && c.Path == "" {
			return &usageError{"policies and cases cannot both be standard input"}
		}
		if set, err = readACL(c.Policies); err != nil {
			return err
		}
	case c.Path != "":
		return &usageError{"no policies to judge by"}
	}
	if c.Path == "" {
		return c.lines(ctx, out, set)
	}
	k := aclCase{aclRequest: aclRequest{
		Operation: vaultacl.Operation(c.Operation), Path: c.Path, WrapTTL: c.WrapTTL, Sudo: c.Sudo, Given: c.Given,
	}}
	if c.Data != "" {
		dec := json.NewDecoder(strings.NewReader(c.Data))
		dec.UseNumber()
		if err := dec.Decode(&k.Data); err != nil || k.Data == nil {
			return &usageError{fmt.Sprintf("--data is no JSON object: %v", err)}
		}
	}
	v, text, err := k.judge(set)
	if err != nil {
		return err
	}
	if out.json() {
		err = out.value(v)
	} else {
		err = out.printf("%s\n", text)
	}
	if err == nil && v.Verdict != vaultacl.Allowed.String() {
		err = answer(exitNo)
	}
	return err
}

// lines answers the cases of standard input, one line each.
func (c *vaultaclSimulateCmd) lines(ctx context.Context, out *output, set []vaultacl.Policy) error {
	wrong, total := 0, 0
	err := eachLine(ctx, os.Stdin, func(_ int, line []byte, err error) error {
		if err != nil {
			return err
		}
		k, err := decodeLine[aclCase](line)
		if err != nil {
			return err
		}
		if len(k.Policies) == 0 && len(set) == 0 {
			return &usageError{"no policies to judge by, neither in the line nor as an argument"}
		}
		v, text, err := k.judge(set)
		if err != nil {
			return err
		}
		total++
		if v.Expected != "" {
			wrong++
			text += "; expected " + v.Expected
		}
		if out.json() {
			return out.line(v)
		}
		return out.printf("%s\n", text)
	})
	if err == nil && wrong > 0 {
		return &answerError{exitVerification, fmt.Sprintf("%d of %d cases are not as expected", wrong, total)}
	}
	return err
}

// judge answers a case, for programs and for people.
func (k aclCase) judge(set []vaultacl.Policy) (v aclVerdict, text string, err error) {
	if len(k.Policies) > 0 {
		set = nil
		for i, t := range k.Policies {
			p, err := vaultacl.Parse([]byte(t))
			if err != nil {
				return v, "", fmt.Errorf("policies[%d]: %w", i, err)
			}
			set = append(set, p)
		}
	}
	r, err := k.request()
	if err != nil {
		return v, "", err
	}
	d := vaultacl.Allows(vaultacl.Fill(set, k.Given), r)
	v = aclVerdict{Name: k.Name, Verdict: d.Verdict.String(), Path: d.Path, Rules: d.Rules, MFA: d.MFA, Why: d.Why}
	if v.Rules == nil {
		v.Rules = []vaultacl.Ref{}
	}
	if k.Verdict != "" && k.Verdict != v.Verdict {
		v.Expected = k.Verdict
	}
	text = fmt.Sprintf("%s  %s  %s", v.Verdict, cmp.Or(k.Name, r.String()), v.Why)
	if len(d.Rules) > 0 {
		text += " (" + refText(d.Rules) + ")"
	}
	return v, clean(text), nil
}
