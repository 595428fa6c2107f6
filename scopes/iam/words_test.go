package iam_test

import (
	"testing"

	"github.com/valetkey/valetkey/scopes/iam"
)

func TestStatementInWords(t *testing.T) {
	for text, want := range map[string]string{
		`{"Effect":"Allow","Action":"*","Resource":"*"}`:                                                                                              "allows every action on every resource",
		`{"Effect":"Deny","NotAction":["s3:*","sts:*"],"NotResource":"arn:aws:s3:::b"}`:                                                               "denies everything but s3:*, sts:* on everything but arn:aws:s3:::b",
		`{"Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::b/*","Condition":{"Bool":{"x:k":"true"},"StringLike":{"x:a":["x","y"]}}}`: "allows s3:GetObject on arn:aws:s3:::b/* when x:k Bool true and x:a StringLike x, y",
		`{"Effect":"Allow","Principal":"*","Action":"sts:AssumeRole"}`:                                                                                "allows sts:AssumeRole to everybody",
		`{"Effect":"Allow","Principal":{"Service":"ec2.amazonaws.com","AWS":"123456789012"},"Action":"sts:AssumeRole"}`:                               "allows sts:AssumeRole to AWS 123456789012 and Service ec2.amazonaws.com",
	} {
		p, err := iam.Parse([]byte(`{"Version":"2012-10-17","Statement":` + text + `}`))
		if err != nil {
			t.Fatal(err)
		}
		if got := p.Statements[0].String(); got != want {
			t.Errorf("%s is %q, want %q", text, got, want)
		}
	}
}
