package iam

import (
	"fmt"
	"strings"

	"github.com/valetkey/valetkey/scopes/actions"
)

// candidate asks Allows about one request that the search has found, and tells the search to stop: with a witness, or
// because too many were no witnesses.
func (x *explorer) candidate(s *solver, action, resource string) bool {
	r := Request{Action: action, Resource: resource, Context: map[string][]string{}}
	doubts := x.m.context(s, r.Context)
	if x.m.confirm(r) {
		x.witness = &r
		return true
	}
	if x.doubt == "" {
		if len(doubts) == 0 {
			doubts = []string{x.m.unsure(r)}
		}
		x.doubt = strings.Join(doubts, "; ")
	}
	x.tries++
	return x.tries >= maxTries
}

// context writes one context for the signs of a search and returns what could not be made concrete.
func (m *model) context(s *solver, to map[string][]string) (doubts []string) {
	for k, vs := range m.fixed {
		if vs != nil {
			to[k] = vs
		}
	}
	for d := range m.dims {
		dim := &m.dims[d]
		used := false
		for _, c := range dim.conds {
			if s.assign[c] == 0 {
				continue
			}
			used = true
			if dim.key == "" {
				doubts = append(doubts, m.conds[c].doubt)
			}
		}
		if !used || dim.key == "" {
			continue
		}
		st, _ := s.state(d)
		if !st.real {
			doubts = append(doubts, dim.why(st))
		}
		if st.present && st.values != nil {
			to[dim.key] = st.values
		}
	}
	return doubts
}

// confirm tells whether b allows the request for sure, and a for sure does not.
func (m *model) confirm(r Request) bool {
	return m.evaluators[sideB].may(r) == yes && m.evaluators[sideA].may(r) == no
}

// unsure says what AWS's pages leave open about a request.
func (m *model) unsure(r Request) string {
	for s, e := range m.evaluators {
		env, err := newEnvironment(nil, r.Context)
		if err != nil {
			continue
		}
		d, _ := e.decide(r, &env)
		if len(d.Doubts) == 0 {
			continue
		}
		which := [...]string{sideA: "covering", sideB: "covered"}[s]
		return fmt.Sprintf("%sstatement %d of %s of the %s policies matches %s on %s", leftOpen, d.Doubts[0].Index+1, d.Doubts[0].Policy, which,
			r.Action, r.Resource)
	}
	return "the evaluator and the search disagree about " + r.Action + " on " + r.Resource
}

// explain puts names that people know in the place of a witness's shortest ones, where it is still a witness.
func (x *explorer) explain(r *Request) {
	if _, known := actions.Lookup(r.Action); !known {
		x.knownAction(r)
	} else if a, _ := actions.Lookup(r.Action); a.Name != r.Action {
		named := *r
		named.Action = a.Name
		if x.m.confirm(named) {
			*r = named
		}
	}
	if a, known := actions.Lookup(r.Action); (r.Resource == "*" && known && a.NeedsStar()) || strings.HasPrefix(r.Resource, "arn:aws:") {
		return
	}
	named := *r
	service, _, _ := strings.Cut(r.Action, ":")
	for _, named.Resource = range []string{"arn:aws:" + service + ":::name", "arn:aws:" + service + ":us-east-1:111122223333:name"} {
		if x.m.confirm(named) {
			*r = named
			return
		}
	}
	langs, _ := x.m.resourcesOf(x.in)
	p := newProduct(append(langs, arnUniverse()), &budget{left: explainSteps})
	p.hopeless = func(alive bits) bool { return !alive.has(len(langs)) }
	p.explore(func(accepts bits, text string) bool {
		named.Resource = text
		if !accepts.has(len(langs)) || !x.m.confirm(named) {
			return true
		}
		*r = named
		return false
	})
}

// The bounds of explain: actions and automaton steps.
const (
	explainActions = 1_000
	explainSteps   = 20_000
)

func (x *explorer) knownAction(r *Request) {
	service, name, _ := strings.Cut(r.Action, ":")
	services, order := []string{service}, []bool{true, false}
	if !actions.HasService(service) {
		services, order = []string{"s3", "sqs", "iam"}, []bool{false}
	}
	tried := 0
	for _, like := range order {
		for _, service := range services {
			for _, a := range actions.OfService(service) {
				_, short, _ := strings.Cut(strings.ToLower(a.Name), ":")
				if strings.HasPrefix(short, name) != like {
					continue
				}
				if tried++; tried > explainActions {
					return
				}
				named := *r
				named.Action = a.Name
				if x.m.confirm(named) {
					*r = named
					return
				}
			}
		}
	}
}
