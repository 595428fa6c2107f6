package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
)

const (
	scratch      = "scratch"
	exitRejected = 3 // of valetkey: denied
)

var grantID = regexp.MustCompile(`grant_[a-z0-9]{26}`)

// as runs the command line as one of the people of the dev broker does: with an
// identity and an SSH key of their own.
func (p *player) as(ctx context.Context, person string, args ...string) (answer, error) {
	return p.broker.with([]string{
		"SPIFFE_ENDPOINT_SOCKET=unix://" + filepath.Join(p.broker.dir, person+".sock"),
		"VALETKEY_APPROVER_KEY=" + filepath.Join(p.broker.dir, person+".key"),
	}).valetkey(ctx, args...)
}

// rejected has somebody read the request for production, and say no.
func (p *player) rejected(ctx context.Context) error {
	a, err := p.as(ctx, "bob", "approvals", p.rebuildID)
	if err != nil {
		return err
	}
	p.say("$ valetkey approvals %s   # as bob, of group sre", p.rebuildID)
	for line := range strings.Lines(a.stdout) {
		if strings.HasPrefix(line, "agent ") || strings.HasPrefix(line, "tier ") && !strings.HasPrefix(line, "tier b") ||
			strings.HasPrefix(line, "parameter ") || strings.HasPrefix(line, "the agent says") || strings.HasPrefix(line, "lacks ") {
			p.show(line)
		}
	}
	if a.code != 0 || !strings.Contains(a.stdout, "bucket="+production) {
		return fmt.Errorf("looking at the request: exit code %d: %s", a.code, a.stderr)
	}
	why := "no: one report is to be fixed"
	p.say("$ valetkey reject %s --comment %q", p.rebuildID, why)
	if a, err = p.as(ctx, "bob", "reject", p.rebuildID, "--yes", "--comment", why); err != nil {
		return err
	}
	p.show(a.stdout)
	if a.code != 0 || !strings.Contains(a.stdout, "rejected") {
		return fmt.Errorf("rejecting the request: exit code %d: %s", a.code, a.stderr)
	}
	if a, err = p.broker.valetkey(ctx, "mint", p.rebuildID); err != nil {
		return err
	}
	if a.code != exitRejected || a.stdout != "" || !strings.Contains(a.stderr, "REJECTED") {
		return fmt.Errorf("minting from it: exit code %d, want %d: %s", a.code, exitRejected, a.stderr)
	}
	p.ok("the agent gets REJECTED (exit code %d), and no credential", exitRejected)
	return p.intact(ctx)
}

// approved has two people let the agent rebuild another bucket.
func (p *player) approved(ctx context.Context) error {
	operator := p.operator
	operator.name = scratch
	if err := errors.Join(operator.create(ctx), operator.put(ctx, "old", "stale")); err != nil {
		return fmt.Errorf("making the bucket %q: %w", scratch, err)
	}
	p.say("$ valetkey request s3-bucket-rebuild bucket=%s --task $TASK", scratch)
	a, err := p.broker.valetkey(ctx, "request", "s3-bucket-rebuild", "bucket="+scratch, "--task", p.task)
	if err != nil {
		return err
	}
	id := grantID.FindString(a.stdout)
	if a.code != exitNeeds || id == "" {
		return fmt.Errorf("the request was answered with exit code %d, want %d: %s", a.code, exitNeeds, a.stderr)
	}
	for _, person := range []string{"bob", "carol"} {
		p.say("$ valetkey approve %s   # as %s, with an SSH key", id, person)
		if a, err = p.as(ctx, person, "approve", id, "--yes"); err != nil {
			return err
		}
		if a.code != 0 {
			return fmt.Errorf("approving as %s: exit code %d: %s", person, a.code, a.stderr)
		}
		p.show(a.stdout)
		if person != "bob" {
			continue
		}
		if a, err = p.broker.valetkey(ctx, "mint", id); err != nil {
			return err
		}
		if a.code != exitNeeds || a.stdout != "" {
			return fmt.Errorf("minting with one approval: exit code %d, want %d", a.code, exitNeeds)
		}
		p.ok("one of two is not enough: NEEDS_APPROVAL (exit code %d)", exitNeeds)
	}
	p.say("$ valetkey mint %s", id)
	if a, err = p.broker.valetkey(ctx, "mint", id, "--format", "credential-process"); err != nil {
		return err
	}
	if a.code != 0 {
		return fmt.Errorf("minting what was approved: exit code %d: %s", a.code, a.stderr)
	}
	cred, err := p.take(a)
	if err != nil {
		return err
	}
	if err := recreate(ctx, openBucket(p.by.endpoint, scratch, cred)); err != nil {
		return fmt.Errorf("what was approved: %w", err)
	}
	left, err := operator.list(ctx, "")
	if err != nil || len(left) != 0 {
		return errors.Join(fmt.Errorf("%d objects are left in %q", len(left), scratch), err)
	}
	p.ok("the agent empties, deletes and recreates %q", scratch)
	if err := p.by.refused("the same in production", recreate(ctx, openBucket(p.by.endpoint, production, cred)), "AccessDenied"); err != nil {
		return err
	}
	p.ok("refused by %s itself (403 AccessDenied): the same in %q", p.by.name, production)
	return p.intact(ctx)
}
