package vaultplugin

import (
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/hashicorp/go-secure-stdlib/parseutil"
	"github.com/hashicorp/vault/sdk/framework"

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
		"purpose":       {Type: framework.TypeString, Description: "Why, for people. Required without a task."},
		"environment":   {Type: framework.TypeString, Description: "Where, such as \"staging\". Required without a task, unless the mount's config says it."},
		"on_behalf_of":  {Type: framework.TypeString, Description: "Who asked for it, for people."},
		"justification": {Type: framework.TypeString, Description: "Why this credential, for people. Nothing decides on it."},
		"parameters":    {Type: framework.TypeMap, Description: "The scope's parameters as a map, where one is called like a field of this path. Otherwise name them directly: bucket=b prefix=p."},
	}
}

var (
	errPurpose     = errors.New("purpose is required: say in a few words what the credential is for, or name a task (task=ID, from \"vault write MOUNT/tasks\")")
	errEnvironment = errors.New("environment is required: say where the work happens, such as environment=staging; the mount's config can fix it for all")
)

func readAsk(d *framework.FieldData) (ask, error) {
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
	if a.ttl < 0 || a.lease < 0 {
		return a, errors.New("ttl and lease cannot be negative")
	}
	all := map[string]any{}
	for name, value := range d.Raw {
		if _, ours := d.Schema[name]; !ours {
			all[name] = value
		}
	}
	if given, ok := d.Get("parameters").(map[string]any); ok {
		maps.Copy(all, given)
	}
	for name, value := range all {
		values, err := parseutil.ParseString(value)
		if err == nil {
			a.params[name] = []string{values}
			continue
		}
		list, ok := value.([]any)
		if strings, is := value.([]string); is {
			a.params[name] = strings
			continue
		}
		if !ok {
			return a, fmt.Errorf("parameter %q is neither a text nor a list of texts", name)
		}
		for _, v := range list {
			s, err := parseutil.ParseString(v)
			if err != nil {
				return a, fmt.Errorf("parameter %q is neither a text nor a list of texts", name)
			}
			a.params[name] = append(a.params[name], s)
		}
	}
	return a, nil
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
