package actions

import (
	"slices"
	"strings"
	"unicode"
)

// rule is one row of our tables: an action or a service, and why it is there.
type rule struct{ name, why string }

// rules are our tables, which stand above AWS's levels. Names are as AWS spells them; a test fails where the catalogue
// has none of that name, so a typing mistake cannot leave an action unguarded.
type rules struct {
	adminServices    []rule
	adminActions     []rule
	destructive      []rule
	destructiveVerbs []string // as an action's first word
	destructiveWords []string // anywhere in an action's name
	harmless         []string // words that make "...Policy" no policy over rights
	sensitive        []rule
	plainReads       []string // reads in an admin service, or named like credentials, that give nobody rights
}

func tables() rules {
	return rules{
		adminServices: []rule{
			{"iam", "writes identities and their rights"},
			{"sts", "takes on a role or makes a session"},
			{"organizations", "changes accounts and their guard rails"},
			{"account", "changes the account itself"},
			{"sso", "assigns rights to people"},
			{"sso-directory", "writes identities"},
			{"sso-oauth", "makes tokens"},
			{"identitystore", "writes identities"},
			{"ram", "shares resources with other accounts"},
			{"rolesanywhere", "lets outside keys take on roles"},
			{"verifiedpermissions", "writes authorization policies"},
			{"cloudshell", "runs commands with the caller's rights"},
			{"controltower", "changes accounts and their guard rails"},
		},
		adminActions: []rule{
			{"cloudformation:CreateStack", "makes any resource with the stack's role"},
			{"cloudformation:UpdateStack", "makes any resource with the stack's role"},
			{"cloudformation:CreateChangeSet", "makes any resource with the stack's role"},
			{"cloudformation:ExecuteChangeSet", "makes any resource with the stack's role"},
			{"cloudformation:RollbackStack", "changes any resource with the stack's role"},
			{"cloudformation:DeleteStack", "deletes any resource with the stack's role"},
			{"cloudformation:CreateStackInstances", "makes any resource in other accounts"},
			{"cloudformation:UpdateStackSet", "makes any resource in other accounts"},
			{"lambda:UpdateFunctionCode", "runs code with the function's role"},
			{"lambda:UpdateFunctionConfiguration", "runs code with the function's role"},
			{"lambda:CreateFunction", "runs code with a role"},
			{"ec2:RunInstances", "runs code with an instance's role"},
			{"ec2:ModifyInstanceAttribute", "runs code with the instance's role, through user data"},
			{"ec2:AssociateIamInstanceProfile", "gives an instance another role"},
			{"ec2:ReplaceIamInstanceProfileAssociation", "gives an instance another role"},
			{"ec2-instance-connect:SendSSHPublicKey", "opens a shell with the instance's role"},
			{"ec2-instance-connect:SendSerialConsoleSSHPublicKey", "opens a shell with the instance's role"},
			{"ssm:SendCommand", "runs commands with the instance's role"},
			{"ssm:StartSession", "opens a shell with the instance's role"},
			{"ssm:ResumeSession", "opens a shell with the instance's role"},
			{"ssm:CreateAssociation", "runs commands with the instance's role"},
			{"ssm:UpdateAssociation", "runs commands with the instance's role"},
			{"ssm:StartAutomationExecution", "runs a document with its role"},
			{"ecs:ExecuteCommand", "opens a shell with the task's role"},
			{"ecs:RunTask", "runs code with the task's role"},
			{"ecs:RegisterTaskDefinition", "runs code with a role"},
			{"codebuild:StartBuild", "runs code with the project's role"},
			{"codebuild:UpdateProject", "runs code with the project's role"},
			{"glue:UpdateJob", "runs code with the job's role"},
			{"glue:UpdateDevEndpoint", "opens a shell with the endpoint's role"},
			{"states:UpdateStateMachine", "calls AWS with the state machine's role"},
			{"sagemaker:CreatePresignedNotebookInstanceUrl", "opens a shell with the notebook's role"},
			{"sagemaker:CreatePresignedDomainUrl", "opens a shell with the domain's role"},
			{"eks:AccessKubernetesApi", "reaches the cluster with the caller's rights there"},
			{"eks:MutateViaKubernetesApi", "changes the cluster with the caller's rights there"},
			{"eks:AssociateAccessPolicy", "gives rights in a cluster"},
			{"eks:CreateAccessEntry", "gives rights in a cluster"},
			{"eks:UpdateAccessEntry", "gives rights in a cluster"},
			{"sqs:SetQueueAttributes", "can write the queue's policy"},
			{"sns:SetTopicAttributes", "can write the topic's policy"},
			{"es:UpdateDomainConfig", "can write the domain's access policy"},
			{"s3:PutReplicationConfiguration", "copies objects out with the replication role"},
			{"cognito-idp:AdminSetUserPassword", "takes over an identity"},
			{"cognito-idp:AdminAddUserToGroup", "gives an identity rights"},
			{"cognito-idp:AdminInitiateAuth", "makes tokens"},
			{"cognito-identity:GetCredentialsForIdentity", "takes on a role"},
			{"cognito-identity:GetOpenIdToken", "makes tokens"},
			{"cognito-identity:GetOpenIdTokenForDeveloperIdentity", "makes tokens"},
			{"cognito-identity:UpdateIdentityPool", "decides who may take on its roles"},
			{"kms:CreateGrant", "gives rights to a key"},
			{"kms:ReplicateKey", "makes a key with a new key policy"},
			{"kms:CreateKey", "makes a key with a key policy"},
		},
		destructive: []rule{
			{"kms:ScheduleKeyDeletion", "what the key encrypts is lost for good"},
			{"kms:DisableKey", "what the key encrypts cannot be read"},
			{"kms:ImportKeyMaterial", "the material can be set to expire"},
			{"s3:PutLifecycleConfiguration", "can expire every object"},
			{"s3:PutBucketVersioning", "can suspend versioning, after which overwriting destroys"},
			{"s3:PutBucketObjectLockConfiguration", "cannot be undone"},
			{"s3:PutObjectRetention", "cannot be undone in compliance mode"},
			{"s3:PutObjectVersionAcl", "can lock owners out"},
			{"s3:PutEncryptionConfiguration", "can encrypt with a key that is then withdrawn"},
			{"s3:CreateJob", "a batch job can delete every object"},
			{"s3:BypassGovernanceRetention", "lifts the guard against deletion"},
			{"dynamodb:BatchWriteItem", "deletes items"},
			{"dynamodb:UpdateTimeToLive", "can expire every item"},
			{"dynamodb:UpdateContinuousBackups", "can end point-in-time recovery"},
			{"ecr:PutLifecyclePolicy", "can expire every image"},
			{"logs:PutRetentionPolicy", "can expire every log"},
			{"kinesis:DecreaseStreamRetentionPeriod", "drops records"},
			{"rds:ModifyDBInstance", "can drop backups, change the password, resize"},
			{"rds:ModifyDBCluster", "can drop backups, change the password"},
			{"rds:BacktrackDBCluster", "undoes what others wrote"},
			{"rds-data:ExecuteStatement", "runs any SQL"},
			{"rds-data:BatchExecuteStatement", "runs any SQL"},
			{"redshift-data:ExecuteStatement", "runs any SQL"},
			{"redshift-data:BatchExecuteStatement", "runs any SQL"},
			{"cassandra:Modify", "deletes rows"},
			{"es:ESHttpPost", "can delete by query"},
			{"autoscaling:UpdateAutoScalingGroup", "can terminate every instance"},
			{"autoscaling:SetDesiredCapacity", "can terminate every instance"},
			{"route53:ChangeResourceRecordSets", "deletes records; the names stop answering"},
			{"route53domains:TransferDomainToAnotherAwsAccount", "gives the domain away"},
			{"elasticbeanstalk:RebuildEnvironment", "deletes and recreates the environment"},
			{"elasticbeanstalk:SwapEnvironmentCNAMEs", "moves production traffic"},
			{"cloudtrail:StopLogging", "blinds the audit"},
			{"cloudtrail:UpdateTrail", "can blind the audit"},
			{"cloudtrail:PutEventSelectors", "can blind the audit"},
			{"config:StopConfigurationRecorder", "blinds the audit"},
			{"guardduty:UpdateDetector", "can blind detection"},
			{"securityhub:DisableSecurityHub", "blinds detection"},
			{"ec2:ReleaseAddress", "the address is gone"},
			{"backup:UpdateRecoveryPointLifecycle", "can expire backups"},
			{"backup:PutBackupVaultLockConfiguration", "cannot be undone"},
			{"glacier:CompleteVaultLock", "cannot be undone"},
			{"fis:StartExperiment", "breaks things on purpose"},
		},
		destructiveVerbs: []string{"Deregister", "Release", "Remove", "Reset", "Disable", "Shutdown", "Rebuild", "Deprovision",
			"Redact", "Evict", "Expire", "Dispose", "Discard", "Backtrack", "Close", "Leave", "Decrease", "Interrupt", "Inject",
			"Failover", "Flush", "Clear", "Empty", "Forget", "Withdraw", "Shrink", "Revoke", "Suspend", "Archive"},
		destructiveWords: []string{"Delete", "DELETE", "Deletion", "Terminate", "Purge", "Destroy", "Drop", "Wipe", "Erase", "Truncate"},
		harmless: []string{"Scaling", "Lifecycle", "Retention", "Cache", "Request", "Headers", "Traffic", "Backup", "Scheduling",
			"Termination", "Stickiness", "Resiliency", "Metric", "Cors", "Index", "Tier", "Deployment", "Tape", "Balancer",
			"Policies", "Feed", "Routing", "Metering", "Reputation", "Generation", "Reasoning", "Automated", "Restriction"},
		sensitive: []rule{
			{"secretsmanager:GetSecretValue", "a secret's value"},
			{"secretsmanager:BatchGetSecretValue", "secrets' values"},
			{"kms:Decrypt", "plaintext"},
			{"kms:ReEncryptFrom", "plaintext under another key"},
			{"kms:DeriveSharedSecret", "a shared secret"},
			{"kms:GenerateDataKey", "a plaintext key"},
			{"kms:GenerateDataKeyPair", "a plaintext key"},
			{"payment-cryptography:DecryptData", "plaintext"},
			{"ssm:GetParameter", "parameters, SecureString among them"},
			{"ssm:GetParameters", "parameters, SecureString among them"},
			{"ssm:GetParametersByPath", "parameters, SecureString among them"},
			{"ssm:GetParameterHistory", "parameters, SecureString among them"},
			{"ec2:GetPasswordData", "a Windows password"},
			{"ec2:DescribeInstanceAttribute", "user data"},
			{"ec2:GetConsoleOutput", "boot logs"},
			{"ecr:GetAuthorizationToken", "a registry token"},
			{"ecr-public:GetAuthorizationToken", "a registry token"},
			{"codeartifact:GetAuthorizationToken", "a registry token"},
			{"lambda:GetFunction", "code and environment"},
			{"lambda:GetFunctionConfiguration", "environment"},
			{"cognito-idp:ListUserPoolClientSecrets", "client secrets"},
			{"cognito-idp:DescribeUserPoolClient", "a client secret"},
			{"states:RevealSecrets", "secrets in test runs"},
			{"events:RetrieveConnectionCredentials", "a connection's credentials"},
			{"iam:GetCredentialReport", "the state of every user's credentials"},
			{"wafv2:GetDecryptedAPIKey", "an API key"},
			{"lightsail:DownloadDefaultKeyPair", "a private key"},
			{"lightsail:GetRelationalDatabaseMasterUserPassword", "a database password"},
		},
		plainReads: []string{"sts:GetCallerIdentity", "sts:GetAccessKeyInfo", "sts:DecodeAuthorizationMessage"},
	}
}

// words splits "AdminDeleteUser" into "Admin", "Delete", "User"; a run of capitals such as "DELETE" is one word.
func words(name string) []string {
	var out []string
	r := []rune(name)
	start := 0
	for i := 1; i < len(r); i++ {
		begins := unicode.IsUpper(r[i]) && (!unicode.IsUpper(r[i-1]) || (i+1 < len(r) && unicode.IsLower(r[i+1])))
		if begins {
			out = append(out, string(r[start:i]))
			start = i
		}
	}
	return append(out, string(r[start:]))
}

func find(rs []rule, name string) (rule, bool) {
	i := slices.IndexFunc(rs, func(r rule) bool { return strings.EqualFold(r.name, name) })
	if i < 0 {
		return rule{}, false
	}
	return rs[i], true
}
