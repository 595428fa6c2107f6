package iam_test

import (
	"strings"
	"testing"
	"time"

	"github.com/valetkey/valetkey/scopes/iam"
)

// What AWS refuses is refused, with what is wrong in the error.
func TestParseRefusesWhatAWSRefuses(t *testing.T) {
	statement := func(action, resource string) string {
		return `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"` + action + `","Resource":"` + resource + `"}}`
	}
	for text, want := range map[string]string{
		statement("iam:PassRole", "${NodeRole.Arn}"):                                                    `resource "${NodeRole.Arn}"`,
		statement("iam:PassRole", "{{ role_arn }}"):                                                     `neither "*" nor an ARN`,
		statement("iam:PassRole", "<role-arn>"):                                                         `neither "*" nor an ARN`,
		statement("iam:PassRole", "%s"):                                                                 `neither "*" nor an ARN`,
		statement("s3:GetObject", "bucket/*"):                                                           `neither "*" nor an ARN`,
		statement("s3:GetObject", "**"):                                                                 `neither "*" nor an ARN`,
		statement("s3:GetObject", "s3:::bucket/*"):                                                      `neither "*" nor an ARN`,
		statement("s3:GetObject", "ARN:aws:s3:::bucket/*"):                                              `neither "*" nor an ARN`,
		statement("s3:GetObject", "arn"):                                                                "no partition",
		statement("s3:GetObject", "arn:"):                                                               "no partition of an ARN",
		statement("s3:GetObject", "arn::s3:::b"):                                                        "no partition of an ARN",
		statement("s3:GetObject", "arn:aws2:s3:::b"):                                                    "no partition of an ARN",
		statement("s3:GetObject", "arn:awss3::b/*"):                                                     "no partition of an ARN",
		statement("s3:GetObject", "arn:aws::::b"):                                                       "no service of an ARN",
		statement("s3:GetObject", "arn:${AWS::Partition}:s3:::b"):                                       "no name of a policy variable",
		statement("s3:GetObject", "arn:${aws:PrincipalTag/partition}:s3:::b"):                           "a variable in its partition or service",
		statement("s3:GetObject", "arn:aws:s3:::${Bucket}/*"):                                           "no name of a policy variable",
		statement("s3:GetObject", "arn:aws:s3:::${AWS::AccountId}-logs/*"):                              "no name of a policy variable",
		statement("s3:GetObject", "arn:aws:s3:::${aws_s3_bucket.b.id}/*"):                               "no name of a policy variable",
		statement("sqs:SendMessage", "arn:aws:sqs:us-east-1:<account>:q"):                               "no account of an ARN",
		statement("sqs:SendMessage", "arn:aws:sqs:{{region}}:1:q"):                                      "no Region of an ARN",
		statement("s3:GetObject", "arn:aws:s3:::b/${ aws:username }/*"):                                 "no space",
		statement("s3:GetObject", "arn:aws:s3:::b/${aws:username }/*"):                                  "no space",
		statement("s3:GetObject", "arn:aws:s3:::b/${ aws:username, 'x'}/*"):                             "no space",
		statement("s3:GetObject", "arn:aws:s3:::b/${aws:username, 'x' }/*"):                             `no "}"`,
		statement("GetObject", "*"):                                                                     `action "GetObject"`,
		statement("s3:", "*"):                                                                           `action "s3:"`,
		statement(":GetObject", "*"):                                                                    `action ":GetObject"`,
		statement("*:*", "*"):                                                                           `action "*:*"`,
		statement("s*:GetObject", "*"):                                                                  `action "s*:GetObject"`,
		statement("s3:GetObject ", "*"):                                                                 `action "s3:GetObject "`,
		statement("s3:Get*,s3:Put*", "*"):                                                               `action "s3:Get*,s3:Put*"`,
		statement("${Action}", "*"):                                                                     `action "${Action}"`,
		`{"Version":"2012-10-17","Statement":{"Effect":"Deny","NotAction":"GetObject","Resource":"*"}}`: `action "GetObject"`,
		`{"Version":"2012-10-17","Statement":{"Effect":"Deny","Action":"*","NotResource":"bucket/*"}}`:  `resource "bucket/*"`,
		`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"StringEquals":{"prefix":"a"}}}}`:                                       `condition key "prefix"`,
		`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"StringEquals":{"aws:username":"${ aws:userid }"}}}}`:                   "no space",
		`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"DateLessThan":{"aws:CurrentTime":"2026"}}}}`:                           "could be a year",
		`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"StringEquals":{"aws:username":[]}}}}`:                                  "has no values",
		`{"Version":"2012-10-17","Statement":[{"Sid":"A","Effect":"Allow","Action":"*","Resource":"*"},{"Sid":"A","Effect":"Allow","Action":"*","Resource":"arn:aws:s3:::b"}]}`: "Sid",
	} {
		p, err := iam.Parse([]byte(text))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, %v, want %q", text, p, err, want)
		}
	}
	for _, text := range []string{
		statement("s3:GetObject", "arn:*:s3:::b/*"), statement("s3:GetObject", "arn:aws-us-gov:s3:::b/*"), statement("SNS:Publish", "arn:aws:sns:*:*:t"),
		statement("iam:PassRole", "arn:aws:iam::aws:policy/ReadOnlyAccess"), statement("s3:Get?bject*", "arn:aws:s3:::b/a file{1}"),
		statement("vpc-lattice:AssociateViaAWSService-EventsAndStates", "*"), statement("sts:AssumeRoleWithWebIdentity", "arn:aws:iam::ACCOUNT_ID:role/x"),
		`{"Version":"2008-10-17","Statement":{"Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::${Bucket}/*"}}`,
		`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"StringEquals":{"oidc.eks.us-west-2.amazonaws.com/id/X:sub":"a"}}}}`,
		// A bucket policy.
		`{"Version":"2012-10-17","Statement":[{"Sid":"A","Effect":"Allow","Principal":"*","Action":"s3:GetObject","Resource":"arn:aws:s3:::b/*","Condition":{"StringEquals":{"aws:SourceVpce":[]}}},` +
			`{"Sid":"A","Effect":"Deny","Principal":"*","Action":"s3:*","Resource":"arn:aws:s3:::b"}]}`,
	} {
		p, err := iam.Parse([]byte(text))
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if b, err := p.Marshal(); err != nil {
			t.Errorf("%s: %s, %v", text, b, err)
		} else if again, err := iam.Parse(b); err != nil || show([]iam.Policy{again}) != string(b) {
			t.Errorf("%s prints %s, which reads as %v, %v", text, b, again, err)
		}
	}
}

// A session policy has whole ARNs, as AWS wants it; nothing that mints takes another.
func TestSessionPolicyHasWholeARNs(t *testing.T) {
	short := doc(t, `{"Effect":"Allow","Action":"sqs:*","Resource":"arn:aws:sqs"}`)[0]
	const want = `write "arn:aws:sqs:*:*:*"`
	check := func(what string, err error) {
		t.Helper()
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", what, err)
		}
	}
	check("ValidateSession", short.ValidateSession())
	_, err := iam.Bind(short, iam.Limits{NotAfter: time.Unix(1_800_000_000, 0), Dialect: iam.DialectAWS})
	check("Bind", err)
	_, err = iam.Compile(iam.DialectAWS, doc(t, all), &short, nil)
	check("a session policy", err)
	_, _, err = iam.Shrink(iam.DialectAWS, short, 10)
	check("Shrink", err)
	if _, err := iam.Compile(iam.DialectAWS, []iam.Policy{short}, nil, &short); err != nil {
		t.Errorf("an identity policy and a boundary: %v", err)
	}
	if r := iam.Assess(iam.DialectAWS, short); r.Blast.Exact != 0 || r.Blast.Patterned != 1 {
		t.Errorf("%+v", r.Blast)
	}
}

// What AWS's pages leave open is never a Yes, whichever side has it.
func TestCoversOpenQuestions(t *testing.T) {
	const queue = "arn:aws:sqs:us-east-1:111122223333:q"
	sqs := func(effect, element, resource string) string {
		return `{"Effect":"` + effect + `","Action":"sqs:*","` + element + `":"` + resource + `"}`
	}
	for _, c := range []struct {
		name, a, b string
		want       iam.Answer
	}{
		{"short ARN", sqs("Allow", "Resource", "arn:aws:sqs"), sqs("Allow", "Resource", queue), iam.Yes},
		{"short ARN and whole", sqs("Allow", "Resource", "arn:aws:sqs:*:*:*"), sqs("Allow", "Resource", "arn:aws:sqs"), iam.Yes},
		{"Deny on a short ARN", all + "," + sqs("Deny", "Resource", "arn:aws:sqs"), sqs("Allow", "Resource", queue), iam.No},
		{"all but a short ARN", sqs("Allow", "NotResource", "arn:aws:sqs"), sqs("Allow", "Resource", queue), iam.No},
		{"short ARN as a Region", sqs("Allow", "Resource", "arn:aws:sqs:us-east-1"), sqs("Allow", "NotResource", queue), iam.No},
		{"Deny if ArnLike *", all + "," + denyWhen(`"ArnLike":{"aws:PrincipalArn":"*"}`), act("s3:GetObject"), iam.Unknown},
		{"Allow if ArnLike *", when(`"ArnLike":{"aws:PrincipalArn":"*"}`), when(`"ArnLike":{"aws:PrincipalArn":"arn:aws:iam::1:role/r"}`), iam.Unknown},
		{"ArnLike * itself", when(`"ArnLike":{"aws:PrincipalArn":"*"}`), when(`"ArnLike":{"aws:PrincipalArn":"*"}`), iam.Yes},
		{"all but a resource without a value", `{"Effect":"Allow","Action":"s3:GetObject","NotResource":"arn:aws:s3:::b/${aws:PrincipalTag/team}/*"}`,
			`{"Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::c/*"}`, iam.Unknown},
		{"that itself", `{"Effect":"Allow","Action":"s3:GetObject","NotResource":"arn:aws:s3:::b/${aws:PrincipalTag/team}/*"}`,
			`{"Effect":"Allow","Action":"s3:GetObject","NotResource":"arn:aws:s3:::b/${aws:PrincipalTag/team}/*"}`, iam.Yes},
		{"a resource beside one without a value", `{"Effect":"Allow","Action":"*","Resource":["arn:aws:s3:::b/${aws:username}/*","arn:aws:s3:::c/*"]}`,
			on("arn:aws:s3:::c/*"), iam.Unknown},
		{"ArnNotLike without a value", all, when(`"ArnNotLike":{"aws:SourceArn":"arn:aws:sns:*:*:${aws:username}"}`), iam.Yes},
		{"how somebody logged in", when(`"StringEquals":{"cognito-identity.amazonaws.com:amr":["authenticated","x"]}`), when(`"StringEquals":{"cognito-identity.amazonaws.com:AMR":"authenticated"}`), iam.Unknown},
		{"a multivalued key without an operator", when(`"StringEquals":{"aws:TagKeys":["a","b"]}`), when(`"StringEquals":{"aws:TagKeys":"a"}`), iam.Unknown},
		{"a star over colons", on("arn:aws:sns:*:1:t"), on("arn:aws:sns:eu:1:t"), iam.Yes},
		{"a star over colons, denied", all + `,{"Effect":"Deny","Action":"*","Resource":"arn:aws:sns:*:1:t"}`, on("arn:aws:sns:eu:2:*"), iam.Unknown},
		{"a dollar", on("arn:aws:s3:::b/*"), on("arn:aws:s3:::b/$a"), iam.Yes},
		{"a dollar, other way", on("arn:aws:s3:::b/$a"), on("arn:aws:s3:::b/${$}a"), iam.Unknown},
		{"less than ten, less than five", when(`"NumericLessThan":{"s3:max-keys":"10"}`), when(`"NumericLessThan":{"s3:max-keys":"5"}`), iam.Yes},
		{"a day", when(`"DateLessThan":{"aws:CurrentTime":"2026-11-24"}`), when(`"DateLessThan":{"aws:CurrentTime":"2026-11-24T00:00:00Z"}`), iam.Yes},
		{"a day, other way", when(`"DateLessThan":{"aws:CurrentTime":"2026-11-24T00:00:00Z"}`), when(`"DateLessThan":{"aws:CurrentTime":"2026-11-24"}`), iam.Unknown},
		// Keys of one value.
		{"for all values of one", when(`"ForAllValues:StringLike":{"organizations:ServicePrincipal":"ds.amazonaws.com"}`),
			when(`"StringEquals":{"organizations:ServicePrincipal":"ds.amazonaws.com"}`), iam.Yes},
		{"any of one is all", when(`"ForAllValues:StringEquals":{"aws:VpceOrgID":"o-1"}`), when(`"ForAnyValue:StringEquals":{"aws:VpceOrgID":"o-1"}`), iam.Yes},
		{"any of several is not all", when(`"ForAllValues:StringEquals":{"aws:VpceOrgPaths":"o-1"}`), when(`"ForAnyValue:StringEquals":{"aws:VpceOrgPaths":"o-1"}`), iam.No},
	} {
		got, err := iam.Covers(iam.DialectAWS, doc(t, c.a), doc(t, c.b))
		if err != nil || got.Answer != c.want {
			t.Errorf("%s: %v, %v, want %v; witness %+v, why %q", c.name, got.Answer, err, c.want, got.Witness, got.Why)
			continue
		}
		checkCoverage(t, c.name, doc(t, c.a), doc(t, c.b), got)
	}
}

// A narrowing of an AWS managed policy gains nothing.
func TestDiffOfKeysWithOneValue(t *testing.T) {
	d, err := iam.Diff(iam.DialectAWS, doc(t, when(`"ForAllValues:StringLike":{"organizations:ServicePrincipal":"ds.amazonaws.com"}`)),
		doc(t, when(`"StringEquals":{"organizations:ServicePrincipal":"ds.amazonaws.com"}`)))
	if err != nil || len(d.Gained) != 0 || len(d.Lost) != 1 {
		t.Errorf("%+v, %v", d, err)
	}
}
