package iam

import (
	"encoding/json"
	"fmt"

	"github.com/valetkey/valetkey/scopes/internal/strict"
)

// Case is one evaluation as a line of JSON: policies, a request, and the verdict that is expected of them.
//
//	{"name":"…","page":"https://docs.aws.amazon.com/…","identity":[policy…],"session":policy,"boundary":policy,
//	 "action":"s3:GetObject","resource":"arn:…","context":{"key":"value" or ["values"]},"verdict":"allow","why":"…"}
type Case struct {
	Name     string
	Page     string // where AWS says so; empty where nobody does
	Identity []Policy
	Session  *Policy // nil is none
	Boundary *Policy // nil is none
	Request  Request
	Verdict  *Verdict // nil where the line expects none
	Why      string
}

type wireCase struct {
	Name     string                  `json:"name"`
	Page     string                  `json:"page"`
	Identity []Policy                `json:"identity"`
	Session  *Policy                 `json:"session"`
	Boundary *Policy                 `json:"boundary"`
	Action   string                  `json:"action"`
	Resource string                  `json:"resource"`
	Context  map[string]oneOrSeveral `json:"context"`
	Verdict  *Verdict                `json:"verdict"`
	Why      string                  `json:"why"`
}

// oneOrSeveral is a string or a list of strings.
type oneOrSeveral []string

func (o *oneOrSeveral) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '"' {
		*o = make(oneOrSeveral, 1)
		return json.Unmarshal(b, &(*o)[0])
	}
	return json.Unmarshal(b, (*[]string)(o))
}

// ParseCase reads one line. It refuses unknown members and what Parse refuses; it evaluates nothing.
func ParseCase(line []byte) (Case, error) {
	w, err := strict.Decode[wireCase](line)
	if err != nil {
		return Case{}, fmt.Errorf("reading case: %w", err)
	}
	c := Case{Name: w.Name, Page: w.Page, Identity: w.Identity, Session: w.Session, Boundary: w.Boundary,
		Request: Request{Action: w.Action, Resource: w.Resource}, Verdict: w.Verdict, Why: w.Why}
	if w.Context != nil {
		c.Request.Context = make(map[string][]string, len(w.Context))
		for k, vs := range w.Context {
			c.Request.Context[k] = vs
		}
	}
	return c, nil
}

// Evaluate is Allows for the case.
func (c Case) Evaluate() (Decision, error) {
	return Allows(DialectAWS, c.Identity, c.Session, c.Boundary, c.Request)
}
