package vaultplugin

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"github.com/valetkey/valetkey/clients/valetkey"
)

// ask is what a caller wants. All else that it sends is a parameter of the scope.
type ask struct {
	scope                                     string
	params                                    valetkey.Params
	ttl, lease                                time.Duration
	task, purpose, environment, onBehalf, why string
}

// askFields are the names that are no scope parameters.
func askFields() map[string]*framework.FieldSchema {
	return map[string]*framework.FieldSchema{
		"scope":         {Type: framework.TypeString, Description: "The scope's name."},
		"ttl":           {Type: framework.TypeDurationSecond, Description: "The credential's life; the scope's default when not given."},
		"lease":         {Type: framework.TypeDurationSecond, Description: "The lease's life where it is to be shorter than the credential's: it can then be renewed up to the credential's end, and ends it when nobody does."},
		"task":          {Type: framework.TypeString, Description: "The id of an open task, from tasks. Without it the credential has a task of its own, which ends with its lease."},
		"purpose":       {Type: framework.TypeString, Description: "Why, for people. Required without a task; in one, it is the task's that counts."},
		"environment":   {Type: framework.TypeString, Description: "Where, such as \"staging\". Required without a task, unless the mount's config says it; refused with one, which has its own."},
		"on_behalf_of":  {Type: framework.TypeString, Description: "Who asked for it, for people. Refused with a task, which has its own."},
		"justification": {Type: framework.TypeString, Description: "Why this credential, for people. Nothing decides on it."},
		"parameters":    {Type: framework.TypeMap, Description: "A map of those parameters of the scope that are called like a field of this path, and of no others: name all else directly, bucket=b prefix=p."},
	}
}

var (
	errPurpose     = errors.New("purpose is required: say in a few words what the credential is for, or name a task (task=ID, from \"vault write MOUNT/tasks\")")
	errEnvironment = errors.New("environment is required: say where the work happens, such as environment=staging; the mount's config can fix it for all")
)

// readAsk reads what a caller wants. Vault's policies hold what it sends by name and by
// value (allowed_parameters, denied_parameters), so that one thing has one spelling
// here: a second one, which a policy says nothing of, is refused.
func readAsk(req *logical.Request, d *framework.FieldData) (ask, error) {
	text := func(name string) string {
		s, _ := d.Get(name).(string)
		return s
	}
	seconds := func(name string) time.Duration {
		n, _ := d.Get(name).(int)
		return time.Duration(n) * time.Second
	}
	a := ask{
		scope: text("scope"), ttl: seconds("ttl"), lease: seconds("lease"), task: text("task"), purpose: text("purpose"),
		environment: text("environment"), onBehalf: text("on_behalf_of"), why: text("justification"), params: valetkey.Params{},
	}
	if _, twice := req.Data["scope"]; twice {
		return a, errors.New("scope is named by the path; leave the other one out")
	}
	if a.ttl < 0 || a.lease < 0 {
		return a, errors.New("ttl and lease cannot be negative")
	}
	for name, value := range d.Raw {
		if _, ours := d.Schema[name]; ours {
			continue
		}
		if err := a.param(name, value); err != nil {
			return a, err
		}
	}
	given, _ := d.Get("parameters").(map[string]any)
	for name, value := range given {
		if _, ours := d.Schema[name]; !ours {
			return a, fmt.Errorf("parameters: %q is called like no field of this path, so name it directly, %s=VALUE: Vault's policies hold parameters by their names there", name, name)
		}
		if err := a.param(name, value); err != nil {
			return a, err
		}
	}
	return a, nil
}

// param takes a value as it is. A number, a truth or a list of one is another spelling
// of a text, which a policy that denies the text would not know.
func (a *ask) param(name string, value any) error {
	if name != strings.ToLower(name) {
		return fmt.Errorf("parameter %q: names have no capitals; Vault's policies do not tell them apart", name)
	}
	var list []any
	switch v := value.(type) {
	case string:
		a.params[name] = []string{v}
		return nil
	case []string:
		for _, s := range v {
			list = append(list, s)
		}
	case []any:
		list = v
	default:
		return fmt.Errorf("parameter %q is neither a text nor a list of texts: write numbers and truths as texts", name)
	}
	if len(list) == 1 {
		return fmt.Errorf("parameter %q is a list of one: write it as a text", name)
	}
	values := make([]string, len(list))
	for i, v := range list {
		s, ok := v.(string)
		if !ok {
			return fmt.Errorf("parameter %q is neither a text nor a list of texts: write numbers and truths as texts", name)
		}
		if slices.Contains(values[:i], s) {
			return fmt.Errorf("parameter %q names %q twice", name, s)
		}
		values[i] = s
	}
	a.params[name] = values
	return nil
}

// inTask refuses claims about a task that has its own: policy reads those, so that who
// says them here would get what they are not heard for.
func (a *ask) inTask() error {
	if a.task != "" && a.environment+a.onBehalf != "" {
		return errors.New("the task has its environment and on_behalf_of, from when it was opened: leave them out, or leave task out")
	}
	return nil
}

// forTask sees to what a task of its own needs.
func (a *ask) forTask(c *config) error {
	switch {
	case c.Environment != "" && a.environment != "" && a.environment != c.Environment:
		return fmt.Errorf("environment: this mount's is %q for all", c.Environment)
	case c.Environment != "":
		a.environment = c.Environment
	}
	switch {
	case a.purpose == "":
		return errPurpose
	case a.environment == "":
		return errEnvironment
	}
	return nil
}

func (a *ask) options() (opts []valetkey.RequestOption) {
	if a.ttl > 0 {
		opts = append(opts, valetkey.WithTTL(a.ttl))
	}
	if a.why != "" {
		opts = append(opts, valetkey.WithJustification(a.why))
	}
	return opts
}
