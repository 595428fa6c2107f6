package iam

import (
	"slices"
	"strings"
)

// Way is a known way from rights to wider rights: who has all its actions can gain what Why says. The list is the
// published catalogues of AWS privilege escalation (Rhino Security Labs' "AWS IAM Privilege Escalation", and
// pathfinding.cloud) in our words.
type Way struct {
	Actions []string
	Why     string
}

// ways returns the known ways that the policy opens, in the table's order. Whether the resources and the conditions of
// the actions fit together is not looked at, so a way may be closed after all; an open one is not left out.
func (r *assessment) ways() []Way {
	var out []Way
	for _, w := range knownWays() {
		open := !slices.ContainsFunc(w.Actions, func(a string) bool { return !r.can[a] })
		if open {
			out = append(out, w)
		}
	}
	if r.can["sts:AssumeRole"] {
		for i, s := range r.e.statements {
			if !s.deny && s.takes("sts:AssumeRole") && anyRole(r.p.Statements[i]) {
				out = append(out, Way{[]string{"sts:AssumeRole"}, "takes on every role that trusts the account"})
				break
			}
		}
	}
	return out
}

// anyRole tells whether a statement's resources name no single role.
func anyRole(s Statement) bool {
	return len(s.NotResource) > 0 || slices.ContainsFunc(s.Resource, func(r string) bool {
		_, role, ok := strings.Cut(r, ":role")
		return !ok || role == "" || role == "/*" || role == "*"
	})
}

// knownWays is the table; a test fails where the catalogue has no action of that name.
func knownWays() []Way {
	alone := func(why string, names ...string) []Way {
		var out []Way
		for _, n := range names {
			out = append(out, Way{[]string{n}, why})
		}
		return out
	}
	pass := func(why string, with ...string) []Way {
		return []Way{{append([]string{"iam:PassRole"}, with...), why}}
	}
	return slices.Concat(
		alone("writes a new default version of a managed policy, its own too", "iam:CreatePolicyVersion"),
		alone("makes an older, wider version of a managed policy the default", "iam:SetDefaultPolicyVersion"),
		alone("attaches any managed policy, AdministratorAccess too",
			"iam:AttachUserPolicy", "iam:AttachGroupPolicy", "iam:AttachRolePolicy"),
		alone("writes an inline policy into an identity, its own too", "iam:PutUserPolicy", "iam:PutGroupPolicy", "iam:PutRolePolicy"),
		alone("joins a group with more rights", "iam:AddUserToGroup"),
		alone("makes long-lived keys of another user", "iam:CreateAccessKey"),
		alone("sets another user's console password", "iam:CreateLoginProfile", "iam:UpdateLoginProfile"),
		alone("lets itself take on a role", "iam:UpdateAssumeRolePolicy"),
		alone("lifts the boundary from an identity", "iam:DeleteRolePermissionsBoundary", "iam:DeleteUserPermissionsBoundary",
			"iam:PutRolePermissionsBoundary", "iam:PutUserPermissionsBoundary"),
		alone("lets an outside identity provider sign in to roles", "iam:CreateSAMLProvider", "iam:UpdateSAMLProvider",
			"iam:CreateOpenIDConnectProvider", "iam:UpdateOpenIDConnectProviderThumbprint", "iam:AddClientIDToOpenIDConnectProvider"),
		alone("gives people rights in any account of the organisation",
			"sso:CreateAccountAssignment", "sso:PutInlinePolicyToPermissionSet", "sso:AttachManagedPolicyToPermissionSet"),
		alone("puts its code into a function, which runs with the function's role", "lambda:UpdateFunctionCode"),
		alone("puts a layer of its code into a function, which runs with the function's role", "lambda:UpdateFunctionConfiguration"),
		alone("runs commands with an instance's role", "ssm:SendCommand", "ssm:StartSession", "ssm:CreateAssociation"),
		alone("opens a shell with an instance's role", "ec2-instance-connect:SendSSHPublicKey"),
		alone("opens a shell with a task's role", "ecs:ExecuteCommand"),
		alone("changes a stack, which changes resources with the stack's role", "cloudformation:UpdateStack"),
		alone("changes a build, which runs with the project's role", "codebuild:UpdateProject"),
		alone("changes a job, which runs with the job's role", "glue:UpdateJob", "glue:UpdateDevEndpoint"),
		alone("opens a notebook with its role", "sagemaker:CreatePresignedNotebookInstanceUrl"),
		alone("lets itself or another account into a key", "kms:CreateGrant", "kms:PutKeyPolicy"),
		alone("opens a bucket to anybody", "s3:PutBucketPolicy", "s3:PutBucketAcl"),
		alone("opens a secret to another account", "secretsmanager:PutResourcePolicy"),
		[]Way{{[]string{"ec2:ModifyInstanceAttribute", "ec2:StopInstances", "ec2:StartInstances"},
			"puts commands into an instance's user data, which run with its role"}},
		[]Way{{[]string{"cloudformation:CreateChangeSet", "cloudformation:ExecuteChangeSet"},
			"changes a stack, which changes resources with the stack's role"}},
		pass("starts a function of its code with another role and calls it",
			"lambda:CreateFunction", "lambda:InvokeFunction"),
		pass("starts a function of its code with another role, which an event calls",
			"lambda:CreateFunction", "lambda:CreateEventSourceMapping"),
		pass("starts a function of its code with another role and lets others call it", "lambda:CreateFunction", "lambda:AddPermission"),
		pass("starts an instance with another role", "ec2:RunInstances"),
		pass("asks for a spot instance with another role", "ec2:RequestSpotInstances"),
		pass("gives an instance another role", "ec2:AssociateIamInstanceProfile"),
		pass("gives an instance another role", "ec2:ReplaceIamInstanceProfileAssociation"),
		pass("starts instances with another role",
			"autoscaling:CreateLaunchConfiguration", "autoscaling:CreateAutoScalingGroup"),
		pass("makes any resource through a stack with another role", "cloudformation:CreateStack"),
		pass("makes any resource through stack sets with another role",
			"cloudformation:CreateStackSet", "cloudformation:CreateStackInstances"),
		pass("runs a task with another role", "ecs:RegisterTaskDefinition", "ecs:RunTask"),
		pass("runs a task with another role", "ecs:RegisterTaskDefinition", "ecs:StartTask"),
		pass("runs a service with another role", "ecs:RegisterTaskDefinition", "ecs:CreateService"),
		pass("runs a job with another role", "batch:RegisterJobDefinition", "batch:SubmitJob"),
		pass("builds its code with another role", "codebuild:CreateProject", "codebuild:StartBuild"),
		pass("opens an endpoint with another role", "glue:CreateDevEndpoint"),
		pass("runs a job with another role", "glue:CreateJob", "glue:StartJobRun"),
		pass("runs a pipeline with another role",
			"datapipeline:CreatePipeline", "datapipeline:PutPipelineDefinition", "datapipeline:ActivatePipeline"),
		pass("opens a notebook with another role",
			"sagemaker:CreateNotebookInstance", "sagemaker:CreatePresignedNotebookInstanceUrl"),
		pass("trains with its code and another role", "sagemaker:CreateTrainingJob"),
		pass("processes with its code and another role", "sagemaker:CreateProcessingJob"),
		pass("calls AWS through a state machine with another role", "states:CreateStateMachine", "states:StartExecution"),
		pass("calls AWS on a schedule with another role", "scheduler:CreateSchedule"),
		pass("runs its code in a service with another role", "apprunner:CreateService"),
		pass("runs a cluster with another role", "elasticmapreduce:RunJobFlow"),
		pass("runs a document with another role", "ssm:StartAutomationExecution"),
		pass("gives a pool's visitors another role", "cognito-identity:SetIdentityPoolRoles"),
	)
}
