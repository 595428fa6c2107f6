package awssts

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/valetkey/valetkey/broker/mint"
	"github.com/valetkey/valetkey/scopes/iam"
)

const (
	// operatorRoom is how much of it agents' releases never take: it is for operators' revocations,
	// about 33 entries.
	operatorRoom = 2048
	// maxInline is how many characters all inline policies of a role may have together; white
	// space is not counted (IAM User Guide, IAM and STS quotas).
	maxInline = 10240
	// slot is the step in which entries end. Each slot is a statement of about 120 characters
	// and an entry is about 61, so finer slots cost more than they give back.
	slot = 15 * time.Minute

	sidEntries = "VK"
	sidAgents  = "VKA"
	sidCut     = "VKCUT"
	sidLayout  = "200601021504" // a Sid takes letters and digits alone
)

// ErrForeign says that the revocation policy has content that the broker did not write. It is
// never changed; give the broker a policy name of its own.
var ErrForeign = fmt.Errorf("awssts: revocation policy has content that the broker did not write: %w", mint.ErrRefused)

// userID is aws:userid of a role session: the role's unique id and the session's name.
var userID = regexp.MustCompile(`^[A-Za-z0-9-]{1,128}:[\w+=,.@-]{2,64}$`)

// denyList is the whole content of the broker's inline policy. It needs no other state: when an
// entry may go is in the Sid of its statement. The zero value is the policy that is not there.
type denyList struct {
	entries map[string]time.Time // aws:userid -> when its session is dead anyway
	agents  map[string]roleCut   // aws:userid up to where an agent's sessions differ -> its cut
	cut     roleCut
}

// entry is one session to deny.
type entry struct {
	user   string
	until  time.Time // a slotEnd
	issued time.Time // when it was ordered; zero where that is not known
	// urgent is an operator's: it goes first, and into room that others do not get.
	urgent bool
}

// roleCut denies every session of the role, or of one agent, that was issued before a time.
type roleCut struct {
	before time.Time
	until  time.Time // when all of them are dead anyway
}

// parser reads and writes lists. Its mark is in each Sid, so that no broker takes another's
// entries for its own: it is letters and digits, or empty.
type parser struct{ mark string }

// slotEnd is when an entry for something that ends at t may go.
func slotEnd(t time.Time) time.Time {
	return t.UTC().Add(skew + slot - time.Nanosecond).Truncate(slot)
}

type denyDocument struct {
	Version   string
	Statement []denyStatement
}

type denyStatement struct {
	Sid       string
	Effect    string
	Action    string
	Resource  string
	Condition map[string]map[string]any
}

func denyAll(sid string, when map[string]map[string]any) denyStatement {
	return denyStatement{Sid: sid, Effect: "Deny", Action: "*", Resource: "*", Condition: when}
}

// text is the policy document, the same for the same content; "" for a list with nothing in it.
func (p parser) text(l denyList) (string, error) {
	doc := denyDocument{Version: iam.Version}
	if !l.cut.before.IsZero() {
		doc.Statement = append(doc.Statement, denyAll(p.sid(sidCut, l.cut.until), map[string]map[string]any{"DateLessThan": issuedBefore(l.cut)}))
	}
	doc.Statement = append(doc.Statement, p.agentStatements(l.agents)...)
	slots := map[time.Time][]string{}
	for user, until := range l.entries {
		slots[until] = append(slots[until], user)
	}
	for _, until := range slices.SortedFunc(maps.Keys(slots), time.Time.Compare) {
		users := slots[until]
		slices.Sort(users)
		doc.Statement = append(doc.Statement, denyAll(p.sid(sidEntries, until), map[string]map[string]any{"StringEquals": {"aws:userid": users}}))
	}
	if len(doc.Statement) == 0 {
		return "", nil
	}
	raw, err := json.Marshal(doc)
	if err != nil {
		return "", fmt.Errorf("marshalling revocation policy: %w", err)
	}
	return string(raw), nil
}

func (p parser) sid(kind string, until time.Time) string {
	return kind + p.mark + until.UTC().Format(sidLayout)
}

// until is the end in a Sid of that kind; not ok for any other, another broker's too.
func (p parser) until(sid, kind string) (until time.Time, ok bool) {
	stamp, ok := strings.CutPrefix(sid, kind+p.mark)
	until, err := time.Parse(sidLayout, stamp)
	return until, ok && err == nil
}

// parse reads what text wrote. Anything else is ErrForeign: what cannot be written back as it
// was must not be written at all. (scopes/iam reads no policy that allows nothing.)
func (p parser) parse(text string) (denyList, error) {
	if strings.TrimSpace(text) == "" {
		return denyList{}, nil
	}
	var doc denyDocument
	dec := json.NewDecoder(strings.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&doc); err != nil || dec.More() || doc.Version != iam.Version {
		return denyList{}, ErrForeign
	}
	out := denyList{entries: map[string]time.Time{}, agents: map[string]roleCut{}}
	for i, s := range doc.Statement {
		if !p.read(&out, s) {
			return denyList{}, fmt.Errorf("statement %d: %w", i+1, ErrForeign)
		}
	}
	// What the fields do not show, such as a second condition, shows here.
	var compact bytes.Buffer
	again, err := p.text(out)
	if err != nil || json.Compact(&compact, []byte(text)) != nil || compact.Len() != len(again) {
		return denyList{}, ErrForeign
	}
	return out, nil
}

func (p parser) read(l *denyList, s denyStatement) bool {
	if s.Effect != "Deny" || s.Action != "*" || s.Resource != "*" {
		return false
	}
	if until, ok := p.until(s.Sid, sidCut); ok {
		before, ok := beforeOf(s)
		if !ok || !l.cut.before.IsZero() {
			return false
		}
		l.cut = roleCut{before: before, until: until}
		return true
	}
	if strings.HasPrefix(s.Sid, sidAgents+p.mark) {
		return p.readAgents(l, s)
	}
	until, ok := p.until(s.Sid, sidEntries)
	users, _ := s.Condition["StringEquals"]["aws:userid"].([]any)
	if !ok || len(users) == 0 {
		return false
	}
	for _, u := range users {
		user, _ := u.(string)
		if _, twice := l.entries[user]; twice || !userID.MatchString(user) {
			return false
		}
		l.entries[user] = until
	}
	return true
}

// live is the list without what is over.
func (l denyList) live(now time.Time) denyList {
	out := denyList{entries: map[string]time.Time{}, agents: map[string]roleCut{}}
	for user, until := range l.entries {
		if now.Before(until) {
			out.entries[user] = until
		}
	}
	for prefix, cut := range l.agents {
		if now.Before(cut.until) {
			out.agents[prefix] = cut
		}
	}
	if now.Before(l.cut.until) {
		out.cut = l.cut
	}
	return out
}

// union has what either has; where both name a session, the later end.
func (l denyList) union(other denyList) denyList {
	out := denyList{entries: map[string]time.Time{}, agents: map[string]roleCut{}, cut: l.cut}
	maps.Copy(out.entries, l.entries)
	maps.Copy(out.agents, l.agents)
	for user, until := range other.entries {
		if until.After(out.entries[user]) {
			out.entries[user] = until
		}
	}
	for prefix, cut := range other.agents {
		if cut.before.After(out.agents[prefix].before) {
			out.agents[prefix] = cut
		}
	}
	if other.cut.before.After(out.cut.before) {
		out.cut = other.cut
	}
	return out
}

// has reports whether the session is denied for as long as it needs to be.
func (l denyList) has(user string, until time.Time) bool {
	return !l.entries[user].Before(until)
}

// ends is when the first of the list is over; zero for an empty list.
func (l denyList) ends() (first time.Time) {
	earlier := func(until time.Time) {
		if !until.IsZero() && (first.IsZero() || until.Before(first)) {
			first = until
		}
	}
	for _, until := range l.entries {
		earlier(until)
	}
	for _, cut := range l.agents {
		earlier(cut.until)
	}
	earlier(l.cut.until)
	return first
}

// size counts as IAM does: there is no white space in the text, and it is ASCII.
func (p parser) size(l denyList) (int, error) {
	text, err := p.text(l)
	return len(text), err
}
