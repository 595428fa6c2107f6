package iam_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/valetkey/valetkey/scopes/iam"
)

// What grows is what a new action would be allowed under: a Deny of everything leaves nothing.
func TestAssessGrowing(t *testing.T) {
	for statements, want := range map[string]string{
		act("s3:*") + `,{"Effect":"Deny","Action":"*","Resource":"*"}`:                                               "",
		act("s3:*") + `,{"Effect":"Deny","Action":"s3:*","Resource":"*"}`:                                            "",
		act("s3:*") + `,{"Effect":"Deny","NotAction":["s3:GetObject","s3:PutObject"],"Resource":"*"}`:                "",
		act("s3:Get*") + `,{"Effect":"Deny","Action":"s3:GetObject*","Resource":"*"}`:                                "s3:Get*",
		act("*") + `,{"Effect":"Deny","NotAction":"sts:GetCallerIdentity","Resource":"*"}`:                           "",
		act("*") + `,{"Effect":"Deny","NotAction":"sqs:*","Resource":"*"}`:                                           "*",
		`{"Effect":"Allow","NotAction":"iam:*","Resource":"*"}`:                                                      "not iam:*",
		`{"Effect":"Allow","NotAction":"iam:*","Resource":"*"},{"Effect":"Deny","NotAction":"iam:*","Resource":"*"}`: "",
	} {
		r := iam.Assess(iam.DialectAWS, doc(t, statements)[0])
		if got := strings.Join(r.Blast.Growing, " "); got != want {
			t.Errorf("%s: %q, want %q", statements, got, want)
		}
	}
}

// An empty value is to be seen.
func TestWordsShowEmptyValues(t *testing.T) {
	s := doc(t, `{"Effect":"Allow","Action":"s3:ListBucket","Resource":"arn:aws:s3:::b","Condition":{"StringLike":{"s3:prefix":["","home/"]}}}`)[0].Statements[0]
	if got, want := s.String(), `allows s3:ListBucket on arn:aws:s3:::b when s3:prefix StringLike "", home/`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestByteOrderMark(t *testing.T) {
	_, err := iam.Parse([]byte("\uFEFF" + allow("s3:GetObject", "*")))
	if err == nil || !strings.Contains(err.Error(), "byte order mark") {
		t.Errorf("%v", err)
	}
}

// Denies alone are no error of form.
func TestShrinkOfDenies(t *testing.T) {
	_, _, err := iam.Shrink(iam.DialectAWS, doc(t, `{"Effect":"Deny","Action":"s3:*","Resource":"*"}`)[0], 10)
	if !errors.Is(err, iam.ErrEmpty) || !strings.Contains(err.Error(), "Denies alone") {
		t.Errorf("%v", err)
	}
}
