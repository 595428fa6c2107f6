package awssts

import (
	"context"
	"crypto/rand"
	"errors"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsiam "github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/valetkey/valetkey/broker/mint"
	"github.com/valetkey/valetkey/broker/mint/internal/upstream"
)

var _ mint.Checker = (*Minter)(nil)

// reviserNeeds are what deny entries take, on the agents' role alone.
var reviserNeeds = []string{"iam:GetRole", "iam:GetRolePolicy", "iam:PutRolePolicy", "iam:DeleteRolePolicy", "iam:ListRolePolicies"}

// overRole would let the broker widen the agents' role, or take its boundary away.
var overRole = []string{
	"iam:AttachRolePolicy", "iam:DetachRolePolicy", "iam:UpdateAssumeRolePolicy", "iam:PutRolePermissionsBoundary", "iam:DeleteRolePermissionsBoundary",
	"iam:UpdateRole", "iam:DeleteRole", "iam:PassRole", "iam:CreateRole",
}

// elsewhere are rights over what is not the agents' role: accounts, data, secrets, the log.
var elsewhere = []string{
	"iam:CreateUser", "iam:CreateAccessKey", "iam:PutUserPolicy", "iam:AttachUserPolicy", "iam:CreatePolicyVersion", "iam:PutRolePolicy",
	"sts:AssumeRole", "s3:GetObject", "s3:PutObject", "s3:DeleteObject", "secretsmanager:GetSecretValue", "ssm:GetParameter", "kms:Decrypt",
	"dynamodb:GetItem", "lambda:InvokeFunction", "ec2:RunInstances", "cloudtrail:StopLogging", "organizations:LeaveOrganization",
}

// CheckRights implements mint.Checker: it asks IAM to simulate the policies of the broker's own
// principals (iam:SimulatePrincipalPolicy), and looks at the agents' role. It changes nothing. A role's
// trust policy is no part of a simulation, so a missing sts:AssumeRole shows at the first mint alone.
func (m *Minter) CheckRights(ctx context.Context, _ []string) (f mint.Findings) {
	own := []right{}
	if m.cfg.RoleDeny == nil || m.cfg.RoleDeny.AssumeRoleARN != "" {
		own = append(own, rights(false, []string{m.cfg.RoleARN}, "iam:PutRolePolicy", "iam:DeleteRolePolicy")...)
	} else {
		own = append(own, rights(true, []string{m.cfg.RoleARN}, reviserNeeds...)...)
	}
	if m.cred == nil {
		f.Add(mint.RightsNote, "the broker signs in by web identity: it has no AWS credentials of its own")
	} else {
		m.simulate(ctx, &f, "the broker", m.cred, append(own, m.never()...))
	}
	if m.deny == nil {
		return f
	}
	if m.cfg.RoleDeny.AssumeRoleARN != "" {
		m.simulate(ctx, &f, "the role that revokes", m.deny.policy.cred, append(rights(true, []string{m.cfg.RoleARN}, reviserNeeds...), m.never()...))
	}
	m.lookAtRole(ctx, &f)
	return f
}

// right is one action on one resource, and whether the broker needs it.
type right struct {
	action, resource string
	needed           bool
}

func rights(needed bool, resources []string, actions ...string) (out []right) {
	for _, r := range resources {
		for _, a := range actions {
			out = append(out, right{action: a, resource: r, needed: needed})
		}
	}
	return out
}

// never are rights that no principal of the broker needs. The names are of nothing, so that only
// a pattern gives them.
func (m *Minter) never() []right {
	name := "valetkey-check-" + strings.ToLower(rand.Text())
	out := rights(false, []string{m.cfg.RoleARN}, overRole...)
	partition, account, _ := strings.Cut(strings.TrimPrefix(m.cfg.RoleARN, "arn:"), ":iam::")
	account, _, _ = strings.Cut(account, ":")
	for _, action := range elsewhere {
		service, _, _ := strings.Cut(action, ":")
		resource := "*"
		switch {
		case service == "s3":
			resource = "arn:" + partition + ":s3:::" + name + "/" + name
		case action == "sts:AssumeRole" || action == "iam:PutRolePolicy":
			resource = "arn:" + partition + ":iam::" + account + ":role/" + name
		}
		out = append(out, right{action: action, resource: resource})
	}
	return out
}

// simulate asks IAM what one principal may do.
func (m *Minter) simulate(ctx context.Context, f *mint.Findings, who string, cred aws.CredentialsProvider, asked []right) {
	arn, err := m.principal(ctx, cred)
	if err != nil {
		f.Add(mint.RightsUnknown, "%s: what it may do is not known: %v", who, err)
		return
	}
	if strings.HasSuffix(arn, ":root") {
		f.Add(mint.RightsBeyond, "%s is the account's root user: it can do everything", who)
		return
	}
	api := m.iamAs(cred)
	by := map[string][]right{}
	for _, r := range asked {
		by[r.resource] = append(by[r.resource], r)
	}
	for resource, of := range by {
		in := &awsiam.SimulatePrincipalPolicyInput{PolicySourceArn: aws.String(arn), ResourceArns: []string{resource}}
		for _, r := range of {
			in.ActionNames = append(in.ActionNames, r.action)
		}
		allowed, err := m.allowed(ctx, api, in)
		if err != nil {
			f.Add(mint.RightsUnknown, "%s: what it may do is not known: simulating its policies, for which it needs iam:SimulatePrincipalPolicy on itself: %v", who, err)
			return
		}
		for _, r := range of {
			switch {
			case allowed[r.action] == depends:
				f.Add(mint.RightsUnknown, "%s: whether it may %s on %s depends on conditions that a simulation does not know", who, r.action, shown(r.resource))
			case r.needed && allowed[r.action] != allows:
				f.Add(mint.RightsMissing, "%s: %s on %s", who, r.action, shown(r.resource))
			case !r.needed && allowed[r.action] == allows:
				f.Add(mint.RightsBeyond, "%s: %s on %s", who, r.action, shown(r.resource))
			}
		}
	}
}

// shown hides the name that nobody knows.
func shown(resource string) string {
	before, _, found := strings.Cut(resource, "valetkey-check-")
	if found {
		return before + "*"
	}
	return resource
}

// verdict is what a simulation says of one action.
type verdict int

const (
	denies verdict = iota
	allows
	// depends is a no for want of a context key's value: with one it may be a yes.
	depends
)

func (m *Minter) allowed(ctx context.Context, api *awsiam.Client, in *awsiam.SimulatePrincipalPolicyInput) (map[string]verdict, error) {
	out := map[string]verdict{}
	for {
		var page *awsiam.SimulatePrincipalPolicyOutput
		if err := m.up.Do(ctx, func(ctx context.Context) (err error) {
			if page, err = api.SimulatePrincipalPolicy(ctx, in); err != nil {
				return classifyIAM(ctx, err, m.cfg.Now())
			}
			return nil
		}); err != nil {
			return nil, err
		}
		for _, r := range page.EvaluationResults {
			v := denies
			switch {
			case r.EvalDecision == types.PolicyEvaluationDecisionTypeAllowed:
				v = allows
			case len(r.MissingContextValues) > 0:
				v = depends
			}
			out[aws.ToString(r.EvalActionName)] = v
		}
		if !page.IsTruncated || aws.ToString(page.Marker) == "" {
			break
		}
		in.Marker = page.Marker
	}
	if len(out) < len(in.ActionNames) {
		return nil, errors.New("not every action was answered")
	}
	return out, nil
}

// principal is the IAM user or role behind the credentials.
func (m *Minter) principal(ctx context.Context, cred aws.CredentialsProvider) (arn string, err error) {
	err = m.up.Do(ctx, func(ctx context.Context) error {
		if _, err := cred.Retrieve(ctx); err != nil {
			return upstream.NoOwn(ctx, "AWS credentials")
		}
		out, err := m.sts.GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{}, func(o *sts.Options) { o.Credentials = cred })
		if err != nil {
			return classify(ctx, "STS", err, m.cfg.Now())
		}
		arn = aws.ToString(out.Arn)
		return nil
	})
	if err != nil || !strings.Contains(arn, ":assumed-role/") {
		return arn, err
	}
	// arn:aws:sts::ACCOUNT:assumed-role/NAME/SESSION leaves out the role's path, which IAM tells.
	name := strings.Split(arn, "/")[1]
	err = m.up.Do(ctx, func(ctx context.Context) error {
		out, err := m.iamAs(cred).GetRole(ctx, &awsiam.GetRoleInput{RoleName: aws.String(name)})
		switch {
		case err != nil:
			// A role without a path needs no asking, and is what there mostly is.
			prefix, _, _ := strings.Cut(arn, ":assumed-role/")
			arn = strings.Replace(prefix, ":sts::", ":iam::", 1) + ":role/" + name
		case out.Role != nil:
			arn = aws.ToString(out.Role.Arn)
		}
		return nil
	})
	return arn, err
}

// iamAs is IAM as seen with other credentials.
func (m *Minter) iamAs(cred aws.CredentialsProvider) *awsiam.Client {
	return awsiam.NewFromConfig(m.sdk, func(o *awsiam.Options) {
		o.Credentials = cred
		if m.cfg.RoleDeny != nil && m.cfg.RoleDeny.Endpoint != "" {
			o.BaseEndpoint = aws.String(m.cfg.RoleDeny.Endpoint)
		}
	})
}

// lookAtRole tells of the agents' role what bounds the right to write its policies, and its room.
func (m *Minter) lookAtRole(ctx context.Context, f *mint.Findings) {
	var role *types.Role
	err := m.deny.policy.call(ctx, func(ctx context.Context) error {
		out, err := m.deny.policy.iam.GetRole(ctx, &awsiam.GetRoleInput{RoleName: aws.String(m.deny.policy.role)})
		if err == nil {
			role = out.Role
		}
		return err
	})
	switch {
	case err != nil:
		f.Add(mint.RightsMissing, "reading role %s: %v", m.cfg.RoleARN, err)
		return
	case role == nil || role.PermissionsBoundary == nil:
		f.Add(mint.RightsBeyond, "%s has no permissions boundary: who can write its policies can give it anything", m.cfg.RoleARN)
	default:
		f.Add(mint.RightsNote, "the role's boundary is %s", aws.ToString(role.PermissionsBoundary.PermissionsBoundaryArn))
	}
	if err := m.Look(ctx); err != nil {
		f.Add(mint.RightsMissing, "reading the role's revocation policy: %v", err)
		return
	}
	r, _ := m.Room()
	j := mint.RightsNote
	if r.Left() == 0 {
		j = mint.RightsMissing
	}
	exact := ""
	if !r.Exact {
		exact = " at most, since the broker may not list the role's other policies"
	}
	f.Add(j, "room for revocations: %d characters%s, and %d for operators alone; %d sessions and %d agents are denied", r.Left(), exact, min(r.Reserved, max(0, r.Limit-r.Used)), r.Entries, r.Agents)
}
