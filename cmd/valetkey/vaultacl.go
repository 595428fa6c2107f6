package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"time"

	"github.com/hashicorp/hcl/hcl/printer"

	"github.com/valetkey/valetkey/scopes/vaultacl"
)

type vaultaclCmd struct {
	family[[]vaultacl.Policy, aclSimulate, aclCompare, aclExplain, aclFmt]
}

var (
	_ simulator                   = aclSimulate{}
	_ comparer[[]vaultacl.Policy] = aclCompare{}
	_ explainer                   = aclExplain{}
	_ formatter                   = aclFmt{}
)

// aclFiles is Vault's ACL as a language of files.
type aclFiles struct{}

func (aclFiles) ext() string { return ".hcl" }

func (aclFiles) read(files []textFile) ([]vaultacl.Policy, error) {
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

type aclCompare struct {
	aclFiles

	Budget int `help:"How many kinds of paths to look at." default:"200000"`
}

func (c aclCompare) cover(a, b []vaultacl.Policy) (coverage, error) {
	got := vaultacl.CoversWithin(c.Budget, a, b)
	res := coverage{Answer: got.Answer, Why: got.Why}
	if got.Witness != nil {
		res.Witness, res.A, res.B = got.Witness, vaultacl.Allows(a, *got.Witness), vaultacl.Allows(b, *got.Witness)
	}
	return res, nil
}

func (c aclCompare) diff(a, b []vaultacl.Policy) (delta, error) {
	d := vaultacl.DiffWithin(c.Budget, a, b)
	return delta{aclChanges(d.Gained), aclChanges(d.Lost), d.Tier(), d.Complete, d.Why}, nil
}

func aclChanges(in []vaultacl.Change) []change {
	out := []change{}
	for _, c := range in {
		example := c.Why
		if c.Known {
			example = c.Witness.String()
		}
		out = append(out, change{gain: gain{c.Tier, c.Known}, value: c, what: c.What(), example: example, where: refsText(c.Rules)})
	}
	return out
}

func refsText(refs []vaultacl.Ref) string { return strings.Trim(fmt.Sprint(refs), "[]") }

// given is what is supposed of the caller.
type given struct {
	Given map[string]string `mapsep:"none" help:"What a template is filled with, such as identity.entity.id=ID; a + or * in it counts as Vault 1.21 reads it." placeholder:"SELECTOR=VALUE"`
}

type aclSimulate struct {
	aclFiles
	given

	Operation string        `help:"The operation: create, read, update, delete, list, patch or recover. Default: read."`
	Path      string        `help:"The path, without v1/. Without a request by flags, cases are read from standard input."`
	Data      string        `help:"The parameters, as a JSON object." placeholder:"JSON"`
	WrapTTL   time.Duration `name:"wrap-ttl" help:"The life asked for of a wrapping token."`
	Sudo      bool          `help:"Suppose that Vault protects the path, so that sudo is needed."`
}

func (c aclSimulate) asked() (bool, error) {
	if c.Path == "" && (c.Operation+c.Data != "" || c.WrapTTL != 0 || c.Sudo || len(c.Given) > 0) {
		return false, missing("--path")
	}
	return c.Path != "", nil
}

func (c aclSimulate) open(files []textFile) (func([]byte) (judgement, error), error) {
	set, err := c.read(files)
	if err != nil {
		return nil, err
	}
	asked := vaultacl.Case{Request: vaultacl.Request{
		Operation: vaultacl.Operation(cmp.Or(c.Operation, "read")), Path: c.Path, WrapTTL: c.WrapTTL, Sudo: c.Sudo, Given: c.Given,
	}}
	if c.Data != "" {
		dec := json.NewDecoder(strings.NewReader(c.Data))
		dec.UseNumber()
		err := dec.Decode(&asked.Request.Data)
		if err == nil && asked.Request.Data == nil {
			err = errors.New("it is null")
		}
		if _, end := dec.Token(); err == nil && !errors.Is(end, io.EOF) {
			err = errors.New("there is text after it")
		}
		if err != nil {
			return nil, &usageError{fmt.Sprintf("--data is no JSON object: %v", err)}
		}
	}
	return func(line []byte) (judgement, error) {
		k := asked
		if line != nil {
			if k, err = vaultacl.ParseCase(line); err != nil {
				return judgement{}, err
			}
		}
		if k.Policies == nil {
			k.Policies = set
		}
		d, err := k.Evaluate()
		if err != nil {
			return judgement{}, err
		}
		w := wordsOf(k.Name, k.Verdict, d.Verdict)
		return judgement{w, k.Request, d, d.Verdict, struct {
			caseWords
			vaultacl.Decision
		}{w, d}}, nil
	}, nil
}

type aclExplain struct {
	aclFiles
	given

	Path string `help:"Say what decides about this path."`
}

// aclDeciding is what decides about a path.
type aclDeciding struct {
	Path         string           `json:"path"`
	Capabilities []string         `json:"capabilities"` // as sys/capabilities answers
	Matches      []vaultacl.Match `json:"matches"`      // the first decides
	List         *vaultacl.Match  `json:"list"`         // decides about a list
}

func (c aclExplain) explain(files []textFile) (any, [][]string, error) {
	set, err := c.read(files)
	if err != nil {
		return nil, nil, err
	}
	if c.Path != "" {
		value, rows := c.deciding(vaultacl.Compile(vaultacl.Fill(set, c.Given)))
		return value, rows, nil
	}
	risk := vaultacl.Assess(set)
	rows := [][]string{{"tier", risk.Tier.String()}}
	for _, r := range risk.Reasons {
		rows = append(rows, []string{r.Tier.String(), r.String()})
	}
	return risk, rows, nil
}

func (c aclExplain) deciding(acl *vaultacl.ACL) (aclDeciding, [][]string) {
	res := aclDeciding{Path: c.Path, Capabilities: acl.Capabilities(c.Path), Matches: append([]vaultacl.Match{}, acl.Matches(c.Path)...)}
	rows := [][]string{{"capabilities", strings.Join(res.Capabilities, " ")}}
	row := func(word string, m vaultacl.Match) {
		rows = append(rows, []string{word, fmt.Sprintf("%s  %s  (%s)", m.Path, cmp.Or(strings.Join(m.Capabilities, " "), "nothing"), refsText(m.Rules))})
	}
	word := "decides"
	for _, m := range res.Matches {
		row(word, m)
		word = "does not count"
	}
	if len(res.Matches) == 0 {
		rows = append(rows, []string{word, "no rule matches the path"})
	}
	if m, ok := acl.ListMatch(strings.TrimSuffix(c.Path, "/") + "/"); ok {
		res.List = &m
		row("decides on a list", m)
	}
	return res, rows
}

type aclFmt struct {
	aclFiles

	Canonical bool `help:"Print one form for one meaning, without comments."`
}

var errReformatted = errors.New("formatting would change what the policy means; use --canonical")

// format lays out a policy as "vault policy fmt" does, which keeps comments, and checks that it means the same.
func (f aclFmt) format(text []byte) ([]byte, error) {
	p, err := vaultacl.Parse(text)
	if err != nil {
		return nil, err
	}
	if f.Canonical || bytes.HasPrefix(bytes.TrimSpace(text), []byte("{")) {
		return p.Marshal()
	}
	out, err := printer.Format(text)
	if err != nil {
		return nil, fmt.Errorf("formatting: %w", err)
	}
	out = append(bytes.TrimSpace(out), '\n')
	again, err := vaultacl.Parse(out)
	for _, q := range []*vaultacl.Policy{&p, &again} {
		for i := range q.Paths {
			q.Paths[i].Pos = vaultacl.Pos{}
		}
	}
	if err != nil || !reflect.DeepEqual(p, again) {
		return nil, errReformatted
	}
	return out, nil
}
