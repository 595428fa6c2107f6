package actions

import (
	"slices"
	"strings"
	"testing"

	"github.com/valetkey/valetkey/scopes/actions/internal/reviewed"
	"github.com/valetkey/valetkey/scopes/internal/glob"
)

func TestCatalogueIsWhole(t *testing.T) {
	tab, err := parse(embedded)
	if err != nil {
		t.Fatal(err)
	}
	if len(tab.actions) < 20000 || len(tab.global) < 20 {
		t.Fatalf("%d actions, %d global keys", len(tab.actions), len(tab.global))
	}
	for _, a := range tab.actions {
		if a.Level == LevelUnknown {
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
}

func TestClassify(t *testing.T) {
	for want, names := range map[Class][]string{
		ClassRead: {"s3:GetObject", "s3:ListBucket", "S3:getobject", "ec2:DescribeInstances", "sts:GetCallerIdentity", "iam:ListRoles", "dynamodb:Query",
			"logs:GetLogEvents", "cloudformation:DescribeStacks", "secretsmanager:DescribeSecret"},
		ClassWrite: {"s3:PutObject", "s3:CreateBucket", "s3:AbortMultipartUpload", "kms:Decrypt", "dynamodb:PutItem", "ec2:StopInstances", "lambda:InvokeFunction",
			"kms:CancelKeyDeletion", "s3:PutObjectTagging", "cloudfront:CreateCachePolicy", "sqs:SendMessage", "states:StartExecution", "ec2:CreateSnapshot"},
		ClassDestructive: {"s3:DeleteObject", "s3:DeleteBucket", "ec2:TerminateInstances", "sqs:PurgeQueue", "kms:ScheduleKeyDeletion", "s3:PutLifecycleConfiguration", "s3:PutBucketVersioning", "dynamodb:PartiQLDelete", "apigateway:DELETE", "es:ESHttpDelete",
			"elasticbeanstalk:RebuildEnvironment", "dynamodb:BatchWriteItem", "cloudtrail:StopLogging", "dynamodb:DeleteTable", "rds:DeleteDBInstance",
			// Reads that hand out secrets, code with its environment, or links; and what sends data away or runs any SQL.
			"secretsmanager:GetSecretValue", "ssm:GetParameter", "lambda:GetFunction", "lambda:ListFunctions", "ecs:DescribeTaskDefinition", "ec2:DescribeInstanceAttribute", "ecr:GetAuthorizationToken",
			"ecr:GetDownloadUrlForLayer", "cognito-idp:DescribeUserPoolClient", "glue:GetConnection", "chime:GetAttendee", "amplifybackend:GetBackendAuth", "athena:StartQueryExecution", "rds-data:ExecuteSql", "dynamodb:ExportTableToPointInTime",
			"logs:PutSubscriptionFilter", "sns:Subscribe", "ec2:AuthorizeSecurityGroupIngress", "states:GetActivityTask",
			// The same by another way: the recorder of configurations, a search, a trigger, a link in a job's answer.
			"config:SelectResourceConfig", "config:BatchGetResourceConfig", "config:GetResourceConfigHistory", "sagemaker:Search", "sagemaker:DescribeMonitoringSchedule", "glue:GetTriggers", "glue:GetWorkflow",
			"ssm:DescribeAssociation", "kafkaconnect:DescribeConnectorOperation", "chime:GetBot", "chime:ListBots", "chime:UpdateBot", "transcribe:GetTranscriptionJob", "translate:GetTerminology",
			"dataexchange:GetJob", "discovery:DescribeExportTasks", "serverlessrepo:CreateCloudFormationTemplate", "amplify:GetJob", "elasticloadbalancing:SetRulePriorities"},
		ClassAdmin: {"iam:PassRole", "iam:CreateUser", "iam:TagRole", "kms:PutKeyPolicy", "s3:PutBucketPolicy", "s3:DeleteBucketPolicy", "s3:PutBucketAcl", "sts:AssumeRole", "sts:GetFederationToken", "sts:GetSessionToken", "lambda:AddPermission",
			"lambda:UpdateFunctionCode", "ssm:SendCommand", "ecs:ExecuteCommand", "sqs:SetQueueAttributes", "organizations:LeaveOrganization", "secretsmanager:PutResourcePolicy", "lakeformation:GetTemporaryGlueTableCredentials",
			"kinesis:PutResourcePolicy", "made:Up", "s3:*", "*", "", "s3:GetObjekt",
			// Sessions, credentials and keys; shells; what runs code under a role; what opens data to others; what approves.
			"s3:GetDataAccess", "acm:ExportCertificate", "connect:GetFederationToken", "gamelift:GetComputeAccess", "dsql:DbConnectAdmin", "lightsail:GetInstanceAccessDetails", "codepipeline:PollForJobs",
			"lightsail:DownloadDefaultKeyPair", "ec2:GetPasswordData", "redshift-serverless:GetCredentials", "rds-db:connect", "ssm:GetAccessToken", "quicksight:GetDashboardEmbedUrl",
			"ec2-instance-connect:OpenTunnel", "bedrock-agentcore:InvokeCodeInterpreter", "bedrock-agentcore:InvokeAgentRuntimeCommandShell", "lambda:CreateMicrovmShellAuthToken", "ssmmessages:OpenDataChannel",
			"ecs:StartTask", "codebuild:StartBuildBatch", "codebuild:RetryBuild", "batch:SubmitJob", "glue:RunStatement", "apprunner:UpdateService", "ssm:UpdateDocument", "codecommit:GitPush", "ecr:PutImage", "codedeploy:CreateDeployment",
			"ec2:CreateLaunchTemplateVersion", "ec2:ModifyLaunchTemplate", "sagemaker:UpdateNotebookInstanceLifecycleConfig", "autoscaling:StartInstanceRefresh", "appsync:UpdateResolver", "synthetics:UpdateCanary",
			"rds:ModifyDBSnapshotAttribute", "rds:ModifyDBClusterSnapshotAttribute", "ec2:ModifyImageAttribute", "ec2:ModifySnapshotAttribute", "ec2:ModifyFpgaImageAttribute", "ds:ShareDirectory",
			"ds-data:AddGroupMember", "identitystore:CreateGroupMembership", "iot:AddThingToThingGroup", "codepipeline:PutApprovalResult", "arc-region-switch:ApprovePlanExecutionStep"},
	} {
		for _, name := range names {
			if got, why := Classify(name); got != want {
				t.Errorf("%s: class %d (%s), want %d", name, got, why, want)
			}
		}
	}
}

// A class is never under what AWS's level gives, and every class above a read says why.
func TestReviewOnlyRaises(t *testing.T) {
	count := map[Class]int{}
	for _, a := range load().actions {
		var least Class
		switch a.Level {
		case LevelRead, LevelList:
			least = ClassRead
		case LevelWrite, LevelTagging:
			least = ClassWrite
		case LevelPermissions, LevelUnknown:
			least = ClassAdmin
		}
		got, why := Classify(a.Name)
		count[got]++
		if got < least {
			t.Errorf("%s: %s is under its level's %s", a.Name, got, least)
		}
		if (why == "") != (got == ClassRead) {
			t.Errorf("%s: %s because %q", a.Name, got, why)
		}
		if a.Gains() && got != ClassAdmin {
			t.Errorf("%s leads to wider rights and is %s", a.Name, got)
		}
		if _, secret := Sensitive(a.Name); secret && got < ClassWrite {
			t.Errorf("%s hands out a secret and is %s", a.Name, got)
		}
	}
	t.Logf("read %d, write %d, destructive %d, admin %d", count[ClassRead], count[ClassWrite], count[ClassDestructive], count[ClassAdmin])
}

// What is embedded is what people wrote: whoever edits the review and does not run gen is told.
func TestEmbeddedIsTheReview(t *testing.T) {
	r, err := reviewed.Read("review")
	if err != nil {
		t.Fatal(err)
	}
	var all []reviewed.Action
	for _, a := range load().actions {
		all = append(all, reviewed.Action{Name: a.Name, Level: a.Level.String()})
	}
	if err := r.Hold(all); err != nil {
		t.Fatal(err)
	}
	for i, a := range load().actions {
		e, _ := r.Of(all[i])
		if a.reason == nil {
			t.Fatalf("%s: nobody reviewed it", a.Name)
		}
		if e.Class == "read" {
			e.Reason = "read"
		}
		want, err := parseReason(e.Class, strings.Join(e.Marks, ",")+"\t"+e.Reason)
		if err != nil || want != *a.reason {
			t.Fatalf("%s is embedded as %+v, reviewed as %+v (%v): run `make review-actions`", a.Name, *a.reason, want, err)
		}
	}
}

// An action without a reason, or without a level, is admin; a catalogue with a reason that is none is not read.
func TestUnreviewedIsAdmin(t *testing.T) {
	head := format + "\nV x\ty\nK read\t\tfine\nS s3\n"
	tab, err := parse(head + "A s3:A\tR0\nA s3:B\tR\nA s3:C\t?0\nA s3:D\t\n")
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []Class{ClassRead, ClassAdmin, ClassAdmin, ClassAdmin} {
		if got, why := tab.actions[i].Class(); got != want || (why == "") != (want == ClassRead) {
			t.Errorf("%s: %s because %q", tab.actions[i].Name, got, why)
		}
	}
	for _, bad := range []string{"A s3:A\tR1\n", "A s3:A\tRx\n", "A s3:A\tR-1\n", "A s3:A\tR99999999999999999999\n", "A s3:A\tR0\nK read\t\tlate\n", "K big\t\twhy\n", "K read\tmark\twhy\n", "K read\t\t\n", "K read\n"} {
		if _, err := parse(head + bad); err == nil {
			t.Errorf("%q was read", bad)
		}
	}
}

func TestSensitive(t *testing.T) {
	for name, want := range map[string]bool{"secretsmanager:GetSecretValue": true, "kms:decrypt": true, "ssm:GetParameter": true, "sts:AssumeRole": true, "s3:GetObject": false, "made:Up": false} {
		if what, got := Sensitive(name); got != want || (what == "") == want {
			t.Errorf("%s: %v %q", name, got, what)
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

func TestTypeWildcard(t *testing.T) {
	for _, c := range []struct {
		action, resource string
		want             bool
	}{
		{"lambda:InvokeFunction", "arn:aws:lambda:eu-west-1:123456789012:functi*:x", true},
		{"lambda:InvokeFunction", "arn:aws:lambda:eu-west-1:123456789012:?unction:x", true},
		{"lambda:InvokeFunction", "arn:aws:lambda:eu-west-1:123456789012:functi*", true},
		{"lambda:InvokeFunction", "arn:aws:lambda:eu-west-1:123456789012:function:x*", false},
		{"lambda:InvokeFunction", "arn:aws:lambda:eu-west-1:123456789012:*", false},
		{"lambda:InvokeFunction", "*", false},
		{"iam:GetUser", "arn:aws:iam::123456789012:u*", true},
		{"s3:ListBucket", "arn:aws:s3:::buck*", false},
		{"s3:GetObject", "arn:aws:s3:::buck*/x", false},
		{"sqs:SendMessage", "arn:aws:sqs:eu-west-1:123456789012:jobs-*", false},
		{"ec2:RunInstances", "arn:aws:ec2:*:*:*/*", false},
		{"s3:ListAllMyBuckets", "arn:aws:s3:::b*", false},
	} {
		a, ok := Lookup(c.action)
		if !ok {
			t.Fatal(c.action)
		}
		if got := a.TypeWildcard(c.resource); got != c.want {
			t.Errorf("%s on %s: %v", c.action, c.resource, got)
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
		{"kms:Decrypt", "arn:aws:kms:eu-west-1:123456789012:key/abc:*", false},
		{"s3:GetObject", "arn:aws:s3:::b:*", false},
		{"s3:GetObject", "arn:aws:s3:::b*", true},
		{"s3:GetObject", "arn:aws:s3:::b/k:x", true},
		{"s3:ListBucket", "arn:aws:s3:::b:x", false},
		{"iam:GetRole", "arn:aws:iam::123456789012:role/team/x", true},
		{"iam:GetRole", "arn:aws:iam::123456789012:role/x:*", false},
		{"dynamodb:PutItem", "arn:aws:dynamodb:eu-west-1:123456789012:table/t:x", false},
		{"logs:GetLogEvents", "arn:aws:logs:eu-west-1:123456789012:log-group:/aws/x:log-stream:a/b", true},
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

func TestConditionType(t *testing.T) {
	for key, want := range map[string]struct {
		t    KeyType
		many bool
	}{
		"aws:TagKeys": {KeyString, true}, "aws:CalledVia": {KeyString, true}, "aws:PrincipalOrgPaths": {KeyString, true}, "aws:VpceOrgPaths": {KeyString, true},
		"aws:SourceOrgPaths": {KeyString, true}, "aws:PrincipalServiceNamesList": {KeyString, true}, "AWS:VPCEORGID": {KeyString, false},
		"aws:VpceAccount": {KeyString, false}, "aws:SourceOrgID": {KeyString, false}, "aws:AssumedRoot": {KeyBool, false}, "aws:Ec2InstanceSourceVpc": {KeyString, false},
		"aws:Ec2InstanceSourcePrivateIPv4": {KeyAddress, false}, "aws:ChatbotSourceArn": {KeyARN, false}, "aws:CurrentTime": {KeyDate, false},
		"aws:PrincipalTag/team": {KeyString, false}, "organizations:ServicePrincipal": {KeyString, false}, "s3:max-keys": {KeyNumeric, false},
		"s3:ExistingObjectTag/x": {KeyString, false}, "dynamodb:LeadingKeys": {KeyString, true}, "identitystore:userid": {KeyString, true},
	} {
		got, many, known := ConditionType(key)
		if !known || got != want.t || many != want.many {
			t.Errorf("%s: %s, several %v, known %v", key, got, many, known)
		}
	}
	for _, key := range []string{"", "aws:NoSuchKey", "s3:prefiks", "aws:PrincipalTag"} {
		if got, many, known := ConditionType(key); known || many || got != "" {
			t.Errorf("%q has type %s", key, got)
		}
	}
}
