package iam_test

import (
	"fmt"

	"github.com/valetkey/valetkey/scopes/iam"
)

func policyOf(statements ...iam.Statement) iam.Policy { return iam.Policy{Statements: statements} }

func allowOn(action, resource string) iam.Statement {
	return iam.Statement{Effect: iam.Allow, Action: []string{action}, Resource: []string{resource}}
}

// A ceiling covers a request for less. Where it does not, the witness is what would be allowed beyond it.
func ExampleCovers() {
	ceiling := policyOf(allowOn("s3:Get*", "arn:aws:s3:::reports/*"))
	for _, asked := range []iam.Policy{
		policyOf(allowOn("s3:GetObject", "arn:aws:s3:::reports/2026/*")),
		policyOf(allowOn("s3:GetObject", "arn:aws:s3:::report*/2026/*")),
	} {
		c, err := iam.Covers(iam.DialectAWS, []iam.Policy{ceiling}, []iam.Policy{asked})
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(c.Answer)
		if c.Witness != nil {
			fmt.Println(c.Witness.Action, "on", c.Witness.Resource)
		}
	}
	// Output:
	// yes
	// no
	// s3:GetObject on arn:aws:s3:::report/2026/
}

func ExampleDiff() {
	before := policyOf(allowOn("s3:GetObject", "arn:aws:s3:::reports/*"))
	after := policyOf(allowOn("s3:GetObject", "arn:aws:s3:::reports/2026/*"), allowOn("s3:DeleteObject", "arn:aws:s3:::reports/tmp/*"))
	d, err := iam.Diff(iam.DialectAWS, []iam.Policy{before}, []iam.Policy{after})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, c := range d.Gained {
		fmt.Println("gained:", c)
	}
	for _, c := range d.Lost {
		fmt.Println("lost:", c)
	}
	// Output:
	// gained: s3:DeleteObject on arn:aws:s3:::reports/tmp/*; for one, s3:DeleteObject on arn:aws:s3:::reports/tmp/
	// lost: s3:GetObject on arn:aws:s3:::reports/*; for one, s3:GetObject on arn:aws:s3:::reports/
}

func ExampleShrink() {
	p := policyOf(allowOn("s3:GetObject", "arn:aws:s3:::reports/*"), allowOn("s3:PutObject", "arn:aws:s3:::reports/*"))
	p, report, err := iam.Shrink(iam.DialectAWS, p, 150)
	if err != nil {
		fmt.Println(err)
		return
	}
	text, err := p.Marshal()
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(report.Before, "to", report.After)
	fmt.Println(report.Steps[0].What)
	fmt.Println(string(text))
	// Output:
	// 196 to 134
	// merged statements 1 and 2, which differ in their actions
	// {"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["s3:GetObject","s3:PutObject"],"Resource":"arn:aws:s3:::reports/*"}]}
}

func ExampleAssess() {
	r := iam.Assess(iam.DialectAWS, policyOf(allowOn("iam:PassRole", "*"), allowOn("lambda:CreateFunction", "*"), allowOn("lambda:InvokeFunction", "*")))
	fmt.Println(r.Blast)
	for _, w := range r.Ways {
		fmt.Printf("%s: %s\n", w, w.Why)
	}
	// Output:
	// 3 known actions (0 list, 0 read, 3 write, 0 tagging, 0 permissions) of 2 services on every resource of the account
	// iam:PassRole + lambda:CreateFunction: runs code with a role
}
