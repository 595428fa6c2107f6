package actions

import (
	"slices"
	"strings"
	"testing"

	"github.com/valetkey/valetkey/scopes/internal/glob"
)

func TestCatalogueIsWhole(t *testing.T) {
	tab, err := unpack(packed)
	if err != nil {
		t.Fatal(err)
	}
	if len(tab.actions) < 20000 || len(tab.global) < 20 {
		t.Fatalf("%d actions, %d global keys", len(tab.actions), len(tab.global))
	}
	for _, a := range tab.actions {
		if a.Level == "" {
			t.Errorf("%s has no level", a.Name)
		}
	}
	if src, date := Snapshot(); src == "" || len(date) != 10 {
		t.Errorf("snapshot %q %q", src, date)
	}
	for _, bad := range []string{"", "another format\nA x", format + "\nA s3:B\tR\nA s3:A\tR\nV x\ty", format + "\nV x\ty\n?"} {
		if _, err := parse(bad); err == nil {
			t.Errorf("%q was read", bad)
		}
	}
	if _, err := unpack("not gzip"); err == nil {
		t.Error("garbage was unpacked")
	}
}

func TestTablesNameRealActions(t *testing.T) {
	r := tables()
	for _, list := range [][]rule{r.adminActions, r.destructive, r.sensitive} {
		for _, row := range list {
			if a, ok := Lookup(row.name); !ok || a.Name != row.name {
				t.Errorf("%s is not in the catalogue", row.name)
			}
			if row.why == "" {
				t.Errorf("%s has no reason", row.name)
			}
		}
	}
	for _, name := range r.plainReads {
		if _, ok := Lookup(name); !ok {
			t.Errorf("%s is not in the catalogue", name)
		}
	}
	for _, s := range r.adminServices {
		if len(Expand(s.name+":*")) == 0 {
			t.Errorf("service %s is not in the catalogue", s.name)
		}
	}
}

func TestClassify(t *testing.T) {
	for want, names := range map[Class][]string{
		ClassRead:  {"s3:GetObject", "s3:ListBucket", "S3:getobject", "ec2:DescribeInstances", "sts:GetCallerIdentity", "secretsmanager:GetSecretValue", "iam:ListRoles", "dynamodb:Query"},
		ClassWrite: {"s3:PutObject", "s3:CreateBucket", "s3:AbortMultipartUpload", "kms:Decrypt", "dynamodb:PutItem", "ec2:StopInstances", "lambda:InvokeFunction", "kms:CancelKeyDeletion", "s3:PutObjectTagging", "cloudfront:CreateCachePolicy"},
		ClassDestructive: {"s3:DeleteObject", "s3:DeleteBucket", "ec2:TerminateInstances", "sqs:PurgeQueue", "kms:ScheduleKeyDeletion", "s3:PutLifecycleConfiguration", "s3:PutBucketVersioning", "dynamodb:PartiQLDelete", "apigateway:DELETE", "es:ESHttpDelete",
			"elasticbeanstalk:RebuildEnvironment", "dynamodb:BatchWriteItem", "cloudtrail:StopLogging", "dynamodb:DeleteTable", "rds:DeleteDBInstance"},
		ClassAdmin: {"iam:PassRole", "iam:CreateUser", "iam:TagRole", "kms:PutKeyPolicy", "s3:PutBucketPolicy", "s3:DeleteBucketPolicy", "s3:PutBucketAcl", "sts:AssumeRole", "sts:GetFederationToken", "sts:GetSessionToken", "lambda:AddPermission",
			"lambda:UpdateFunctionCode", "ssm:SendCommand", "ecs:ExecuteCommand", "sqs:SetQueueAttributes", "organizations:LeaveOrganization", "secretsmanager:PutResourcePolicy", "lakeformation:GetTemporaryGlueTableCredentials",
			"kinesis:PutResourcePolicy", "made:Up", "s3:*", "*", "", "s3:GetObjekt"},
	} {
		for _, name := range names {
			if got, why := Classify(name); got != want {
				t.Errorf("%s: class %d (%s), want %d", name, got, why, want)
			}
		}
	}
}

// A class is never under what AWS's level gives, and every class above it says why.
func TestTablesOnlyRaise(t *testing.T) {
	count := map[Class]int{}
	for _, a := range load().actions {
		base, _ := fromLevel(a.Level)
		got, why := Classify(a.Name)
		count[got]++
		if got < base {
			t.Errorf("%s: %d is under its level's %d", a.Name, got, base)
		}
		if got > ClassWrite && why == "" {
			t.Errorf("%s has no reason", a.Name)
		}
	}
	t.Logf("read %d, write %d, destructive %d, admin %d", count[ClassRead], count[ClassWrite], count[ClassDestructive], count[ClassAdmin])
}

func TestSensitive(t *testing.T) {
	for name, want := range map[string]bool{"secretsmanager:GetSecretValue": true, "kms:decrypt": true, "ssm:GetParameter": true, "s3:GetObject": false} {
		if _, got := Sensitive(name); got != want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestExpand(t *testing.T) {
	got := Expand("s3:GetBucketP*")
	if !slices.Contains(got, "s3:GetBucketPolicy") || slices.Contains(got, "s3:GetObject") || !slices.IsSorted(got) {
		t.Errorf("%v", got)
	}
	for _, none := range []string{"s3:Nope", "nope:*", "", "s3"} {
		if got := Expand(none); len(got) != 0 {
			t.Errorf("%q: %v", none, got)
		}
	}
	for _, n := range Expand("s3:*") {
		if !strings.HasPrefix(n, "s3:") {
			t.Errorf("s3:* gave %s", n)
		}
	}
}

func TestTakes(t *testing.T) {
	for _, c := range []struct {
		action, resource string
		want             bool
	}{
		{"s3:GetObject", "arn:aws:s3:::b/k", true},
		{"s3:GetObject", "arn:aws:s3:::b/*", true},
		{"s3:GetObject", "arn:aws:s3:::b", false},
		{"s3:ListBucket", "arn:aws:s3:::b", true},
		{"s3:ListBucket", "arn:aws:s3:::b/*", false},
		{"dynamodb:PutItem", "arn:aws:dynamodb:eu-west-1:123456789012:table/t", true},
		{"dynamodb:PutItem", "arn:aws:dynamodb:eu-west-1:123456789012:table/t/index/i", false},
		{"dynamodb:Query", "arn:aws:dynamodb:eu-west-1:123456789012:table/t/index/i", true},
		{"ssm:GetParameter", "arn:aws:ssm:eu-west-1:123456789012:parameter/a/b/c", true},
		{"secretsmanager:GetSecretValue", "arn:aws:secretsmanager:eu-west-1:123456789012:secret:team/x-??????", true},
		{"sqs:SendMessage", "arn:aws:s3:::b", false},
		{"s3:ListAllMyBuckets", "arn:aws:s3:::b", false},
		{"kms:Decrypt", "arn:aws:kms:eu-west-1:123456789012:key/abc", true},
	} {
		a, ok := Lookup(c.action)
		if !ok {
			t.Fatal(c.action)
		}
		if got := a.Takes(glob.Wild(c.resource)); got != c.want {
			t.Errorf("%s on %s: %v", c.action, c.resource, got)
		}
	}
}

func TestKnownCondition(t *testing.T) {
	for key, want := range map[string]bool{"s3:prefix": true, "S3:Prefix": true, "aws:SourceIp": true, "aws:PrincipalTag/team": true, "s3:ExistingObjectTag/x": true, "s3:prefiks": false, "sqs:x": false, "": false} {
		if got := KnownCondition("s3", key); got != want {
			t.Errorf("%q: %v", key, got)
		}
	}
}
