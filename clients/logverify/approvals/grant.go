package approvals

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// grant is a request that people were asked about.
type grant struct {
	digest   string
	envelope envelope
	// needs are how many people of each group it was said to need.
	needs map[string]int
	// asked and lapses are from when until when people could approve it.
	asked, lapses time.Time
	// yes are those who have approved it, by name.
	yes   map[string]yes
	ended bool
	// cleared is when its life began; zero for not yet.
	cleared time.Time
}

// yes is one person's.
type yes struct {
	// groups are those that it counts for.
	groups []string
	old    bool
}

// concerns says whether somebody is in a group that it needs.
func (g *grant) concerns(p *person) bool {
	for group := range g.needs {
		if p.isIn(group) {
			return true
		}
	}
	return false
}

// isAsking says whether somebody stands in the chain that asks, by what the broker had
// verified of it: the agent's ID, whose parts are those that policies read, and the
// delegate's.
func (g *grant) isAsking(p *person) bool {
	return p.goesBy(g.envelope.Agent) || g.envelope.Delegate != "" && p.goesBy(g.envelope.Delegate)
}

// inTime says what is wrong with the times of a decision; empty for nothing. Of the
// old version only the record's own time is known.
func (g *grant) inTime(r record, s statement) (problem string) {
	approves := s.Decision == "approve"
	asked := g.asked
	if !approves && r.Time.Before(asked) { // its clock was set back since, when a broker still takes a no
		asked = r.Time
	}
	switch {
	case r.Time.IsZero():
		return "it has no time"
	case approves && !r.Time.Before(g.lapses):
		return fmt.Sprintf("%s approves a request that had lapsed at %s", r.Approver, g.lapses.Format(time.RFC3339))
	case s.old():
		return ""
	case !s.LapsesAt.Equal(g.lapses):
		return fmt.Sprintf("%s was told that the request lapses at %s, and the record says %s", r.Approver, s.LapsesAt.Format(time.RFC3339), g.lapses.Format(time.RFC3339))
	case s.SignedAt.After(r.Time.Add(leeway)):
		return fmt.Sprintf("%s has signed it at %s, after it was recorded", r.Approver, s.SignedAt.Format(time.RFC3339))
	case s.SignedAt.Before(asked.Add(-2 * leeway)): // each clock may be that far from the right one
		return fmt.Sprintf("%s has signed it at %s, before it was asked for", r.Approver, s.SignedAt.Format(time.RFC3339))
	case approves && !s.SignedAt.Before(s.LapsesAt):
		return fmt.Sprintf("%s has signed it at %s, when the request had lapsed", r.Approver, s.SignedAt.Format(time.RFC3339))
	}
	return ""
}

// counts are the distinct people of each group who approve, and in any of all who count.
func counts(heard map[string]yes) map[string]int {
	out := map[string]int{}
	for _, y := range heard {
		for i, group := range y.groups {
			if i == 0 {
				out[anyGroup]++
			}
			if group != anyGroup {
				out[group]++
			}
		}
	}
	return out
}

// heardAnew says whether people approved it by the newer statements: the older broker
// took no yes of those whom the agent names.
func (g *grant) heardAnew() bool {
	return slices.ContainsFunc(slices.Collect(maps.Values(g.yes)), func(y yes) bool { return !y.old })
}

// asker names the agent, and who speaks for it.
func (e envelope) asker() string {
	if e.Delegate != "" {
		return e.Agent + " through " + e.Delegate
	}
	return e.Agent
}

// differs names what of an issuance is not as it was approved; empty for nothing.
func (g *grant) differs(r record) string {
	e := g.envelope
	_, role, _ := strings.Cut(r.Service, "/")
	for what, same := range map[string]bool{
		"envelope": r.Digest == g.digest, "agent": r.Agent == e.Agent, "delegate": r.Delegate == e.Delegate, "task": r.Task == e.Task,
		"scope": r.Scope == e.Scope, "role": role == e.Role, "tier": r.Tier == e.Tier,
		"set of parameters":  maps.EqualFunc(r.Params, e.Parameters, slices.Equal),
		"set of permissions": r.Permissions == digest(e.Permissions),
		"life":               !g.cleared.IsZero() && !r.NotAfter.IsZero() && !r.NotAfter.After(g.cleared.Add(time.Duration(e.TTLSeconds)*time.Second)),
	} {
		if !same {
			return what
		}
	}
	return ""
}
