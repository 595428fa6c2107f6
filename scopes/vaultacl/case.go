package vaultacl

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/valetkey/valetkey/scopes/internal/strict"
	"github.com/valetkey/valetkey/scopes/verdict"
)

// ErrRequest is the parent of every refusal of a Request.
var ErrRequest = verdict.ErrRequest

// Case is one evaluation as a line of JSON: policies, a request, and the verdict that is expected of them.
//
//	{"name":"…","policies":["HCL"…],"operation":"read","path":"secret/data/x","data":{…},"wrap_ttl":"1m","sudo":true,
//	 "given":{"identity.entity.id":"…"},"verdict":"allow","why":"…"}
type Case struct {
	Name     string
	Policies []Policy
	Request  Request
	Verdict  *Verdict // nil where the line expects none
	Why      string
}

// wireRequest is a request as JSON has it.
type wireRequest struct {
	Operation Operation         `json:"operation"`
	Path      string            `json:"path"`
	Data      map[string]any    `json:"data,omitempty"`
	WrapTTL   string            `json:"wrap_ttl,omitempty"` // as Go writes a duration
	Sudo      bool              `json:"sudo,omitempty"`
	Given     map[string]string `json:"given,omitempty"`
}

type wireCase struct {
	wireRequest

	Name     string   `json:"name"`
	Policies []string `json:"policies"`
	Verdict  *Verdict `json:"verdict"`
	Why      string   `json:"why"`
}

func (w wireRequest) request() (Request, error) {
	r := Request{Operation: w.Operation, Path: w.Path, Data: w.Data, Sudo: w.Sudo, Given: w.Given}
	if w.WrapTTL != "" {
		var err error
		if r.WrapTTL, err = time.ParseDuration(w.WrapTTL); err != nil {
			return Request{}, fmt.Errorf("%w: the wrapping's life %q is no duration", ErrRequest, w.WrapTTL)
		}
	}
	return r, nil
}

// MarshalJSON gives the request as a line of cases has it.
func (r Request) MarshalJSON() ([]byte, error) {
	w := wireRequest{Operation: r.Operation, Path: r.Path, Data: r.Data, Sudo: r.Sudo, Given: r.Given}
	if r.WrapTTL != 0 {
		w.WrapTTL = r.WrapTTL.String()
	}
	return json.Marshal(w)
}

// UnmarshalJSON reads what MarshalJSON gives, and nothing else. Numbers of Data are each a json.Number, as Vault has them.
func (r *Request) UnmarshalJSON(b []byte) error {
	w, err := strict.Decode[wireRequest](b)
	if err == nil {
		*r, err = w.request()
	}
	return err
}

// ParseCase reads one line. It refuses unknown members and what Parse refuses; it evaluates nothing.
func ParseCase(line []byte) (Case, error) {
	w, err := strict.Decode[wireCase](line)
	var r Request
	if err == nil {
		r, err = w.request()
	}
	if err != nil {
		return Case{}, fmt.Errorf("reading case: %w", err)
	}
	c := Case{Name: w.Name, Request: r, Verdict: w.Verdict, Why: w.Why}
	for i, text := range w.Policies {
		p, err := Parse([]byte(text))
		if err != nil {
			return Case{}, fmt.Errorf("reading case: policies[%d]: %w", i, err)
		}
		c.Policies = append(c.Policies, p)
	}
	return c, nil
}

// Evaluate is Allows for the case, as Vault's server would pass the request on: the path of a list ends in a slash. The
// error wraps ErrRequest and says what is wrong with the request.
func (c Case) Evaluate() (Decision, error) {
	r := c.Request
	switch {
	case !slices.Contains(Operations(), r.Operation):
		return Decision{}, fmt.Errorf("%w: the operation %q is none of %v", ErrRequest, r.Operation, Operations())
	case r.Path == "":
		return Decision{}, fmt.Errorf("%w: it has no path", ErrRequest)
	case r.WrapTTL < 0:
		return Decision{}, fmt.Errorf("%w: the wrapping's life is %s", ErrRequest, r.WrapTTL)
	case r.Operation == OpList && !strings.HasSuffix(r.Path, "/"):
		r.Path += "/"
	}
	return Allows(c.Policies, r), nil
}
