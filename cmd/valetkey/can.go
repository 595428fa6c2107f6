package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/valetkey/valetkey/scopes/iam"
	"github.com/valetkey/valetkey/scopes/review"
	"github.com/valetkey/valetkey/scopes/vaultacl"
)

type canCmd struct {
	scopeQuery

	Action   string   `required:"" help:"The action, such as s3:DeleteObject; for Vault an operation, such as read."`
	Resource string   `required:"" help:"The resource's ARN, or * for an action that takes none; for Vault the path." placeholder:"ARN"`
	Context  []string `sep:"none" help:"A condition key and its value, or for Vault a parameter. The same key again adds a value." placeholder:"KEY=VALUE"`
}

// canAnswer is the JSON form of the answer.
type canAnswer struct {
	Allowed  bool                `json:"allowed"`
	Verdict  string              `json:"verdict"`
	Why      []string            `json:"why"`
	Supposed map[string][]string `json:"supposed,omitempty"` // what of the request's context was filled in
}

func (c *canCmd) Run(ctx context.Context, g *globals, out *output) error {
	values, err := pairs(c.Context)
	if err != nil {
		return err
	}
	f, err := c.ask(ctx, g)
	if err != nil {
		return err
	}
	var res canAnswer
	if f.permissions.AWS != nil {
		res, err = f.canAWS(iam.Request{Action: c.Action, Resource: c.Resource, Context: values})
	} else {
		res, err = f.canVault(strings.TrimPrefix(c.Action, "vault:"), c.Resource, values)
	}
	if err != nil {
		return err
	}
	if out.json() {
		err = out.value(res)
	} else {
		err = res.print(out)
	}
	if err != nil {
		return err
	}
	if f.decided && !f.GetAllowed() {
		out.say("It would not be given as it stands: %s.", clean(f.answer()))
	}
	if !res.Allowed {
		return answer(exitNo)
	}
	return nil
}

func (a canAnswer) print(out *output) error {
	word := "no"
	if a.Allowed {
		word = "yes"
	}
	for _, why := range a.Why {
		if err := out.printf("%s: %s\n", word, clean(why)); err != nil {
			return err
		}
		word = "and"
	}
	for _, k := range slices.Sorted(maps.Keys(a.Supposed)) {
		out.say("Supposing %s=%s.", k, clean(strings.Join(a.Supposed[k], ",")))
	}
	if a.Allowed {
		out.say("The role's own policies, and the resource's, have a say too.")
	}
	return nil
}

// canAWS evaluates the policy as it will be minted, with its limits. What the request's context does not say is
// supposed in favour of the request: now, and a network and a Region that the scope allows.
func (f *forecast) canAWS(r iam.Request) (canAnswer, error) {
	p := *f.permissions.AWS
	now := time.Now().UTC()
	bound, err := iam.Bind(p, iam.Limits{
		NotAfter: now.Add(f.GetTtl().AsDuration()), SourceCIDRs: f.GetSourceCidrs(), Regions: f.GetRegions(), Dialect: iam.DialectAWS,
	})
	if err != nil {
		return canAnswer{}, err
	}
	res := canAnswer{Supposed: map[string][]string{}}
	r.Context = maps.Clone(r.Context)
	suppose := func(key, value string) {
		for k := range r.Context {
			if strings.EqualFold(k, key) {
				return
			}
		}
		r.Context[key], res.Supposed[key] = []string{value}, []string{value}
	}
	suppose("aws:CurrentTime", now.Format(time.RFC3339))
	delete(res.Supposed, "aws:CurrentTime") // now is what anybody would suppose
	if n := f.GetSourceCidrs(); len(n) > 0 {
		suppose("aws:ViaAWSService", "false")
		if net, err := netip.ParsePrefix(n[0]); err == nil {
			suppose("aws:SourceIp", net.Addr().String())
		}
	}
	if n := f.GetRegions(); len(n) > 0 {
		suppose("aws:RequestedRegion", n[0])
	}
	d, err := iam.Allows([]iam.Policy{bound}, nil, nil, r)
	if errors.Is(err, iam.ErrRequest) {
		return canAnswer{}, &usageError{err.Error()}
	} else if err != nil {
		return canAnswer{}, err
	}
	res.Allowed, res.Verdict = d.Verdict == iam.Allowed, d.Verdict.String()
	for _, ref := range d.Statements {
		if ref.Index < len(p.Statements) {
			res.Why = append(res.Why, fmt.Sprintf("statement %d %s", ref.Index+1, bound.Statements[ref.Index]))
		} else {
			res.Why = append(res.Why, limitText(bound.Statements[ref.Index], r))
		}
	}
	if d.Verdict == iam.ImplicitDeny {
		res.Why = missing(p, r)
	}
	return res, nil
}

// limitText says which limit of Bind a denial is.
func limitText(s iam.Statement, r iam.Request) string {
	has := func(key string) []string {
		for _, keys := range s.Condition {
			if v, ok := keys[key]; ok {
				return v
			}
		}
		return nil
	}
	switch {
	case len(s.NotResource) > 0:
		return fmt.Sprintf("the resource %s is outside the scope, which reaches %s", r.Resource, few(s.NotResource, 0))
	case has("aws:CurrentTime") != nil:
		return "the deadline has passed, " + strings.Join(has("aws:CurrentTime"), "")
	case has("aws:SourceIp") != nil:
		return "the call comes from outside the networks, " + strings.Join(has("aws:SourceIp"), ", ")
	case has("aws:RequestedRegion") != nil:
		return "the call goes outside the Regions, " + strings.Join(has("aws:RequestedRegion"), ", ")
	case len(s.NotAction) > 0:
		return fmt.Sprintf("the action %s is outside the scope, which has %s", r.Action, few(s.NotAction, 0))
	}
	return s.String()
}

// missing says why no statement allows a request: the conditions of those that else would, or that there is none.
func missing(p iam.Policy, r iam.Request) []string {
	var out []string
	for i, s := range p.Statements {
		if len(s.Condition) == 0 {
			continue
		}
		free := s
		free.Condition = nil
		one := iam.Policy{Version: p.Version, Statements: []iam.Statement{free}}
		if d, err := iam.Allows([]iam.Policy{one}, nil, nil, r); err == nil && d.Verdict == iam.Allowed {
			out = append(out, fmt.Sprintf("statement %d would, but for its condition; it %s", i+1, s))
		}
	}
	if out == nil {
		out = []string{fmt.Sprintf("no statement allows %s on %s", r.Action, r.Resource)}
	}
	return out
}

func (f *forecast) canVault(operation, path string, values map[string][]string) (canAnswer, error) {
	data := map[string]any{}
	for k, vs := range values {
		data[k] = vs[len(vs)-1]
	}
	req, err := aclRequest{Operation: vaultacl.Operation(operation), Path: strings.TrimPrefix(path, "/"), Data: data}.request()
	if err != nil {
		return canAnswer{}, err
	}
	d := vaultacl.Allows([]vaultacl.Policy{review.VaultPolicy(f.permissions)}, req)
	res := canAnswer{Allowed: d.Verdict == vaultacl.Allowed, Verdict: d.Verdict.String(), Why: []string{d.Why}}
	if f.permissions.VaultRead != "" {
		if res.Allowed {
			res.Why = []string{"the broker reads it for the agent, once a credential; the agent gets no Vault token"}
		} else {
			res.Why = []string{"the broker reads " + f.permissions.VaultRead + " for the agent, and nothing else; what the answer can do, Vault decides"}
		}
	}
	return res, nil
}
