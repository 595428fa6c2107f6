package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
)

const (
	production = "production"
	perFolder  = 30
	report     = "reports/2026-11.csv"
	ownPrefix  = "reports/"
	shortTTL   = 5 * time.Second
	exitNeeds  = 4 // of valetkey: people have to approve first
	exitLedger = 5 // of valetkey: the ledger does not verify
)

// player carries what one act leaves to the next.
type player struct {
	*stage
	full     bool // on MinIO and Vault
	by       enforcer
	vault    *vault // nil but in full
	operator bucket
	objects  map[string]string // key -> content, to restore from
	state    map[string]string // key -> ETag, as the bucket has to be
	broker   *daemon
	task     string
	// rebuildID is the request for production that people decide.
	rebuildID string
	secrets   []string // that must be nowhere in files
}

// production fills the bucket, and Vault where there is one.
func (p *player) production(ctx context.Context) (err error) {
	open := p.openDev
	if p.full {
		open = p.openFull
	}
	if err := open(ctx); err != nil {
		return err
	}
	p.operator = openBucket(p.by.endpoint, production, p.by.operator)
	p.objects = map[string]string{report: "region,sum\nnorth,1200\nsouth,NaN\n"}
	for _, folder := range []string{"customers", "invoices", "orders", "reports"} {
		for i := range perFolder {
			p.objects[fmt.Sprintf("%s/%04d.json", folder, i)] = fmt.Sprintf(`{"of":%q,"n":%d}`, folder, i)
		}
	}
	if err := p.operator.create(ctx); err != nil {
		return fmt.Errorf("making the bucket: %w", err)
	}
	if err := p.restore(ctx); err != nil {
		return err
	}
	p.ok("%d objects at %s: %s", len(p.state), p.by.endpoint, summary(p.state))
	if p.full {
		p.ok("2 teams' secrets at %s: %s, %s", p.vault.addr, ownSecret, othersSecret)
	}
	return nil
}

func (p *player) restore(ctx context.Context) (err error) {
	for key, body := range p.objects {
		if err := p.operator.put(ctx, key, body); err != nil {
			return fmt.Errorf("writing %s: %w", key, err)
		}
	}
	if p.state, err = p.operator.list(ctx, ""); err != nil {
		return fmt.Errorf("listing the bucket: %w", err)
	}
	if len(p.state) != len(p.objects) {
		return fmt.Errorf("the bucket holds %d objects, want %d", len(p.state), len(p.objects))
	}
	return nil
}

// incident lets the agent have what the operator has.
func (p *player) incident(ctx context.Context) error {
	p.say("Task: one report, %s, shows NaN. Fix it.", report)
	p.say("The agent decides that it is cleanest to delete and recreate the environment.")
	before := len(p.state)
	if err := recreate(ctx, p.operator); err != nil {
		return fmt.Errorf("the agent's fix: %w", err)
	}
	after, err := p.operator.list(ctx, "")
	if err != nil {
		return fmt.Errorf("listing the bucket: %w", err)
	}
	if before == 0 || len(after) != 0 {
		return fmt.Errorf("objects before %d and after %d, want the bucket emptied", before, len(after))
	}
	p.ok("objects before: %d, after: %d. Nothing asked, nothing refused, production is gone", before, len(after))
	if err := p.restore(ctx); err != nil {
		return err
	}
	p.ok("restored from the demo's backup: %d objects (the real one took 13 hours)", len(p.state))
	return nil
}

// prefix gives the same agent what its task needs.
func (p *player) prefix(ctx context.Context) (err error) {
	if p.full {
		if p.broker, err = startBroker(ctx, p.stage, p.by, p.vault); err != nil {
			return err
		}
		p.say("valetkeyd dev is up. It alone holds MinIO's key and a Vault token; the agent holds a")
		p.say("SPIFFE identity, spiffe://example.org/agent/alice/dev.")
	} else {
		p.say("valetkeyd dev holds no key either: it comes to STS by its own SPIFFE identity. The agent holds")
		p.say("one too, spiffe://example.org/agent/alice/dev, and nothing else.")
	}
	why := "fix the NaN in " + report
	p.say("$ valetkey task open -e production %q", why)
	a, err := p.broker.valetkey(ctx, "task", "open", "-e", "production", why)
	if err != nil {
		return err
	}
	if p.task = strings.TrimSpace(a.stdout); a.code != 0 || p.task == "" {
		return fmt.Errorf("opening the task: exit code %d: %s", a.code, a.stderr)
	}
	p.show(p.task)
	if err := p.explain(ctx); err != nil {
		return err
	}
	cred, err := p.request(ctx)
	if err != nil {
		return err
	}
	agent := openBucket(p.by.endpoint, production, cred)
	if err := p.fix(ctx, agent); err != nil {
		return err
	}
	return p.refusals(ctx, agent)
}

// fix is the work that was asked for.
func (p *player) fix(ctx context.Context, agent bucket) error {
	text, err := agent.get(ctx, report)
	if err != nil {
		return fmt.Errorf("reading %s: %w", report, err)
	}
	fixed := strings.Replace(text, "NaN", "980", 1)
	if fixed == text {
		return fmt.Errorf("%s holds nothing to fix", report)
	}
	if err := agent.put(ctx, report, fixed); err != nil {
		return fmt.Errorf("writing %s: %w", report, err)
	}
	now, err := p.operator.get(ctx, report)
	if err != nil || now != fixed {
		return errors.Join(fmt.Errorf("%s is not as the agent wrote it", report), err)
	}
	p.ok("the agent reads %s, mends it and writes it back: the task is done", report)
	if p.state, err = p.operator.list(ctx, ""); err != nil {
		return fmt.Errorf("listing the bucket: %w", err)
	}
	return nil
}

// refusals tries all that the task does not need.
func (p *player) refusals(ctx context.Context, agent bucket) error {
	_, reading := agent.get(ctx, "invoices/0001.json")
	for _, try := range []struct {
		what string
		err  error
	}{
		{"the same fix as before (delete and recreate)", recreate(ctx, agent)},
		{"deleting " + report + ", in its own prefix", agent.remove(ctx, report)},
		{"deleting the bucket", agent.drop(ctx)},
		{"reading invoices/0001.json", reading},
		{"writing invoices/0001.json", agent.put(ctx, "invoices/0001.json", "{}")},
	} {
		if err := p.by.refused(try.what, try.err, "AccessDenied"); err != nil {
			return err
		}
		p.ok("refused by %s itself (403 AccessDenied): %s", p.by.name, try.what)
	}
	return p.intact(ctx)
}

func (p *player) intact(ctx context.Context) error {
	now, err := p.operator.list(ctx, "")
	if err != nil {
		return fmt.Errorf("listing the bucket: %w", err)
	}
	if !maps.Equal(now, p.state) {
		return fmt.Errorf("the bucket has changed: %d objects, want %d", len(now), len(p.state))
	}
	p.ok("production is intact: %d objects, none changed but the report", len(now))
	return nil
}

// request asks for the one prefix and takes the credential off the command line.
func (p *player) request(ctx context.Context, flags ...string) (aws.Credentials, error) {
	args := append([]string{"request", "s3-prefix-write", "bucket=" + production, "prefix=" + ownPrefix, "--task", p.task}, flags...)
	p.say("$ valetkey %s --mint", strings.Replace(strings.Join(args, " "), p.task, "$TASK", 1))
	a, err := p.broker.valetkey(ctx, append(args, "--mint", "--format", "credential-process")...)
	if err != nil {
		return aws.Credentials{}, err
	}
	if a.code != 0 {
		return aws.Credentials{}, fmt.Errorf("requesting s3-prefix-write: exit code %d: %s", a.code, a.stderr)
	}
	p.show(a.stderr)
	return p.take(a)
}

// take reads a credential off the command line, which shows what is no secret.
func (p *player) take(a answer) (aws.Credentials, error) {
	var c struct {
		AccessKeyID                   string `json:"AccessKeyId"`
		SecretAccessKey, SessionToken string
		Expiration                    time.Time
	}
	if err := json.Unmarshal([]byte(a.stdout), &c); err != nil {
		return aws.Credentials{}, fmt.Errorf("reading the credential: %w", err)
	}
	if c.AccessKeyID == "" || c.SecretAccessKey == "" || c.SessionToken == "" || c.Expiration.IsZero() {
		return aws.Credentials{}, errors.New("reading the credential: something is missing from it")
	}
	p.show("AWS_ACCESS_KEY_ID=" + c.AccessKeyID + ", and its secret and session token (not shown)")
	p.secrets = append(p.secrets, c.SecretAccessKey, c.SessionToken)
	return aws.Credentials{
		AccessKeyID: c.AccessKeyID, SecretAccessKey: c.SecretAccessKey, SessionToken: c.SessionToken,
		CanExpire: true, Expires: c.Expiration,
	}, nil
}

// rebuild asks for the destructive scope.
func (p *player) rebuild(ctx context.Context) error {
	p.say("$ valetkey request s3-bucket-rebuild bucket=production --task $TASK --mint")
	a, err := p.broker.valetkey(ctx, "request", "s3-bucket-rebuild", "bucket="+production, "--task", p.task, "--mint")
	if err != nil {
		return err
	}
	p.show(a.stdout)
	p.show(a.stderr)
	all := a.stdout + a.stderr
	if a.code != exitNeeds || !strings.Contains(all, "2 of group sre") {
		return fmt.Errorf("the request was answered with exit code %d, want %d and that 2 of group sre are needed", a.code, exitNeeds)
	}
	if strings.Contains(all, "AWS_") {
		return errors.New("a credential came with the answer")
	}
	if p.rebuildID = grantID.FindString(all); p.rebuildID == "" {
		return errors.New("the answer names no request")
	}
	p.ok("NEEDS_APPROVAL (exit code %d): 2 of group sre; no credential exists", exitNeeds)
	return p.intact(ctx)
}

// stolen copies a credential and uses the copy past its deadline: as it is, and with a header
// that lies about the time, which MinIO believes. Against that there is the lease's end.
func (p *player) stolen(ctx context.Context) error {
	cred, err := p.request(ctx, "--ttl", shortTTL.String())
	if err != nil {
		return err
	}
	thief := openBucket(p.by.endpoint, production, cred)
	if _, err := thief.get(ctx, report); err != nil {
		return fmt.Errorf("the copy before its deadline: %w", err)
	}
	p.ok("before the deadline the copy works: that is why lives are short")
	why := "no caller is believed"
	if p.full {
		why = "the broker has revoked its lease"
	}
	for _, try := range []struct {
		copy bucket
		says string
	}{
		{thief, "%.1f s after the deadline " + p.by.name + " refuses it (403)"},
		{thief.lying("CurrentTime", "2019-01-01T00:00:00Z"), "%.1f s after it also where a header lies to " + p.by.name + " about the time: " + why},
	} {
		after, err := p.refusedAfter(ctx, try.copy, cred.Expires)
		if err != nil {
			return err
		}
		p.ok(try.says, after.Seconds())
	}
	return nil
}

// refusedAfter waits until a copy is refused, and says how long after its deadline that was.
func (p *player) refusedAfter(ctx context.Context, thief bucket, deadline time.Time) (time.Duration, error) {
	var refused error
	err := eventually(ctx, shortTTL+10*time.Second, "the copy is refused", func() (bool, error) {
		_, refused = thief.get(ctx, report)
		return refused != nil, nil
	})
	if err != nil {
		return 0, err
	}
	// By the deadline in its policy, or since the broker has revoked it.
	if err := p.by.refused("the copy", refused, "AccessDenied", "InvalidAccessKeyId"); err != nil {
		return 0, err
	}
	after := time.Since(deadline)
	if after < 0 {
		return 0, fmt.Errorf("the copy was refused %s before its deadline", -after)
	}
	return after, nil
}
