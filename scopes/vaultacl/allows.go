package vaultacl

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/valetkey/valetkey/scopes/verdict"
)

// Operation is what a request does to a path.
type Operation string

// The operations that a policy has a say in. A POST or PUT is a create if the mount can tell that nothing is there yet,
// and an update otherwise.
const (
	OpCreate  Operation = "create"
	OpRead    Operation = "read"
	OpUpdate  Operation = "update"
	OpDelete  Operation = "delete"
	OpList    Operation = "list"
	OpPatch   Operation = "patch"
	OpRecover Operation = "recover"
)

// Operations lists the operations.
func Operations() []Operation {
	return []Operation{OpCreate, OpRead, OpUpdate, OpDelete, OpList, OpPatch, OpRecover}
}

// takesParameters tells whether Vault checks the parameters of such a request at all.
func (op Operation) takesParameters() bool { return op != OpList && op != OpDelete }

// Request is one call to Vault.
type Request struct {
	Operation Operation
	// Path is without "v1/". Over the API the path of a list ends in a slash.
	Path string
	// Data are the parameters, as JSON has them: of the body, or of the query of a read. Names count as written.
	Data map[string]any
	// WrapTTL is the life asked for of a wrapping token. Zero: no wrapping.
	WrapTTL time.Duration
	// Sudo is set where Vault protects the path: the request then needs sudo on top.
	Sudo bool
	// Given is what is supposed of the caller: the values of templates, by selector, such as "identity.entity.id". A
	// selector that is not in it has no value for that caller. An ACL does not look at it; see Fill.
	Given map[string]string
}

// String returns the request on one line, as people would say it.
func (r Request) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s", r.Operation, r.Path)
	if len(r.Data) > 0 {
		fmt.Fprintf(&b, " with %s", jsonText(r.Data))
	}
	if r.WrapTTL > 0 {
		fmt.Fprintf(&b, " wrapped for %s", r.WrapTTL)
	}
	if r.Sudo {
		b.WriteString(" where sudo is needed")
	}
	glue := " for a caller with "
	for _, k := range slices.Sorted(maps.Keys(r.Given)) {
		b.WriteString(glue + k + "=" + r.Given[k])
		glue = " "
	}
	return b.String()
}

// Verdict is the answer to a request. The zero value is a no.
type Verdict = verdict.Verdict

// The verdicts.
const (
	ImplicitDeny = verdict.ImplicitDeny // no rule matches, or the one that decides does not give it
	Allowed      = verdict.Allowed
	ExplicitDeny = verdict.ExplicitDeny // the rule that decides says deny
)

// Decision is the answer to a request and what it rests on.
type Decision struct {
	Verdict Verdict `json:"verdict"`
	// Path is the path that decided, and Rules are the rules that were merged for it; empty, not nil, when none matches.
	Path  string `json:"path,omitempty"`
	Rules []Ref  `json:"rules"`
	// Sudo tells whether the deciding rule gives sudo.
	Sudo bool `json:"sudo,omitempty"`
	// MFA tells that Vault Enterprise would ask for another factor.
	MFA bool `json:"mfa,omitempty"`
	// Why is one sentence for people.
	Why string `json:"why"`
}

// String says on one line what was decided, and by what.
func (d Decision) String() string {
	out := fmt.Sprintf("%s: %s", d.Verdict, d.Why)
	if len(d.Rules) > 0 {
		out += " (" + strings.Trim(fmt.Sprint(d.Rules), "[]") + ")"
	}
	return out
}

// Allows says whether a token with these policies may make the request, for the caller that the request supposes.
func Allows(policies []Policy, r Request) Decision {
	d := Compile(Fill(policies, r.Given)).Allows(r)
	for _, value := range r.Given {
		if strings.ContainsAny(value, "+*") {
			d.Why += `; Vault 1.21 reads the "+" and "*" of a template's value as the policy's own, newer versions deny`
			break
		}
	}
	return d
}

// CapabilitiesAt returns what sys/capabilities answers for a path, sorted; "deny" alone when there is nothing. Vault
// looks the path up as a list does, so for "a/" it may name the rule for "a", which a read of "a/" would not find.
func CapabilitiesAt(policies []Policy, path string) []string {
	return Compile(policies).Capabilities(path)
}

// Capabilities is CapabilitiesAt for policies that are compiled.
func (a *ACL) Capabilities(path string) []string {
	if m := a.decide(true, path); m != nil && m.caps != 0 {
		return m.caps.names()
	}
	return []string{"deny"}
}

// Allows answers one request.
func (a *ACL) Allows(r Request) Decision {
	m := a.decide(r.Operation == OpList, r.Path)
	if m == nil {
		return Decision{Rules: []Ref{}, Why: "no rule matches the path"}
	}
	d := Decision{Path: m.path, Rules: m.refs, Sudo: m.caps&capSudo != 0, MFA: len(m.mfa) > 0}
	switch why := m.refuses(r); {
	case m.caps&capDeny != 0:
		d.Verdict, d.Why = ExplicitDeny, fmt.Sprintf("the rule for %q denies", m.path)
	case why != "":
		d.Why = fmt.Sprintf("the rule for %q %s", m.path, why)
	default:
		d.Verdict, d.Why = Allowed, fmt.Sprintf("the rule for %q gives %s", m.path, r.Operation)
	}
	return d
}

// refuses says why the request does not pass, or "".
func (m *merged) refuses(r Request) string {
	switch need := capOf(string(r.Operation)); {
	case need == 0 || need&(capDeny|capSudo|capSubscribe) != 0:
		return fmt.Sprintf("has no operation %q", r.Operation)
	case m.caps&need == 0:
		return fmt.Sprintf("does not give %s", r.Operation)
	case r.Sudo && m.caps&capSudo == 0:
		return "does not give sudo"
	case m.maxWrap > 0 && r.WrapTTL <= 0:
		return "takes wrapped requests alone"
	case m.maxWrap > 0 && r.WrapTTL > m.maxWrap:
		return fmt.Sprintf("takes a wrapping of at most %s", m.maxWrap)
	case m.minWrap > 0 && r.WrapTTL < m.minWrap:
		return fmt.Sprintf("takes a wrapping of at least %s", m.minWrap)
	case m.minWrap > 0 && m.maxWrap > 0 && m.maxWrap < m.minWrap:
		return "takes nothing: its policies' wrapping limits cross"
	case !r.Operation.takesParameters():
		return ""
	}
	return m.refusesData(r.Data)
}
