package main

import (
	"cmp"
	"errors"
	"fmt"

	"github.com/valetkey/valetkey/scopes/iam"
)

type iamCmd struct {
	family[iamSet, iamSimulate, iamCompare, iamExplain, iamFmt]

	Shrink iamShrinkCmd `cmd:"" help:"Write a policy shorter, until it fits, and the set of what it allows stays the same."`
}

var (
	_ simulator        = iamSimulate{}
	_ comparer[iamSet] = iamCompare{}
	_ explainer        = iamExplain{}
	_ formatter        = iamFmt{}
)

// iamFiles is IAM as a language of files.
type iamFiles struct{}

func (iamFiles) ext() string { return ".json" }

// readBy is whose reading of a policy is meant.
type readBy struct {
	Dialect string `help:"What enforces the policies: aws, minio, radosgw or versitygw." default:"aws"`
}

func (r readBy) dialect() (iam.Dialect, error) { return dialectFlag(r.Dialect) }

var errResourcePolicy = errors.New("a resource policy does not say what a caller may do; iam fmt alone takes one")

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

// oneIAM reads the one policy of some files.
func oneIAM(files []textFile) (iam.Policy, error) {
	if len(files) != 1 {
		return iam.Policy{}, &usageError{fmt.Sprintf("%d policies, %s and others: name one file", len(files), files[0].name)}
	}
	return parseIAM(files[0])
}

// iamSet is the policies of a caller, and the files of the layers, as iam.Ref.Policy names them.
type iamSet struct {
	policies []iam.Policy
	names    map[string]string
}

// file returns the file of the policy with this index.
func (s iamSet) file(i int) string { return s.names[fmt.Sprintf("%s[%d]", iam.LayerIdentity, i)] }

func (iamFiles) read(files []textFile) (iamSet, error) {
	s := iamSet{names: map[string]string{}}
	for i, f := range files {
		p, err := parseIAM(f)
		if err != nil {
			return s, err
		}
		s.names[fmt.Sprintf("%s[%d]", iam.LayerIdentity, i)] = f.name
		s.policies = append(s.policies, p)
	}
	return s, nil
}

// named has the files in place of the layers.
func (s iamSet) named(d iam.Decision) iam.Decision {
	for _, refs := range [][]iam.Ref{d.Statements, d.Doubts} {
		for i := range refs {
			refs[i].Policy = cmp.Or(s.names[refs[i].Policy], refs[i].Policy)
		}
	}
	return d
}

type iamCompare struct {
	iamFiles
	readBy
}

func (c iamCompare) cover(a, b iamSet) (coverage, error) {
	d, err := c.dialect()
	if err != nil {
		return coverage{}, err
	}
	got, err := iam.Covers(d, a.policies, b.policies)
	res := coverage{Answer: got.Answer, Why: got.Why}
	if err != nil || got.Witness == nil {
		return res, err
	}
	res.Witness = got.Witness
	for _, s := range []struct {
		set iamSet
		to  *fmt.Stringer
	}{{a, &res.A}, {b, &res.B}} {
		said, err := iam.Allows(d, s.set.policies, nil, nil, *got.Witness)
		if err != nil {
			return res, fmt.Errorf("evaluating the witness: %w", err)
		}
		*s.to = s.set.named(said)
	}
	return res, nil
}

func (c iamCompare) diff(a, b iamSet) (delta, error) {
	d, err := c.dialect()
	if err != nil {
		return delta{}, err
	}
	got, err := iam.Diff(d, a.policies, b.policies)
	return delta{Gained: b.changes(got.Gained), Lost: a.changes(got.Lost), Tier: got.Tier(), Complete: true}, err
}

// changes are of what this side has.
func (s iamSet) changes(in []iam.Change) []change {
	out := []change{}
	for _, c := range in {
		file, example := s.file(c.Policy), c.Why
		if c.Known {
			example = c.Witness.String()
		}
		out = append(out, change{
			gain:  gain{c.Tier, c.Known},
			value: iamChange{file, c},
			what:  c.What(), example: example, where: iam.Ref{Policy: file, Index: c.Statement, Sid: c.Sid}.String(),
		})
	}
	return out
}

// iamChange is a change with its file in the place of the policy's index.
type iamChange struct {
	Policy string `json:"policy"`
	iam.Change
}

type iamSimulate struct {
	iamFiles
	readBy

	Session  string   `predictor:"policy" help:"The session policy." placeholder:"FILE"`
	Boundary string   `predictor:"policy" help:"The permissions boundary." placeholder:"FILE"`
	Action   string   `help:"The action, such as s3:GetObject. Without a request by flags, cases are read from standard input."`
	Resource string   `help:"The resource's ARN, or * for an action that takes none." placeholder:"ARN"`
	Context  []string `sep:"none" help:"A condition key and its value. The same key again adds a value." placeholder:"KEY=VALUE"`
}

func (c iamSimulate) asked() (bool, error) {
	switch {
	case len(c.Context) == 0 && c.Session+c.Boundary+c.Action+c.Resource == "":
		return false, nil
	case c.Action == "":
		return false, missing("--action")
	case c.Resource == "":
		return false, missing("--resource")
	}
	return true, nil
}

func (c iamSimulate) open(files []textFile) (func([]byte) (judgement, error), error) {
	dialect, err := c.dialect()
	if err != nil {
		return nil, err
	}
	values, err := pairs(c.Context)
	if err != nil {
		return nil, err
	}
	set, err := c.read(files)
	if err != nil {
		return nil, err
	}
	asked := iam.Case{Request: iam.Request{Action: c.Action, Resource: c.Resource, Context: values}}
	for _, l := range []struct {
		layer, path string
		policy      **iam.Policy
	}{{iam.LayerSession, c.Session, &asked.Session}, {iam.LayerBoundary, c.Boundary, &asked.Boundary}} {
		if l.path == "" {
			continue
		}
		files, err := readSet(l.path, c.ext())
		if err != nil {
			return nil, err
		}
		p, err := oneIAM(files)
		if err != nil {
			return nil, err
		}
		*l.policy, set.names[l.layer] = &p, l.path
	}
	return func(line []byte) (judgement, error) {
		k, by := asked, set
		if line != nil {
			if k, err = iam.ParseCase(line); err != nil {
				return judgement{}, err
			}
		}
		if k.Identity == nil {
			k.Identity = set.policies
		} else {
			by = iamSet{}
		}
		d, err := iam.Allows(dialect, k.Identity, k.Session, k.Boundary, k.Request)
		if err != nil {
			return judgement{}, err
		}
		d = by.named(d)
		w := wordsOf(k.Name, k.Verdict, d.Verdict)
		return judgement{w, k.Request, d, d.Verdict, struct {
			caseWords
			iam.Decision
		}{w, d}}, nil
	}, nil
}

type iamFmt struct {
	iamFiles

	Indent bool `help:"One value a line, for people. Without it: the text that AWS counts."`
}

func (f iamFmt) format(text []byte) ([]byte, error) {
	p, err := iam.Parse(text)
	if err != nil {
		return nil, err
	}
	return policyText(p, f.Indent)
}
