// Package iam holds AWS IAM policies as values and as sets of requests: it reads and prints them, says what they allow,
// compares and shrinks them, says how much harm they can do, and binds them to a deadline, to source networks, to
// Regions and to their own edges.
//
// Laws:
//   - One policy has one text: values are sorted and unique, a single value is a string, keys have a fixed order.
//     Parse reads that text back to the same policy.
//   - Parse guesses nothing: what IAM's grammar does not have, and a key that is there twice, is a *SyntaxError.
//   - A policy that Validate passes evaluates; only a malformed request is an error then.
//   - What AWS refuses is refused, and an ARN is what AWS makes of it: one constructor reads it, by what the policy is for.
//   - What AWS's pages leave open is unsure, a third answer that fails a request: in an Allow it does not allow, in a Deny
//     it denies. The doc of each such place names its page in a NOTE, and testdata/iam/vectors/unsure.jsonl has it.
//   - Covers never says Yes where some request is in one set and not in the other, and never No without a request that
//     Allows has confirmed on both sides. What it cannot tell, or AWS's pages leave open, or not in bounded time, is
//     Unknown and has its reason.
//   - An action that AWS has yet to add is in a wildcard's set: comparing and shrinking count it.
//   - Shrink takes a step only where Covers proves that the set stays the same; it makes no wildcard.
//   - Bind only narrows: it adds Deny statements and never touches an Allow.
//   - A policy to mint with that allows nothing is an error, never "no restriction": STS reads a missing session policy
//     that way.
//
// The package decides nothing about who may have a policy and talks to no one. All values are safe to share once
// built; no function keeps or changes its arguments.
package iam

import (
	"errors"
	"fmt"
	"slices"
)

// The versions of the policy language
// (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_version.html). The older one has no
// policy variables, and is what a document without a version has.
const (
	Version     = "2012-10-17"
	Version2008 = "2008-10-17"
)

// MaxSize is the most characters an inline session policy may have
// (https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html, Policy).
const MaxSize = 2048

// The two effects of a statement.
const (
	Allow = "Allow"
	Deny  = "Deny"
)

// ErrPolicy is the parent of every refusal of a policy.
var ErrPolicy = errors.New("invalid IAM policy")

// ErrEmpty says that a policy allows nothing.
var ErrEmpty = fmt.Errorf("%w: it allows nothing", ErrPolicy)

var errPrincipal = fmt.Errorf("%w: only a resource policy has a Principal or NotPrincipal", ErrPolicy)

// Policy is one IAM policy document. The zero value allows nothing and neither marshals nor binds.
type Policy struct {
	Version    string // empty means Version; Parse says Version2008 where the document has none
	ID         string // "Id"; empty leaves it out
	Statements []Statement
}

// Statement is one statement. Exactly one of Action and NotAction, and of Resource and NotResource, is set; a
// statement with a principal may have neither of the latter, as trust policies do.
type Statement struct {
	Sid          string              // empty leaves it out
	Effect       string              // Allow or Deny
	Principal    map[string][]string // type -> values: "AWS", "Service", "Federated", "CanonicalUser"; {"*": {"*"}} is everybody
	NotPrincipal map[string][]string // likewise; at most one of the two is set
	Action       []string
	NotAction    []string
	Resource     []string
	NotResource  []string
	Condition    map[string]map[string][]string // operator -> key -> values; nil means always
}

// Clone returns a copy that shares nothing with p.
func (p Policy) Clone() Policy {
	out := p
	out.Statements = make([]Statement, len(p.Statements))
	for i, s := range p.Statements {
		s.Principal, s.NotPrincipal = cloneLists(s.Principal), cloneLists(s.NotPrincipal)
		s.Action, s.NotAction = slices.Clone(s.Action), slices.Clone(s.NotAction)
		s.Resource, s.NotResource = slices.Clone(s.Resource), slices.Clone(s.NotResource)
		s.Condition = cloneCondition(s.Condition)
		out.Statements[i] = s
	}
	return out
}

func cloneCondition(in map[string]map[string][]string) map[string]map[string][]string {
	if in == nil {
		return nil
	}
	out := make(map[string]map[string][]string, len(in))
	for op, keys := range in {
		out[op] = cloneLists(keys)
	}
	return out
}

func cloneLists(in map[string][]string) map[string][]string {
	if in == nil {
		return nil
	}
	out := make(map[string][]string, len(in))
	for k, vs := range in {
		out[k] = slices.Clone(vs)
	}
	return out
}
