package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/valetkey/valetkey/scopes/vaultacl"
)

type vaultaclCmd struct {
	Simulate vaultaclSimulateCmd `cmd:"" help:"Say whether requests pass: one by flags, or one a line of JSON on standard input."`
	Cover    vaultaclCoverCmd    `cmd:"" help:"Say whether A allows all that B allows. Leaves with 0 for yes, 3 for no, 4 for unknown."`
	Diff     vaultaclDiffCmd     `cmd:"" help:"Say what is gained and lost from A to B. Leaves with 0 if nothing is gained, 3 if something is, 4 if that can destroy or administer."`
	Explain  vaultaclExplainCmd  `cmd:"" help:"Show rules with their tiers, or what decides about one path."`
	Fmt      vaultaclFmtCmd      `cmd:"" help:"Check policy files and print them in one form."`
}

// readACL reads the policies of one token.
func readACL(path string) ([]vaultacl.Policy, error) {
	files, err := readSet(path, ".hcl")
	if err != nil {
		return nil, err
	}
	var out []vaultacl.Policy
	for _, f := range files {
		p, err := vaultacl.Parse(f.data)
		if err != nil {
			return nil, f.fault(err)
		}
		p.Name = f.name
		out = append(out, p)
	}
	return out, nil
}

// aclRequest is the JSON form of a request.
type aclRequest struct {
	Operation vaultacl.Operation `json:"operation"`
	Path      string             `json:"path"`
	Data      map[string]any     `json:"data,omitempty"`
	WrapTTL   string             `json:"wrap_ttl,omitempty"`
	Sudo      bool               `json:"sudo,omitempty"`
	Given     map[string]string  `json:"given,omitempty"` // values of templates, by selector
}

func wireRequest(r vaultacl.Request, given map[string]string) aclRequest {
	out := aclRequest{Operation: r.Operation, Path: r.Path, Data: r.Data, Sudo: r.Sudo, Given: given}
	if r.WrapTTL > 0 {
		out.WrapTTL = r.WrapTTL.String()
	}
	return out
}

// request checks what was asked.
func (r aclRequest) request() (vaultacl.Request, error) {
	out := vaultacl.Request{Operation: r.Operation, Path: r.Path, Data: r.Data, Sudo: r.Sudo}
	if !slices.Contains(vaultacl.Operations(), r.Operation) {
		return out, &usageError{fmt.Sprintf("the operation %q is none of %v", r.Operation, vaultacl.Operations())}
	}
	if r.Path == "" {
		return out, &usageError{"a request without a path"}
	}
	if r.Operation == vaultacl.OpList && !strings.HasSuffix(out.Path, "/") {
		out.Path += "/" // as Vault's server does
	}
	if r.WrapTTL != "" {
		var err error
		if out.WrapTTL, err = time.ParseDuration(r.WrapTTL); err != nil || out.WrapTTL <= 0 {
			return out, &usageError{fmt.Sprintf("the wrapping's life %q is no duration", r.WrapTTL)}
		}
	}
	return out, nil
}

// given says what an example supposes of the caller.
func givenText(given map[string]string) string {
	var out []string
	for _, k := range slices.Sorted(maps.Keys(given)) {
		out = append(out, k+" = "+given[k])
	}
	return strings.Join(out, ", ")
}

func refText(refs []vaultacl.Ref) string {
	var out []string
	for _, r := range refs {
		out = append(out, fmt.Sprintf("%s:%d", r.Policy, r.Line))
	}
	return strings.Join(out, " ")
}

type vaultaclCoverCmd struct {
	A      string `arg:"" predictor:"hcl" help:"The wider side: a file, a folder with the .hcl files of one token, or -."`
	B      string `arg:"" predictor:"hcl" help:"The narrower side, likewise."`
	Budget int    `help:"How many kinds of paths to look at." default:"200000"`
}

// coverAnswer is the JSON form of the answer.
type coverAnswer struct {
	Answer  string      `json:"answer"`
	Witness *aclRequest `json:"witness,omitempty"`
	Why     string      `json:"why,omitempty"`
}

func (c *vaultaclCoverCmd) Run(out *output) error {
	a, b, err := readPair(c.A, c.B, readACL)
	if err != nil {
		return err
	}
	got := vaultacl.CoversWithin(c.Budget, a, b)
	res := coverAnswer{Answer: got.Answer.String(), Why: got.Why}
	text := res.Answer
	if got.Witness != nil {
		w := wireRequest(*got.Witness, got.Given)
		res.Witness = &w
		text += ": " + got.Witness.String()
		if len(got.Given) > 0 {
			text += " for " + givenText(got.Given)
		}
	}
	if got.Why != "" {
		text += ": " + got.Why
	}
	if out.json() {
		err = out.value(res)
	} else {
		err = out.printf("%s\n", clean(text))
	}
	if err != nil {
		return err
	}
	switch got.Answer {
	case vaultacl.Yes:
		return nil
	case vaultacl.No:
		return answer(exitNo)
	case vaultacl.Unknown:
	}
	return answer(exitUnknown)
}
