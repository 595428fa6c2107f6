package mcp

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/valetkey/valetkey/scopes"
	"github.com/valetkey/valetkey/scopes/can"
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

func (x *session) can(ctx context.Context, in CanIn) (out CanOut, err error) {
	said, err := x.suppose(ctx, in.ExplainIn)
	if err != nil {
		return out, err
	}
	out.Allowed, out.Needs = said.GetAllowed(), wireNeeds(said.GetNeeds())
	if out.Needs == nil {
		out.Needs = []Need{}
	}
	p, err := scopes.ParsePermissions([]byte(said.GetPermissions()))
	if err != nil {
		return out, fmt.Errorf("reading the permissions that the broker explained: %w", err)
	}
	got, err := can.Ask(p, can.Question{
		Action: in.Action, Resource: in.Resource, Now: time.Now(), TTL: said.GetTtl().AsDuration(),
		SourceCIDRs: said.GetSourceCidrs(), Regions: said.GetRegions(),
	})
	if errors.Is(err, can.ErrQuestion) {
		return out, refuse(ReasonInvalidArgument, "%s", line(err.Error(), maxLine))
	} else if err != nil {
		return out, err
	}
	out.Answer = got.Answer.String()
	out.Why = line(strings.Join(got.Why, "; "), maxLine)
	return out, nil
}
