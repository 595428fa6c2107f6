package awssts

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/valetkey/valetkey/broker/mint"
)

// agentShare is how many entries of one agent are never put together: a cut takes about as many
// characters.
const agentShare = 4

// agentLayout is the cut's time in a Sid.
const agentLayout = "20060102150405"

// agentOf is what the aws:userid of all sessions of user's agent begins with; "" for a session
// whose name does not tell.
func agentOf(user string) string {
	role, session, _ := strings.Cut(user, ":")
	if prefix := mint.SessionPrefix(session); prefix != "" {
		return role + ":" + prefix
	}
	return ""
}

func issuedBefore(c roleCut) map[string]any {
	return map[string]any{"aws:TokenIssueTime": c.before.UTC().Format(time.RFC3339)}
}

// beforeOf is the time of a statement's cut.
func beforeOf(s denyStatement) (time.Time, bool) {
	at, _ := s.Condition["DateLessThan"]["aws:TokenIssueTime"].(string)
	before, err := time.Parse(time.RFC3339, at)
	return before, err == nil
}

// agentStatements deny, each, the sessions of some agents that were issued before one time: both
// conditions have to hold (IAM User Guide, conditions with multiple operators). Agents with one
// cut share a statement.
func (p parser) agentStatements(agents map[string]roleCut) (out []denyStatement) {
	same := map[roleCut][]string{}
	for prefix, cut := range agents {
		c := roleCut{before: cut.before.UTC(), until: cut.until.UTC()}
		same[c] = append(same[c], prefix+"*")
	}
	order := func(a, b roleCut) int {
		if by := a.until.Compare(b.until); by != 0 {
			return by
		}
		return a.before.Compare(b.before)
	}
	for _, cut := range slices.SortedFunc(maps.Keys(same), order) {
		patterns := same[cut]
		slices.Sort(patterns)
		out = append(out, denyAll(p.sid(sidAgents, cut.until)+"T"+cut.before.Format(agentLayout), map[string]map[string]any{
			"DateLessThan": issuedBefore(cut), "StringLike": {"aws:userid": patterns},
		}))
	}
	return out
}

func (p parser) readAgents(l *denyList, s denyStatement) bool {
	sid, stamp, _ := strings.Cut(s.Sid, "T") // neither kind nor mark has one
	until, ok := p.until(sid, sidAgents)
	before, ok2 := beforeOf(s)
	patterns, _ := s.Condition["StringLike"]["aws:userid"].([]any)
	if !ok || !ok2 || stamp != before.UTC().Format(agentLayout) || len(patterns) == 0 {
		return false
	}
	for _, v := range patterns {
		pattern, _ := v.(string)
		prefix, ok := strings.CutSuffix(pattern, "*")
		if _, twice := l.agents[prefix]; twice || !ok || !isAgent(prefix) {
			return false
		}
		l.agents[prefix] = roleCut{before: before, until: until}
	}
	return true
}

// isAgent reports whether a pattern of prefix names one agent's sessions of one role, and no other.
func isAgent(prefix string) bool {
	user := prefix + strings.Repeat("A", 20)
	return userID.MatchString(user) && agentOf(user) == prefix
}

// covers reports whether a cut denies the session. One that was ordered about when the cut was
// made, by clocks that differ, is not counted on.
func (l denyList) covers(e entry) bool {
	cut, ok := l.agents[agentOf(e.user)]
	return ok && !e.issued.IsZero() && e.issued.Add(skew).Before(cut.before) && !cut.until.Before(e.until)
}

// room is how a batch is placed.
type room struct {
	parser
	limit int     // characters that there are
	cut   roleCut // what a cut of now would be; zero where the server keeps none
}

// placed is what became of a batch.
type placed struct {
	list denyList
	in   []entry
	// cuts are the agents that were cut for this batch.
	cuts map[string]bool
	left []entry
}

// place adds as many of the entries as fit: operators' first, then those with the most life left.
// What is in the list already stays denied: the record says that those sessions are dead. Where an
// entry does not fit, the agent that has the most entries over agentShare is cut; so one agent that
// ends many sessions takes nobody else's room, and loses its own sessions alone.
func (r room) place(base denyList, more []entry) (placed, error) {
	out := placed{list: base.union(denyList{}), cuts: map[string]bool{}}
	more = slices.Clone(more)
	slices.SortStableFunc(more, func(a, b entry) int {
		if a.urgent != b.urgent {
			if a.urgent {
				return -1
			}
			return 1
		}
		return b.until.Compare(a.until)
	})
	for _, e := range more {
		if out.cuts[agentOf(e.user)] || out.list.covers(e) {
			out.in = append(out.in, e)
			continue
		}
		next, cuts, ok, err := r.fit(out.list, e)
		if err != nil {
			return placed{}, err
		}
		if !ok {
			out.left = append(out.left, e)
			continue
		}
		out.list, out.in = next, append(out.in, e)
		for _, agent := range cuts {
			out.cuts[agent] = true
		}
	}
	return out, nil
}

func (r room) fit(base denyList, e entry) (next denyList, cuts []string, ok bool, err error) {
	limit := r.limit
	if !e.urgent {
		limit -= operatorRoom
	}
	next = base.union(denyList{entries: map[string]time.Time{e.user: e.until}})
	for {
		size, err := r.size(next)
		if err != nil || size <= limit || base.has(e.user, e.until) {
			return next, cuts, err == nil, err
		}
		agent := next.most()
		switch {
		case r.cut.before.IsZero():
			return next, cuts, false, nil
		case agent != "":
			next, cuts = next.cutAgent(agent, r.cut), append(cuts, agent)
		case e.urgent && len(next.agents) > 1 && !next.allCut(r.cut):
			next = next.cutAgain(r.cut)
		default:
			return next, cuts, false, nil
		}
	}
}

// most is the agent with the most entries over its share; "" for none.
func (l denyList) most() (agent string) {
	count := map[string]int{}
	for user := range l.entries {
		if a := agentOf(user); a != "" {
			count[a]++
		}
	}
	for a, n := range count {
		if n > agentShare && (agent == "" || n > count[agent] || n == count[agent] && a < agent) {
			agent = a
		}
	}
	return agent
}

func (l denyList) cutAgent(agent string, cut roleCut) denyList {
	out := l.union(denyList{agents: map[string]roleCut{agent: cut}})
	maps.DeleteFunc(out.entries, func(user string, _ time.Time) bool { return agentOf(user) == agent })
	return out
}

// cutAgain gives the agents that are cut one time, so that they share one statement.
func (l denyList) cutAgain(cut roleCut) denyList {
	out := l.union(denyList{})
	for agent := range out.agents {
		out.agents[agent] = cut
	}
	return out
}

func (l denyList) allCut(cut roleCut) bool {
	for _, c := range l.agents {
		if !c.before.Equal(cut.before) || !c.until.Equal(cut.until) {
			return false
		}
	}
	return true
}
