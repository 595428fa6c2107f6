// Package can answers one question about permissions: whether a credential of theirs would let its holder do something.
// The CLI and the MCP server both ask it, so that they cannot disagree.
//
// Laws:
//   - The answer is of what enforces the permissions, by their dialect: of the call as that server checks it.
//   - The permissions are bound first, as they would be minted.
//   - What the dialect does not model is unknown, and never yes.
//   - What the question leaves out is supposed in its favour, and said.
package can

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/valetkey/valetkey/scopes"
	"github.com/valetkey/valetkey/scopes/iam"
	"github.com/valetkey/valetkey/scopes/vaultacl"
)

// ErrQuestion says that the question makes no sense: no such operation, or an action without a service.
var ErrQuestion = errors.New("no question to answer")

// Question is what somebody would do with a credential.
type Question struct {
	Action   string              // "s3:GetObject"; for Vault an operation, with or without "vault:" before it
	Resource string              // an ARN, or "*" for an action that takes none; for Vault the path
	Context  map[string][]string // condition keys; for Vault parameters

	Now         time.Time     // required
	TTL         time.Duration // the credential's life; required
	SourceCIDRs []string      // of the scope
	Regions     []string      // of the scope
}

// Answer is what a credential would let its holder do.
type Answer struct {
	Answer   iam.Answer          `json:"answer"`             // yes, no or unknown
	Verdict  string              `json:"verdict,omitempty"`  // of the policy: "allow", "implicit_deny", "explicit_deny"; empty where that was not asked
	Dialect  iam.Dialect         `json:"dialect,omitempty"`  // who was asked; empty for Vault
	Why      []string            `json:"why"`                // at least one line
	Supposed map[string][]string `json:"supposed,omitempty"` // of the context, what was filled in beside the time
}

// Ask answers the question. The error wraps ErrQuestion, or is of permissions that no Resolve made.
func Ask(p scopes.Permissions, q Question) (Answer, error) {
	if p.AWS != nil {
		return askAWS(p, q)
	}
	return askVault(p, q)
}

// AskAll answers for each of several enforcers that permissions could have. Where they differ the answer is unknown, and
// Why has what each says.
func AskAll(all []scopes.Permissions, q Question) (Answer, error) {
	var out Answer
	var why []string
	same := true
	for i, p := range all {
		a, err := Ask(p, q)
		if err != nil {
			return Answer{}, err
		}
		if i == 0 {
			out = a
		}
		same = same && a.Answer == out.Answer
		why = append(why, fmt.Sprintf("%s: %s: %s", a.Dialect, a.Answer, strings.Join(a.Why, "; ")))
	}
	if len(all) == 0 {
		return Answer{}, fmt.Errorf("%w: no permissions", ErrQuestion)
	}
	if !same {
		out = Answer{Why: append(why, "it depends on what enforces the role; say which with --dialect")}
	}
	return out, nil
}

func askAWS(p scopes.Permissions, q Question) (Answer, error) {
	bound, err := iam.Bind(*p.AWS, iam.Limits{NotAfter: q.Now.Add(q.TTL), SourceCIDRs: q.SourceCIDRs, Regions: q.Regions, Dialect: p.Dialect})
	if err != nil {
		return Answer{}, fmt.Errorf("binding the permissions: %w", err)
	}
	e, err := iam.Compile(p.Dialect, []iam.Policy{bound}, nil, nil)
	if err != nil {
		return Answer{}, fmt.Errorf("reading the permissions: %w", err)
	}
	out := Answer{Supposed: map[string][]string{}, Dialect: p.Dialect}
	r := iam.Request{Action: q.Action, Resource: q.Resource, Context: out.suppose(q)}
	got, err := e.Can(r)
	switch {
	case errors.Is(err, iam.ErrRequest), errors.Is(err, iam.ErrDialect):
		return Answer{}, fmt.Errorf("%w: %w", ErrQuestion, err)
	case err != nil:
		return Answer{}, err
	}
	out.Answer = got.Answer
	if got.Answer == iam.Unknown {
		out.Why = []string{got.Why}
		return out, nil
	}
	out.Verdict = got.Decision.Verdict.String()
	if got.Why != "" {
		out.Why = append(out.Why, got.Why)
	}
	for _, ref := range got.Decision.Statements {
		if s := bound.Statements[ref.Index]; ref.Index < len(p.AWS.Statements) {
			out.Why = append(out.Why, fmt.Sprintf("statement %d %s", ref.Index+1, s))
		} else {
			out.Why = append(out.Why, limitText(s, got.Checked))
		}
	}
	if got.Decision.Verdict == iam.ImplicitDeny {
		out.Why = append(out.Why, missing(p, got.Checked)...)
	}
	return out, nil
}

// suppose returns the question's context with now, and a network and a Region that the scope allows.
func (a *Answer) suppose(q Question) map[string][]string {
	out := maps.Clone(q.Context)
	if out == nil {
		out = map[string][]string{}
	}
	add := func(key, value string, tell bool) {
		for k := range out {
			if strings.EqualFold(k, key) {
				return
			}
		}
		out[key] = []string{value}
		if tell {
			a.Supposed[key] = out[key]
		}
	}
	add("aws:CurrentTime", q.Now.UTC().Format(time.RFC3339), false) // now is what anybody would suppose
	if len(q.SourceCIDRs) > 0 {
		add("aws:ViaAWSService", "false", true)
		if net, err := netip.ParsePrefix(q.SourceCIDRs[0]); err == nil {
			add("aws:SourceIp", net.Addr().String(), true)
		}
	}
	if len(q.Regions) > 0 {
		add("aws:RequestedRegion", q.Regions[0], true)
	}
	return out
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
		return fmt.Sprintf("%s on %s is outside the scope, which has it on %s", r.Action, r.Resource, few(s.NotResource))
	case has("aws:CurrentTime") != nil:
		return "the deadline has passed, " + strings.Join(has("aws:CurrentTime"), "")
	case has("aws:SourceIp") != nil:
		return "the call comes from outside the networks, " + strings.Join(has("aws:SourceIp"), ", ")
	case has("aws:RequestedRegion") != nil:
		return "the call goes outside the Regions, " + strings.Join(has("aws:RequestedRegion"), ", ")
	case len(s.NotAction) > 0:
		return fmt.Sprintf("the action %s is outside the scope, which has %s", r.Action, few(s.NotAction))
	}
	return fmt.Sprintf("the action %s is outside the scope", r.Action)
}

// maxNamed is how many names of a list are told.
const maxNamed = 6

func few(names []string) string {
	if len(names) <= maxNamed {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:maxNamed], ", "), len(names)-maxNamed)
}

// missing says why no statement allows a request: the conditions of those that else would, or that there is none.
func missing(p scopes.Permissions, r iam.Request) []string {
	var out []string
	for i, s := range p.AWS.Statements {
		if len(s.Condition) == 0 {
			continue
		}
		free := s
		free.Condition = nil
		one := iam.Policy{Version: p.AWS.Version, Statements: []iam.Statement{free}}
		if d, err := iam.Allows(p.Dialect, []iam.Policy{one}, nil, nil, r); err == nil && d.Verdict == iam.Allowed {
			out = append(out, fmt.Sprintf("statement %d would, but for its condition; it %s", i+1, s))
		}
	}
	if out == nil {
		out = []string{fmt.Sprintf("no statement allows %s on %s", r.Action, r.Resource)}
	}
	return out
}

func askVault(p scopes.Permissions, q Question) (Answer, error) {
	op := vaultacl.Operation(strings.ToLower(strings.TrimPrefix(q.Action, "vault:")))
	path := strings.TrimPrefix(q.Resource, "/")
	switch {
	case !slices.Contains(vaultacl.Operations(), op):
		return Answer{}, fmt.Errorf("%w: %q is none of Vault's operations, %v", ErrQuestion, q.Action, vaultacl.Operations())
	case path == "":
		return Answer{}, fmt.Errorf("%w: a request without a path", ErrQuestion)
	case op == vaultacl.OpList && !strings.HasSuffix(path, "/"):
		path += "/" // as Vault's server does
	}
	rules := p.Vault
	if p.VaultRead != "" {
		rules = []vaultacl.Rule{{Path: p.VaultRead, Capabilities: []string{"read"}}}
	}
	data := map[string]any{}
	for k, vs := range q.Context {
		if len(vs) > 0 {
			data[k] = vs[len(vs)-1]
		}
	}
	policies := []vaultacl.Policy{vaultacl.FromRules("scope", rules)}
	asked := vaultacl.Request{Operation: op, Path: path, Data: data, Sudo: p.VaultRead == "" && needsSudo(path)}
	d := vaultacl.Allows(policies, asked)
	if d.Verdict == vaultacl.Allowed && !asked.Sudo && p.VaultRead == "" && mayNeedSudo(op, path, data) {
		asked.Sudo = true
		if vaultacl.Allows(policies, asked).Verdict != vaultacl.Allowed {
			return Answer{Answer: iam.Unknown, Verdict: d.Verdict.String(), Why: []string{
				"the policy allows it, and Vault wants sudo on top for the root of a PKI, for a token's own id, period, policies or lack of a parent, and for what it protects below a namespace",
			}}, nil
		}
	}
	out := Answer{Answer: iam.No, Verdict: d.Verdict.String(), Why: []string{d.Why}}
	if d.Verdict == vaultacl.Allowed {
		out.Answer = iam.Yes
	}
	if p.VaultRead != "" && out.Answer == iam.Yes {
		out.Why = []string{"the broker reads it for the agent, once a credential; the agent gets no Vault token"}
	} else if p.VaultRead != "" {
		out.Why = []string{"the broker reads " + p.VaultRead + " for the agent, and nothing else; what the answer can do, Vault decides"}
	}
	return out, nil
}
