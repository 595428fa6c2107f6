package mcp

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/valetkey/valetkey/scopes/iam"
	"github.com/valetkey/valetkey/scopes/vaultacl"
)

// CanIn is a request to suppose, and what would be done with it.
type CanIn struct {
	ExplainIn

	Action   string `json:"action" jsonschema:"an AWS action such as s3:GetObject, or Vault's operation: create, read, update, delete, list or patch"`
	Resource string `json:"resource" jsonschema:"the ARN, or * for an AWS action that takes no resource; or Vault's path, without v1/"`
}

// CanOut says whether the credential would carry the permission.
type CanOut struct {
	Answer  string `json:"answer" jsonschema:"yes, no or unknown: what the credential itself would allow"`
	Why     string `json:"why"`
	Allowed bool   `json:"allowed" jsonschema:"whether the request for the credential would be allowed now; if not, the answer above is what it would be"`
	Needs   []Need `json:"needs" jsonschema:"who would have to approve first"`
}

// permissions are what ExplainScope prints.
type permissions struct {
	AWS       json.RawMessage `json:"aws"`
	Vault     []vaultacl.Rule `json:"vault"`
	VaultRead string          `json:"vault_read"`
}

func (x *session) can(ctx context.Context, in CanIn) (out CanOut, err error) {
	said, err := x.suppose(ctx, in.ExplainIn)
	if err != nil {
		return out, err
	}
	out.Allowed, out.Needs = said.GetAllowed(), wireNeeds(said.GetNeeds())
	if out.Needs == nil {
		out.Needs = []Need{}
	}
	var p permissions
	if err := json.Unmarshal([]byte(said.GetPermissions()), &p); err != nil {
		return out, fmt.Errorf("reading the permissions that the broker explained: %w", err)
	}
	switch {
	case p.AWS != nil:
		out.Answer, out.Why, err = canAWS(p.AWS, in)
	case p.Vault != nil:
		out.Answer, out.Why, err = canVault(p.Vault, in)
	case p.VaultRead != "":
		out.Answer, out.Why = "no", "the credential is what Vault gives at "+p.VaultRead+"; it opens nothing in Vault itself"
	default:
		out.Answer, out.Why = "unknown", "the broker explained permissions of a kind that this server does not know"
	}
	out.Why = line(out.Why, maxLine)
	return out, err
}

func canAWS(policy []byte, in CanIn) (answer, why string, err error) {
	p, err := iam.Parse(policy)
	if err != nil {
		return "", "", fmt.Errorf("reading the policy that the broker explained: %w", err)
	}
	d, err := iam.Allows([]iam.Policy{p}, nil, nil, iam.Request{Action: in.Action, Resource: in.Resource, Context: map[string][]string{
		"aws:CurrentTime": {time.Now().UTC().Format(time.RFC3339)}, "aws:SecureTransport": {"true"},
	}})
	if err != nil {
		return "", "", refuse(ReasonInvalidArgument, "%v", err)
	}
	if d.Verdict == iam.Allowed {
		return "yes", "the credential's policy allows it; a policy of the resource or of the account may still forbid it", nil
	}
	return "no", "the credential's policy does not allow it: " + d.Verdict.String(), nil
}

func canVault(rules []vaultacl.Rule, in CanIn) (answer, why string, err error) {
	op := vaultacl.Operation(strings.ToLower(in.Action))
	known := false
	for _, o := range vaultacl.Operations() {
		known = known || o == op
	}
	if !known {
		return "", "", refuse(ReasonInvalidArgument, "%q is no operation of Vault's", line(in.Action, 64))
	}
	d := vaultacl.Allows([]vaultacl.Policy{vaultacl.FromRules("grant", rules)}, vaultacl.Request{Operation: op, Path: in.Resource})
	if d.Verdict == vaultacl.Allowed {
		return "yes", d.Why, nil
	}
	return "no", d.Why, nil
}
