package main

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/valetkey/valetkey/scopes/iam"
)

type iamCmd struct {
	Simulate iamSimulateCmd `cmd:"" help:"Say whether requests are allowed: one by flags, or one a line of JSON on standard input."`
	Cover    iamCoverCmd    `cmd:"" help:"Say whether A allows all that B allows. Leaves with 0 for yes, 3 for no, 4 for unknown."`
	Diff     iamDiffCmd     `cmd:"" help:"Say what is gained and lost from A to B. Leaves with 0 if nothing is gained, 3 if something is, 4 if that can destroy or administer."`
	Shrink   iamShrinkCmd   `cmd:"" help:"Write a policy shorter, until it fits, and the set of what it allows stays the same."`
	Explain  iamExplainCmd  `cmd:"" help:"Say what a policy allows, and how much harm that can do."`
	Fmt      iamFmtCmd      `cmd:"" help:"Check policy files and print them in one form."`
}

var errResourcePolicy = errors.New("a resource policy does not say what a caller may do; iam fmt alone takes one")

// iamSet is some policies and what their layers are called by, as
// iam.Ref.Policy has them.
type iamSet struct {
	policies []iam.Policy
	names    map[string]string
}

// name returns the file of the set's policy with this index.
func (s iamSet) name(i int) string { return s.names[layer(i)] }

func layer(i int) string { return fmt.Sprintf("%s[%d]", iam.LayerIdentity, i) }

// add appends the policies of a file or a folder.
func (s *iamSet) add(path string) error {
	files, err := readSet(path, ".json")
	if err != nil {
		return err
	}
	if s.names == nil {
		s.names = map[string]string{}
	}
	for _, f := range files {
		p, err := parseIAM(f)
		if err != nil {
			return err
		}
		s.names[layer(len(s.policies))] = f.name
		s.policies = append(s.policies, p)
	}
	return nil
}

func readIAM(path string) (s iamSet, err error) { return s, s.add(path) }

// readIAMPolicy reads a file with one policy.
func readIAMPolicy(path string) (iam.Policy, error) {
	files, err := readSet(path, ".json")
	if err != nil {
		return iam.Policy{}, err
	}
	if len(files) != 1 {
		return iam.Policy{}, &usageError{fmt.Sprintf("%s has %d policies: name one file", path, len(files))}
	}
	return parseIAM(files[0])
}

// parseIAM reads a policy of a caller; a resource policy is none.
func parseIAM(f textFile) (iam.Policy, error) {
	p, err := iam.Parse(f.data)
	if err != nil {
		return p, f.fault(err)
	}
	for i, s := range p.Statements {
		if s.Principal != nil || s.NotPrincipal != nil {
			return p, f.fault(fmt.Errorf("statement %d has a principal: %w", i+1, errResourcePolicy))
		}
	}
	return p, nil
}

// iamRequest is the JSON form of a request, as simulate reads it.
type iamRequest struct {
	Action   string              `json:"action"`
	Resource string              `json:"resource"`
	Context  map[string][]string `json:"context,omitempty"`
}

func wireIAMRequest(r *iam.Request) *iamRequest {
	if r == nil {
		return nil
	}
	out := &iamRequest{Action: r.Action, Resource: r.Resource, Context: maps.Clone(r.Context)}
	for k, vs := range out.Context {
		if vs == nil {
			out.Context[k] = []string{}
		}
	}
	return out
}

// String is the request on one line.
func (r *iamRequest) String() string {
	out := r.Action + " on " + r.Resource
	glue := " with "
	for _, k := range slices.Sorted(maps.Keys(r.Context)) {
		out += fmt.Sprintf("%s%s = %s", glue, k, cmp.Or(strings.Join(r.Context[k], ", "), "(nothing)"))
		glue = " and "
	}
	return out
}

// decision says for people what was decided and by which statements, counted
// from 1.
func (s iamSet) decision(d iam.Decision) string {
	if d.Verdict == iam.ImplicitDeny {
		return fmt.Sprintf("%s: no statement of the %s allows it", d.Verdict, map[string]string{
			iam.LayerIdentity: "identity policies", iam.LayerBoundary: "boundary", iam.LayerSession: "session policy",
		}[d.Layer])
	}
	var by []string
	for _, r := range d.Statements {
		by = append(by, statementText(s.names[r.Policy], r.Index, r.Sid))
	}
	return fmt.Sprintf("%s by %s", d.Verdict, strings.Join(by, ", "))
}

// statementText names a statement whose index counts from 0.
func statementText(file string, index int, sid string) string {
	out := fmt.Sprintf("%s statement %d", file, index+1)
	if sid != "" {
		out += " (" + sid + ")"
	}
	return out
}

type iamFmtCmd struct {
	Files  []string `arg:"" predictor:"json" help:"Policy files, folders with .json files, or - for standard input."`
	Write  bool     `short:"w" help:"Write the files instead of printing them."`
	Check  bool     `help:"Print the names of files that are not so, and leave with 3 if there are any."`
	Indent bool     `help:"One value a line, for people. Without it: the text that AWS counts."`
}

func (c *iamFmtCmd) Run(out *output) error {
	return out.formatFiles(c.Files, ".json", c.Write, c.Check, c.format)
}

func (c *iamFmtCmd) format(text []byte) ([]byte, error) {
	p, err := iam.Parse(text)
	if err != nil {
		return nil, err
	}
	return policyText(p, c.Indent)
}
