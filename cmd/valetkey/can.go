package main

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/valetkey/valetkey/scopes/can"
	"github.com/valetkey/valetkey/scopes/iam"
)

type canCmd struct {
	scopeQuery

	Action   string   `required:"" help:"The action, such as s3:DeleteObject; for Vault an operation, such as read."`
	Resource string   `required:"" help:"The resource's ARN, or * for an action that takes none; for Vault the path." placeholder:"ARN"`
	Context  []string `sep:"none" help:"A condition key and its value, or for Vault a parameter. The same key again adds a value." placeholder:"KEY=VALUE"`
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
	got, err := can.AskAll(f.each, can.Question{
		Action: c.Action, Resource: c.Resource, Context: values, Now: time.Now(), TTL: f.GetTtl().AsDuration(),
		SourceCIDRs: f.GetSourceCidrs(), Regions: f.GetRegions(),
	})
	if errors.Is(err, can.ErrQuestion) {
		return &usageError{err.Error()}
	} else if err != nil {
		return err
	}
	refused := f.decided && !f.GetAllowed()
	pending := refused && len(f.GetNeeds()) > 0
	if refused && !pending {
		// Nothing is given, and nothing can do nothing.
		got = can.Answer{Answer: iam.No, Dialect: got.Dialect, Why: append([]string{"the request would be denied"}, f.GetReasons()...)}
	}
	if out.json() {
		err = out.value(struct {
			can.Answer

			Decided bool `json:"decided"` // whether policies were asked
			Allowed bool `json:"allowed"` // whether it can be done now: the answer is yes, and the request would be given as it stands
		}{got, f.decided, got.Answer == iam.Yes && !refused})
	} else {
		err = printCan(out, got)
	}
	if err != nil {
		return err
	}
	if refused {
		out.say("It would not be given as it stands: %s.", clean(f.answer()))
	}
	if pending && got.Answer == iam.Yes {
		return answer(exitNeedsApproval)
	}
	return answerOf(got.Answer)
}

func printCan(out *output, a can.Answer) error {
	word := a.Answer.String()
	for _, why := range a.Why {
		if err := out.printf("%s: %s\n", word, clean(why)); err != nil {
			return err
		}
		word = "and"
	}
	for _, k := range slices.Sorted(maps.Keys(a.Supposed)) {
		out.say("Supposing %s=%s.", k, clean(strings.Join(a.Supposed[k], ",")))
	}
	if a.Answer == iam.Yes {
		out.say("The role's own policies, and the resource's, have a say too.")
	}
	return nil
}
