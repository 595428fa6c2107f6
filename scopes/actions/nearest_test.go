package actions_test

import (
	"testing"

	"github.com/valetkey/valetkey/scopes/actions"
)

func TestNearest(t *testing.T) {
	for name, want := range map[string]string{
		"s3:GetObjct": "s3:GetObject", "s3:GetObejct": "s3:GetObject", "S3:getobjekt": "s3:GetObject", "s3:GetObjects": "s3:GetObject",
		"3s:GetObject": "s3:GetObject", "dynamo:PutItem": "dynamodb:PutItem", "ec2:DescribeInstance": "ec2:DescribeInstances",
		"secretmanager:GetSecretValue": "secretsmanager:GetSecretValue", "iam:PasRole": "iam:PassRole", "s3:GetObject": "s3:GetObject",
		"s3:Xyzzy": "", "nothing:LikeThisAtAll": "", "s3": "", "s3:": "", ":GetObject": "", "": "", "\xff:\xff": "",
	} {
		if got := actions.Nearest(name); got != want {
			t.Errorf("%q: %q, want %q", name, got, want)
		}
	}
}

// One letter that is missing, doubled or swapped is always understood, and a name is always its own nearest.
func TestNearestUnderstandsOneSlip(t *testing.T) {
	for _, service := range []string{"dynamodb", "sqs"} {
		for _, a := range actions.OfService(service) {
			n := a.Name
			if got := actions.Nearest(n); got != n {
				t.Errorf("%s: %q", n, got)
			}
			for i := len(service) + 2; i+1 < len(n); i += 9 {
				for _, slip := range []string{n[:i] + n[i+1:], n[:i] + n[i:i+1] + n[i:], n[:i] + n[i+1:i+2] + n[i:i+1] + n[i+2:]} {
					if got := actions.Nearest(slip); got == "" {
						t.Errorf("%s: nothing is near", slip)
					}
				}
			}
		}
	}
}
