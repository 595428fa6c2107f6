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
	// maxInline is how many characters all inline policies of a role may have together; white
	// space is not counted (IAM User Guide, IAM and STS quotas).
	maxInline = 10240
	// slot is the step in which entries end. Each slot is a statement of about 120 characters
	// and an entry is about 54, so finer slots cost more than they give back.
	slot = 15 * time.Minute

	sidEntries = "VK"
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
	cut     roleCut
}

// entry is one session to deny.
type entry struct {
	user  string
	until time.Time // a slotEnd
}

// roleCut denies every session of the role that was issued before a time.
type roleCut struct {
	before time.Time
	until  time.Time // when all of them are dead anyway
}

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

func denyAll(sid string, until time.Time, operator, key string, value any) denyStatement {
	return denyStatement{
		Sid: sid + until.UTC().Format(sidLayout), Effect: "Deny", Action: "*", Resource: "*",
		Condition: map[string]map[string]any{operator: {key: value}},
	}
}

// text is the policy document, the same for the same content; "" for a list with nothing in it.
func (l denyList) text() (string, error) {
	doc := denyDocument{Version: iam.Version}
	if !l.cut.before.IsZero() {
		doc.Statement = append(doc.Statement,
			denyAll(sidCut, l.cut.until, "DateLessThan", "aws:TokenIssueTime", l.cut.before.UTC().Format(time.RFC3339)))
	}
	slots := map[time.Time][]string{}
	for user, until := range l.entries {
		slots[until] = append(slots[until], user)
	}
	for _, until := range slices.SortedFunc(maps.Keys(slots), time.Time.Compare) {
		users := slots[until]
		slices.Sort(users)
		doc.Statement = append(doc.Statement, denyAll(sidEntries, until, "StringEquals", "aws:userid", users))
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

// parseDenyList reads what text wrote. Anything else is ErrForeign: what cannot be written back
// as it was must not be written at all. (scopes/iam reads no policy that allows nothing.)
func parseDenyList(text string) (denyList, error) {
	if strings.TrimSpace(text) == "" {
		return denyList{}, nil
	}
	var doc denyDocument
	dec := json.NewDecoder(strings.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&doc); err != nil || dec.More() || doc.Version != iam.Version {
		return denyList{}, ErrForeign
	}
	out := denyList{entries: map[string]time.Time{}}
	for i, s := range doc.Statement {
		if !out.read(s) {
			return denyList{}, fmt.Errorf("statement %d: %w", i+1, ErrForeign)
		}
	}
	// What the fields do not show, such as a second condition, shows here.
	var compact bytes.Buffer
	again, err := out.text()
	if err != nil || json.Compact(&compact, []byte(text)) != nil || compact.Len() != len(again) {
		return denyList{}, ErrForeign
	}
	return out, nil
}

func (l *denyList) read(s denyStatement) bool {
	if s.Effect != "Deny" || s.Action != "*" || s.Resource != "*" {
		return false
	}
	if stamp, ok := strings.CutPrefix(s.Sid, sidCut); ok {
		at, _ := s.Condition["DateLessThan"]["aws:TokenIssueTime"].(string)
		before, err := time.Parse(time.RFC3339, at)
		until, err2 := time.Parse(sidLayout, stamp)
		if err != nil || err2 != nil || !l.cut.before.IsZero() {
			return false
		}
		l.cut = roleCut{before: before, until: until}
		return true
	}
	until, err := time.Parse(sidLayout, strings.TrimPrefix(s.Sid, sidEntries))
	users, _ := s.Condition["StringEquals"]["aws:userid"].([]any)
	if err != nil || len(users) == 0 {
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
	out := denyList{entries: map[string]time.Time{}}
	for user, until := range l.entries {
		if now.Before(until) {
			out.entries[user] = until
		}
	}
	if now.Before(l.cut.until) {
		out.cut = l.cut
	}
	return out
}

// union has what either has; where both name a session, the later end.
func (l denyList) union(other denyList) denyList {
	out := denyList{entries: maps.Clone(l.entries), cut: l.cut}
	if out.entries == nil {
		out.entries = map[string]time.Time{}
	}
	for user, until := range other.entries {
		if until.After(out.entries[user]) {
			out.entries[user] = until
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
	for _, until := range l.entries {
		if first.IsZero() || until.Before(first) {
			first = until
		}
	}
	if first.IsZero() || !l.cut.until.IsZero() && l.cut.until.Before(first) {
		first = l.cut.until
	}
	return first
}

// size counts as IAM does: there is no white space in the text, and it is ASCII.
func (l denyList) size() (int, error) {
	text, err := l.text()
	return len(text), err
}

// with adds as many of the entries as fit into limit characters, those with the most life left
// first. What is in the list already stays: the record says that those sessions are dead.
func (l denyList) with(more []entry, limit int) (out denyList, placed, left []entry, err error) {
	out = l.union(denyList{})
	more = slices.Clone(more)
	slices.SortStableFunc(more, func(a, b entry) int { return b.until.Compare(a.until) })
	for _, e := range more {
		next := out.union(denyList{entries: map[string]time.Time{e.user: e.until}})
		size, err := next.size()
		if err != nil {
			return denyList{}, nil, nil, err
		}
		if size > limit {
			left = append(left, e)
			continue
		}
		out, placed = next, append(placed, e)
	}
	return out, placed, left, nil
}
