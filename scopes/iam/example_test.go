package iam_test

import (
	"fmt"

	"github.com/valetkey/valetkey/scopes/iam"
)

func ExampleCompile() {
	role, err := iam.Parse([]byte(`{"Version": "2012-10-17", "Statement": [
		{"Effect": "Allow", "Action": "s3:*", "Resource": "*"},
		{"Sid": "KeepLogs", "Effect": "Deny", "Action": "s3:Delete*", "Resource": "arn:aws:s3:::logs/*"}]}`))
	if err != nil {
		fmt.Println(err)
		return
	}
	session, err := iam.Parse([]byte(`{"Version": "2012-10-17", "Statement":
		{"Effect": "Allow", "Action": "s3:*Object", "Resource": "arn:aws:s3:::*/${aws:PrincipalTag/team}/*"}}`))
	if err != nil {
		fmt.Println(err)
		return
	}
	evaluator, err := iam.Compile([]iam.Policy{role}, &session, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, r := range []iam.Request{
		{Action: "s3:GetObject", Resource: "arn:aws:s3:::data/red/x", Context: map[string][]string{"aws:PrincipalTag/team": {"red"}}},
		{Action: "s3:GetObject", Resource: "arn:aws:s3:::data/blue/x", Context: map[string][]string{"aws:PrincipalTag/team": {"red"}}},
		{Action: "s3:DeleteObject", Resource: "arn:aws:s3:::logs/red/x", Context: map[string][]string{"aws:PrincipalTag/team": {"red"}}},
	} {
		d, err := evaluator.Allows(r)
		fmt.Println(d.Verdict, d.Layer, d.Statements, err)
	}
	// Output:
	// allow  [{identity[0] 0  Allow} {session 0  Allow}] <nil>
	// implicit_deny session [] <nil>
	// explicit_deny  [{identity[0] 1 KeepLogs Deny}] <nil>
}

func ExampleParse() {
	_, err := iam.Parse([]byte(`{"Version": "2012-10-17", "Statement": {
  "Effect": "Allow", "Action": "s3:GetObject",
  "Resources": "*"}}`))
	fmt.Println(err)
	// Output:
	// 3:3: unknown element "Resources": a statement has Sid, Effect, Principal, NotPrincipal, Action, NotAction, Resource, NotResource and Condition; names are case-sensitive
}
