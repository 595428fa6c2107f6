package mcp_test

import (
	"bytes"
	"context"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/valetkey/valetkey/broker/brokertest"
	"github.com/valetkey/valetkey/broker/evidence"
	"github.com/valetkey/valetkey/broker/mint"
	"github.com/valetkey/valetkey/broker/quorum"
	"github.com/valetkey/valetkey/clients/helper/serve"
	"github.com/valetkey/valetkey/clients/mcp"
	valetkeyv1 "github.com/valetkey/valetkey/proto/valetkey/v1"
)

// peopled is a site where two people have to approve a rebuild, and can.
type peopled struct {
	*site
	m      *minter
	people []brokertest.Person
}

func newPeopled(t *testing.T) *peopled {
	t.Helper()
	p := &peopled{m: &minter{}, people: []brokertest.Person{brokertest.NewPerson(t, "robertina", "sre"), brokertest.NewPerson(t, "carolinus", "sre")}}
	p.site = &site{h: brokertest.NewRunning(t, brokertest.Config{People: p.people, Minter: func(v *mint.Verifier, _ *brokertest.Clock) mint.Minter {
		p.m.permits = v
		return p.m
	}})}
	p.serve(t, func(c *mcp.Config) {
		c.Run, c.Approvals = &mcp.Run{Programs: []string{"sh"}}, "https://approvals.example.org"
	})
	return p
}

const comment = "what-one-approver-tells-another"

// decide has one of the people decide, with a comment that is not for models.
func (p *peopled) decide(t *testing.T, who int, grant string, d evidence.Decision) {
	t.Helper()
	person := p.people[who]
	c := p.h.ApproverClient(person)
	w, err := c.GetPendingGrant(t.Context(), &valetkeyv1.GetPendingGrantRequest{GrantId: grant})
	must(t, err)
	s := person.Statement(w.GetPending(), d)
	s.Comment = comment
	_, err = c.SubmitApproval(t.Context(), person.Sign(t, s))
	must(t, err)
}

// saysNothing looks for people and secrets in all that clients have received.
func (p *peopled) saysNothing(t *testing.T) {
	t.Helper()
	all := []byte(p.wire.String())
	for _, word := range []string{"robertina", "carolinus", "/person/", comment, "SSH SIGNATURE"} {
		if bytes.Contains(bytes.ToLower(all), bytes.ToLower([]byte(word))) {
			t.Errorf("clients received %q", word)
		}
	}
	if found := leaks(all, p.m.all()); len(found) > 0 {
		t.Errorf("clients received %v", found)
	}
}

func rebuild(task string) map[string]any {
	return request(task, "s3-bucket-rebuild", map[string]any{"bucket": "prod"})
}

func of(a mcp.AccessOut) map[string]any { return map[string]any{"access": a.Access} }

// TestPeopleApprove is an agent that goes on with other work until they have.
func TestPeopleApprove(t *testing.T) {
	each(t, func(t *testing.T, connect func(*site, *testing.T) *sdk.ClientSession) {
		p := newPeopled(t)
		c := connect(p.site, t)
		task := openTask(t, c)
		got := ask[mcp.AccessOut](t, c, "request_access", rebuild(task))
		by, err := time.Parse(time.RFC3339, got.DecideBy)
		must(t, err)
		if got.State != "waiting" || !slices.Equal(got.Needs, []mcp.Need{{Group: "sre", Approvals: 2}}) || got.Where != "https://approvals.example.org" ||
			got.GrantID == "" || got.Tier != "destructive" || len(got.Environment) != 0 || got.Profile != "" || time.Until(by) > quorum.DefaultWait || time.Until(by) < time.Minute {
			t.Errorf("a rebuild: %+v", got)
		}
		run := map[string]any{"access": []string{got.Access}, "argv": []string{"sh", "-c", `curl -sS -H "Authorization: $AWS_CONTAINER_AUTHORIZATION_TOKEN" "$AWS_CONTAINER_CREDENTIALS_FULL_URI"`}}
		if r := refused(t, c, "run_command", run); r.Reason != mcp.ReasonNotReady {
			t.Errorf("a command that cannot have it yet: %+v", r)
		}
		ask[mcp.AccessOut](t, c, "request_access", request(task, "s3-prefix-read", prod))
		for tool, args := range map[string]map[string]any{"access_status": of(got), "request_access": {"again": got.Access}} {
			if look := ask[mcp.AccessOut](t, c, tool, args); look.State != "waiting" || look.GrantID != got.GrantID || look.DecideBy != got.DecideBy {
				t.Errorf("%s: %+v", tool, look)
			}
		}
		p.decide(t, 0, got.GrantID, evidence.Approve)
		if look := ask[mcp.AccessOut](t, c, "access_status", map[string]any{"access": got.Access, "wait_seconds": 1}); look.State != "waiting" {
			t.Errorf("one of two is enough: %+v", look)
		}
		looked := make(chan *sdk.CallToolResult, 1)
		go func() {
			res, err := c.CallTool(t.Context(), &sdk.CallToolParams{Name: "access_status", Arguments: map[string]any{"access": got.Access, "wait_seconds": 60}})
			if err != nil {
				t.Error(err)
			}
			looked <- res
		}()
		p.decide(t, 1, got.GrantID, evidence.Approve)
		if res := <-looked; res == nil || res.IsError || !strings.Contains(textOf(res), `"state":"ready"`) {
			t.Fatalf("who waits for it is told %s", textOf(res))
		}
		ready := ask[mcp.AccessOut](t, c, "access_status", of(got))
		if ready.State != "ready" || ready.GrantID != got.GrantID || ready.Environment["AWS_PROFILE"] == "" || ready.SecondsLeft < 200 || ready.DecideBy != "" {
			t.Errorf("approved: %+v", ready)
		}
		if out := ask[mcp.RunCommandOut](t, c, "run_command", run); out.ExitStatus != 0 || out.Redactions < 2 {
			t.Errorf("a command with what was approved: %+v", out)
		}
		if p.h.Asked() != 1 {
			t.Errorf("people were asked %d times", p.h.Asked())
		}
		p.saysNothing(t)
	})
}

// TestPeopleSayNo is an agent that is told so, and cannot ask the same people the
// same by the same handle.
func TestPeopleSayNo(t *testing.T) {
	each(t, func(t *testing.T, connect func(*site, *testing.T) *sdk.ClientSession) {
		p := newPeopled(t)
		c := connect(p.site, t)
		for bucket, seen := range map[string]bool{"one": true, "two": false} { // whether it looks before it asks again
			asks := request(openTask(t, c), "s3-bucket-rebuild", map[string]any{"bucket": bucket})
			got := ask[mcp.AccessOut](t, c, "request_access", asks)
			p.decide(t, 0, got.GrantID, evidence.Reject)
			if seen {
				look := ask[mcp.AccessOut](t, c, "access_status", of(got))
				if look.State != "ended" || look.Ended != "REJECTED" || look.GrantID != got.GrantID || len(look.Environment) != 0 || !strings.Contains(look.Next, "do not ask") {
					t.Errorf("rejected: %+v", look)
				}
			} else if look := ask[mcp.AccessOut](t, c, "request_access", map[string]any{"again": got.Access}); look.State != "ended" || look.Ended != "REJECTED" {
				t.Errorf("asked again, unseen: %+v", look)
			}
			if r := refused(t, c, "request_access", map[string]any{"again": got.Access}); r.Reason != "REJECTED" {
				t.Errorf("asked again: %+v", r)
			}
			if r := refused(t, c, "request_access", asks); r.Reason != "REJECTED" {
				t.Errorf("asked anew: %+v", r)
			}
			ask[mcp.ReleaseOut](t, c, "release", of(got))
		}
		if p.h.Asked() != 2 {
			t.Errorf("people were asked %d times", p.h.Asked())
		}
		p.saysNothing(t)
	})
}

// TestNobodyDecides is an agent that asks again when somebody is there.
func TestNobodyDecides(t *testing.T) {
	for name, seen := range map[string]bool{"seen": true, "unseen": false} {
		t.Run(name, func(t *testing.T) {
			p := newPeopled(t)
			c := p.stdio(t)
			got := ask[mcp.AccessOut](t, c, "request_access", rebuild(openTask(t, c)))
			p.h.Clock.Add(quorum.DefaultWait + time.Second)
			brokertest.Eventually(t, "it has lapsed", func() bool { return p.h.State(got.GrantID) == valetkeyv1.GrantState_GRANT_STATE_LAPSED })
			if seen {
				look := ask[mcp.AccessOut](t, c, "access_status", map[string]any{"access": got.Access, "wait_seconds": 60})
				if look.State != "ended" || look.Ended != "LAPSED" || !strings.Contains(look.Next, "again") {
					t.Errorf("lapsed: %+v", look)
				}
			}
			next := ask[mcp.AccessOut](t, c, "request_access", map[string]any{"again": got.Access})
			if next.State != "waiting" || next.GrantID == got.GrantID || next.Access != got.Access || next.Ended != "" || p.h.Asked() != 2 {
				t.Fatalf("asked again: %+v", next)
			}
			p.decide(t, 0, next.GrantID, evidence.Approve)
			p.decide(t, 1, next.GrantID, evidence.Approve)
			if ready := ask[mcp.AccessOut](t, c, "access_status", of(got)); ready.State != "ready" || ready.GrantID != next.GrantID {
				t.Errorf("approved: %+v", ready)
			}
			p.saysNothing(t)
		})
	}
}

// TestNothingIsLeftToDecide ends what waits, in every way there is.
func TestNothingIsLeftToDecide(t *testing.T) {
	for name, end := range map[string]func(c *sdk.ClientSession, task string, a mcp.AccessOut){
		"release": func(c *sdk.ClientSession, _ string, a mcp.AccessOut) { ask[mcp.ReleaseOut](t, c, "release", of(a)) },
		"close_task": func(c *sdk.ClientSession, task string, _ mcp.AccessOut) {
			ask[mcp.CloseTaskOut](t, c, "close_task", map[string]any{"task": task})
		},
		"session end": func(c *sdk.ClientSession, _ string, _ mcp.AccessOut) { must(t, c.Close()) },
	} {
		t.Run(name, func(t *testing.T) {
			p := newPeopled(t)
			c := p.http(t)
			task := openTask(t, c)
			got := ask[mcp.AccessOut](t, c, "request_access", rebuild(task))
			if p.h.State(got.GrantID) != valetkeyv1.GrantState_GRANT_STATE_PENDING {
				t.Fatal(p.h.State(got.GrantID))
			}
			end(c, task, got)
			brokertest.Eventually(t, "it is given back", func() bool { return p.h.State(got.GrantID) == valetkeyv1.GrantState_GRANT_STATE_RELEASED })
		})
	}
}

// TestTheNextIsApprovedToo is access whose credential ends: a tool's fetch asks
// people for the next, once, and their no ends the access.
func TestTheNextIsApprovedToo(t *testing.T) {
	p := newPeopled(t)
	c := p.stdio(t)
	args := rebuild(openTask(t, c))
	args["ttl_seconds"] = 2
	got := ask[mcp.AccessOut](t, c, "request_access", args)
	p.decide(t, 0, got.GrantID, evidence.Approve)
	p.decide(t, 1, got.GrantID, evidence.Approve)
	ready := ask[mcp.AccessOut](t, c, "access_status", of(got))
	if ready.State != "ready" {
		t.Fatalf("approved: %+v", ready)
	}
	config, err := os.ReadFile(ready.ConfigFile)
	must(t, err)
	_, process, _ := strings.Cut(string(config), "--socket ")
	fetch := func() error {
		_, err := serve.Ask(context.WithoutCancel(t.Context()), strings.Fields(process)[0], "/")
		return err
	}
	brokertest.Eventually(t, "tools are told that people have to approve", func() bool {
		err := fetch()
		return err != nil && strings.Contains(err.Error(), "NEEDS_APPROVAL")
	})
	next := ask[mcp.AccessOut](t, c, "access_status", of(got))
	if next.State != "waiting" || next.GrantID == got.GrantID || next.DecideBy == "" || p.h.Asked() != 2 {
		t.Fatalf("the next: %+v, asked %d times", next, p.h.Asked())
	}
	p.decide(t, 0, next.GrantID, evidence.Reject)
	ended := ask[mcp.AccessOut](t, c, "access_status", of(got))
	if ended.State != "ended" || ended.Ended != "REJECTED" || len(ended.Environment) != 0 || p.h.Asked() != 2 {
		t.Errorf("rejected: %+v, asked %d times", ended, p.h.Asked())
	}
	if config, err := os.ReadFile(ready.ConfigFile); err != nil || len(config) != 0 {
		t.Errorf("the profile is left: %q (%v)", config, err)
	}
	p.saysNothing(t)
}
