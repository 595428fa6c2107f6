package actions

import (
	"slices"
	"strings"
	"testing"
)

func TestOutlivingNamesRealActions(t *testing.T) {
	all := outliving()
	if !slices.IsSortedFunc(all, func(a, b Outliving) int { return strings.Compare(a.Action, b.Action) }) {
		t.Error("the list is not sorted")
	}
	for _, o := range all {
		if a, ok := Lookup(o.Action); !ok || a.Name != o.Action {
			t.Errorf("%s is not an action of AWS, or is not spelled like one", o.Action)
		}
		if o.What == "" {
			t.Errorf("%s: no word of what it hands out", o.Action)
		}
	}
}

func TestOutlivingIn(t *testing.T) {
	for patterns, want := range map[string]string{
		"s3:GetObject":                           "",
		"ecr:GetAuthorizationToken,s3:PutObject": "ecr:GetAuthorizationToken",
		"ECR:getauthorizationtoken":              "ecr:GetAuthorizationToken",
		"ecr:Get*":                               "ecr:GetAuthorizationToken,ecr:GetDownloadUrlForLayer",
		"sts:GetCallerIdentity,sts:TagSession":   "",
		"rds-db:*":                               "rds-db:connect",
		// What nobody has listed, and whose review says it.
		"grafana:CreateWorkspaceApiKey":                                      "grafana:CreateWorkspaceApiKey",
		"lightsail:createbucketaccesske?,lightsail:GetBuckets":               "lightsail:CreateBucketAccessKey",
		"iot:CreateKeysAndCertificate,iot:DescribeThing":                     "iot:CreateKeysAndCertificate",
		"codeconnections:GetConnectionToken,codeconnections:ListConnections": "codeconnections:GetConnectionToken",
		"ecs:ExecuteCommand":                                                 "ecs:ExecuteCommand",
		"sts:Get?essionToken,sts:GetFederation*n":                            "sts:GetFederationToken,sts:GetSessionToken",
	} {
		var got []string
		for _, o := range OutlivingIn(strings.Split(patterns, ",")) {
			got = append(got, o.Action)
		}
		if strings.Join(got, ",") != want {
			t.Errorf("%s: %v, want %s", patterns, got, want)
		}
	}
	if n := len(OutlivingIn([]string{"*"})); n != len(allOutliving()) || n < 500 {
		t.Errorf("* takes %d of %d", n, len(allOutliving()))
	}
}
