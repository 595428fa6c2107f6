package actions

import (
	"slices"
	"strings"
	"sync"

	"github.com/valetkey/valetkey/scopes/internal/glob"
)

// Outliving is an action whose answer goes on working after the session that asked for it has
// ended: a session's deadline, and a Deny on its role, bind the session and not what it was given.
type Outliving struct {
	Action string
	// What is handed out, and for how long it works at most.
	What string
}

// OutlivingIn returns the actions that a list of patterns takes and whose answers outlive their session, by name: those
// of the list below, each from its service's own pages, and all whose review says that they hand out a credential, a
// session, a shell or a link, or keep one.
func OutlivingIn(patterns []string) (out []Outliving) {
	var wild []glob.Pattern
	for _, p := range patterns {
		wild = append(wild, glob.Wild(strings.ToLower(p)))
	}
	for _, o := range allOutliving() {
		if slices.ContainsFunc(wild, func(p glob.Pattern) bool { return p.Match(strings.ToLower(o.Action)) }) {
			out = append(out, o)
		}
	}
	return out
}

// allOutliving is sorted by action.
var allOutliving = sync.OnceValue(func() []Outliving {
	out := outliving()
	for _, a := range load().actions {
		if a.reason != nil && a.reason.outlives && !slices.ContainsFunc(out, func(o Outliving) bool { return o.Action == a.Name }) {
			out = append(out, Outliving{a.Name, a.reason.text})
		}
	}
	slices.SortFunc(out, func(a, b Outliving) int { return strings.Compare(a.Action, b.Action) })
	return out
})

// String is one line.
func (o Outliving) String() string { return o.Action + ": " + o.What }

// outliving are those of which it is known what they hand out, and for how long; sorted by action.
func outliving() []Outliving {
	const (
		session   = "a session of another role, which has its own end: up to 12h, 1h where a session asks for it"
		noLonger  = "an open connection, which lives on until somebody closes it"
		forEver   = "a credential without an end"
		console   = "a login to a console or a notebook, with a session of its own"
		login15m  = "a database login for 15m, and what it has opened lives on"
		registry  = "a registry login for 12h"
		fleetRole = "keys of the service's own role, for up to 1h"
	)
	return []Outliving{
		{"codeartifact:GetAuthorizationToken", registry + ", also where the session is shorter"},
		{"cognito-identity:GetCredentialsForIdentity", "a session of an identity pool's role, for 1h"},
		{"connect:GetFederationToken", console},
		{"dsql:DbConnect", login15m},
		{"dsql:DbConnectAdmin", login15m},
		{"ec2-instance-connect:OpenTunnel", noLonger},
		{"ec2-instance-connect:SendSSHPublicKey", "a login to an instance, whose shell lives on"},
		{"ecr-public:GetAuthorizationToken", registry},
		{"ecr:GetAuthorizationToken", registry},
		{"eks-auth:AssumeRoleForPodIdentity", session},
		{"elasticache:Connect", noLonger},
		{"elasticmapreduce:GetClusterSessionCredentials", "a login to a cluster, for up to 1h"},
		{"gamelift:GetComputeAccess", fleetRole},
		{"gamelift:GetComputeAuthToken", "a login of a fleet's server, for up to 15m and renewed by it"},
		{"gamelift:GetInstanceAccess", "a login to an instance, whose shell lives on"},
		{"iam:CreateAccessKey", forEver},
		{"iam:CreateLoginProfile", forEver},
		{"iam:CreateServiceSpecificCredential", forEver},
		{"iam:ResetServiceSpecificCredential", forEver},
		{"iam:UpdateLoginProfile", forEver},
		{"iam:UploadSSHPublicKey", forEver},
		{"iam:UploadSigningCertificate", forEver},
		{"kafka-cluster:Connect", noLonger},
		{"lakeformation:GetTemporaryGluePartitionCredentials", "keys to a table's files, for up to 12h"},
		{"lakeformation:GetTemporaryGlueTableCredentials", "keys to a table's files, for up to 12h"},
		{"lightsail:GetInstanceAccessDetails", "a login to an instance, whose shell lives on"},
		{"memorydb:Connect", noLonger},
		{"rds-db:connect", login15m},
		{"redshift-serverless:GetCredentials", "a database login for up to 1h, and what it has opened lives on"},
		{"redshift:GetClusterCredentials", "a database login for up to 1h, and what it has opened lives on"},
		{"redshift:GetClusterCredentialsWithIAM", "a database login for up to 1h, and what it has opened lives on"},
		{"s3:GetDataAccess", "a session of an access grant's role, for up to 12h"},
		{"s3express:CreateSession", "a session with one bucket, for 5m"},
		{"sagemaker:CreatePresignedDomainUrl", console},
		{"sagemaker:CreatePresignedNotebookInstanceUrl", console},
		{"ssm:StartSession", "a shell or a tunnel, which lives on until somebody ends it"},
		{"sts:AssumeRole", session},
		{"sts:AssumeRoleWithSAML", session},
		{"sts:AssumeRoleWithWebIdentity", session},
		{"sts:AssumeRoot", "a session of another account's root user, for 15m"},
		{"sts:GetFederationToken", "a session for up to 36h; AWS refuses it to a role's session, an imitation may not"},
		{"sts:GetServiceBearerToken", "a login to CodeArtifact or a public registry, for up to 12h"},
		{"sts:GetSessionToken", "a session for up to 36h; AWS refuses it to a role's session, an imitation may not"},
	}
}
