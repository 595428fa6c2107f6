package main

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/valetkey/valetkey/scopes/iam"
)

type iamSimulateCmd struct {
	Identity []string `sep:"none" predictor:"json" help:"A policy of the caller: a file, or a folder with .json files. Can be given again." placeholder:"FILE"`
	Session  string   `predictor:"json" help:"The session policy." placeholder:"FILE"`
	Boundary string   `predictor:"json" help:"The permissions boundary." placeholder:"FILE"`
	Action   string   `help:"The action, such as s3:GetObject. Without any flag, cases are read from standard input."`
	Resource string   `help:"The resource's ARN, or * for an action that takes none." placeholder:"ARN"`
	Context  []string `sep:"none" help:"A condition key and its value. The same key again adds a value." placeholder:"KEY=VALUE"`
}

// caseFault is the answer to a line that could not be judged.
type caseFault struct {
	Error string `json:"error"`
}

func (c *iamSimulateCmd) Run(ctx context.Context, out *output) error {
	if len(c.Identity)+len(c.Context) == 0 && c.Session+c.Boundary+c.Action+c.Resource == "" {
		return simulateLines(ctx, out)
	}
	for _, f := range []struct{ flag, value string }{
		{"--identity", strings.Join(c.Identity, "")}, {"--action", c.Action}, {"--resource", c.Resource},
	} {
		if f.value == "" {
			return &usageError{f.flag + " is missing; cases on standard input take no flags"}
		}
	}
	values, err := pairs(c.Context)
	if err != nil {
		return err
	}
	k := iam.Case{Request: iam.Request{Action: c.Action, Resource: c.Resource, Context: values}}
	set := iamSet{}
	for _, path := range c.Identity {
		if err := set.add(path); err != nil {
			return err
		}
	}
	k.Identity = set.policies
	for _, l := range []struct {
		layer, path string
		policy      **iam.Policy
	}{{iam.LayerSession, c.Session, &k.Session}, {iam.LayerBoundary, c.Boundary, &k.Boundary}} {
		if l.path == "" {
			continue
		}
		p, err := readIAMPolicy(l.path)
		if err != nil {
			return err
		}
		*l.policy, set.names[l.layer] = &p, l.path
	}
	d, err := k.Evaluate()
	if err != nil {
		return err
	}
	if err := out.line(d); err != nil {
		return err
	}
	out.say("%s", clean(set.decision(d)))
	if d.Verdict != iam.Allowed {
		return answer(exitNo)
	}
	return nil
}

// simulateLines answers the cases of standard input, one line each: a decision,
// or an error, after which it goes on.
func simulateLines(ctx context.Context, out *output) error {
	total, broken, wrong := 0, 0, 0
	err := eachLine(ctx, os.Stdin, func(n int, text []byte, err error) error {
		total++
		var k iam.Case
		var d iam.Decision
		if err == nil {
			k, err = iam.ParseCase(text)
		}
		if err == nil {
			d, err = k.Evaluate()
		}
		if err != nil {
			broken++
			return out.line(caseFault{fmt.Sprintf("line %d: %v", n, err)})
		}
		if k.Verdict != nil && *k.Verdict != d.Verdict {
			wrong++
			out.say("line %d: %s: %s, expected %s", n, clean(k.Name), d.Verdict, *k.Verdict)
		}
		return out.line(d)
	})
	switch {
	case err != nil:
		return err
	case broken > 0:
		return fmt.Errorf("%d of %d cases could not be judged", broken, total)
	case wrong > 0:
		return &answerError{exitVerification, fmt.Sprintf("%d of %d cases are not as expected", wrong, total)}
	}
	return nil
}
