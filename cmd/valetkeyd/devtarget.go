package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/valetkey/valetkey/broker/identity/devauthority"
	"github.com/valetkey/valetkey/broker/mint"
	"github.com/valetkey/valetkey/scopes/iam"
)

const (
	// targetName is the program that brings S3, IAM and STS: a module of its own, cmd/valetkey-target.
	targetName = "valetkey-target"
	// devIssuer is the iss of dev mode's JWT-SVIDs. Nobody can serve keys for it: RFC 6761 keeps .invalid from resolving.
	devIssuer = "https://valetkeyd-dev.invalid"
	// devAudience is AWS's own for web identities.
	devAudience = "sts.amazonaws.com"

	targetStart = 60 * time.Second // a cold binary on a busy machine
	targetStop  = 10 * time.Second

	roleAgents, roleRevoker, roleOperator = "agents", "valetkeyd-revoker", "operator"
	exampleBucket, examplePrefix          = "example", "reports/"
)

func devARN(role string) string { return "arn:aws:iam::000000000000:role/" + role }

// errNoTarget: S3 is neither there nor named.
var errNoTarget = errors.New("dev mode brings its own S3, IAM and STS by " + targetName + ", which is neither beside valetkeyd nor in PATH: " +
	"build both with \"make build\", or name a server with --s3-endpoint")

// devTarget is the running valetkey-target.
type devTarget struct {
	// S3, STS and IAM are URLs; Gateway is whose they are. The same is in target.json of the dev folder.
	S3, STS, IAM, Gateway string

	lifeline io.Closer // the target ends when this does, so also when we are killed
	cmd      *exec.Cmd
	gone     chan struct{} // closed once it is reaped
	err      error         // of Wait; read it after gone
}

// targetConfig is what valetkey-target reads: see its own config.go.
type targetConfig struct {
	Dir, S3, STS, IAM, TrustDomain string
	Bundle                         json.RawMessage
	Issuer, Audience               string
	Roles                          []targetRole
	Buckets                        map[string]map[string]string
}

type targetRole struct {
	Name     string
	Subjects []string
	Policies map[string]json.RawMessage
}

// startTarget starts it with the dev authority's keys and three roles: the agents' has what its ceiling says, and the
// broker's other one may change that role's inline policies and nothing else; the broker writes Denies alone. Both are taken on by the broker's JWT-SVID alone.
func (d *devCmd) startTarget(ctx context.Context, auth *devauthority.Authority, self, operator spiffeid.ID) (*devTarget, error) {
	binary, err := targetBinary()
	if err != nil {
		return nil, err
	}
	c := targetConfig{
		Dir: filepath.Join(d.Dir, "target"), S3: d.S3Listen, STS: "127.0.0.1:0", IAM: "127.0.0.1:0",
		TrustDomain: devDomain, Issuer: devIssuer, Audience: devAudience,
		Buckets: map[string]map[string]string{exampleBucket: {
			examplePrefix + "2026-10.csv": "region,sum\nnorth,1150\n", examplePrefix + "2026-11.csv": "region,sum\nnorth,1200\n", "invoices/0001.json": "{}\n",
		}},
	}
	if c.Bundle, err = auth.JWTBundle().Marshal(); err != nil {
		return nil, err
	}
	if c.Roles, err = d.targetRoles(self.String(), operator.String()); err != nil {
		return nil, err
	}
	line, err := json.Marshal(c)
	if err != nil {
		return nil, err
	}
	t, err := launchTarget(ctx, binary, filepath.Join(d.Dir, "target.log"), append(line, '\n'))
	if err != nil {
		return nil, fmt.Errorf("starting %s: %w", binary, err)
	}
	where, err := json.Marshal(t)
	if err == nil {
		err = os.WriteFile(filepath.Join(d.Dir, "target.json"), where, 0o600)
	}
	if err != nil {
		return nil, errors.Join(err, t.stop())
	}
	return t, nil
}

func (d *devCmd) targetRoles(self, operator string) ([]targetRole, error) {
	ceiling := json.RawMessage(`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"s3:*","Resource":"*"}}`)
	all := ceiling
	if c := d.ceiling("s3-role.json"); !c.unproven() {
		raw, err := os.ReadFile(c[0])
		if err != nil {
			return nil, err
		}
		if !json.Valid(raw) {
			return nil, fmt.Errorf("%s is not JSON", c[0])
		}
		ceiling = raw
	}
	revoke, err := json.Marshal(map[string]any{"Version": "2012-10-17", "Statement": map[string]any{
		"Effect":   "Allow",
		"Action":   []string{"iam:GetRole", "iam:GetRolePolicy", "iam:PutRolePolicy", "iam:DeleteRolePolicy", "iam:ListRolePolicies"},
		"Resource": devARN(roleAgents),
	}})
	if err != nil {
		return nil, err
	}
	return []targetRole{
		{roleAgents, []string{self}, map[string]json.RawMessage{"ceiling": ceiling}},
		{roleRevoker, []string{self}, map[string]json.RawMessage{"revoke": revoke}},
		{roleOperator, []string{operator}, map[string]json.RawMessage{"all": all}},
	}, nil
}

// targetBinary is the one beside this program, or else in PATH.
func targetBinary() (string, error) {
	if self, err := os.Executable(); err == nil {
		if found, err := exec.LookPath(filepath.Join(filepath.Dir(self), targetName)); err == nil {
			return found, nil
		}
	}
	found, err := exec.LookPath(targetName)
	if err != nil {
		return "", errNoTarget
	}
	return found, nil
}

// launchTarget starts it and waits for its word. It gets nothing of our environment: no key of the user's is of use to it.
func launchTarget(ctx context.Context, binary, logFile string, config []byte) (t *devTarget, err error) {
	log, err := os.OpenFile(logFile, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	t = &devTarget{cmd: exec.Command(binary), gone: make(chan struct{})} // no context: stop ends it, after what needs it
	t.cmd.Env, t.cmd.Dir, t.cmd.Stderr = []string{}, filepath.Dir(logFile), log
	in, err := t.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := t.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := t.cmd.Start(); err != nil {
		return nil, err
	}
	t.lifeline = in
	word := make(chan []byte, 1)
	go func() {
		line, _ := bufio.NewReader(out).ReadBytes('\n')
		word <- line
		t.err = t.cmd.Wait()
		close(t.gone)
	}()
	_, err = in.Write(config)
	if err == nil {
		select {
		case line := <-word:
			err = json.Unmarshal(line, t)
		case <-time.After(targetStart):
			err = fmt.Errorf("it did not say where it is within %v", targetStart)
		case <-ctx.Done():
			err = ctx.Err()
		}
	}
	if err != nil {
		_ = t.stop()
		said, _ := os.ReadFile(logFile)
		return nil, fmt.Errorf("%w\n%s", err, strings.TrimSpace(string(said)))
	}
	return t, nil
}

// stop lets go of it, waits, then kills. It is safe to repeat.
func (t *devTarget) stop() error {
	_ = t.lifeline.Close()
	select {
	case <-t.gone:
		return t.err
	case <-time.After(targetStop):
	}
	err := t.cmd.Process.Kill()
	<-t.gone
	return errors.Join(errors.New(targetName+" had to be killed"), err)
}

// role is the S3 role of dev mode: at its own target, where the broker comes by its JWT-SVID and has no AWS key at all, or
// at a MinIO that the user named.
func (d *devCmd) role() RoleConfig {
	r := RoleConfig{Provider: mint.ProviderAWS, Ceiling: d.ceiling("s3-role.json"), Region: "us-east-1"}
	if d.target == nil {
		r.RoleARN, r.Endpoint, r.S3Endpoint, r.Dialect = devARN("dev"), d.S3, d.S3, string(iam.DialectMinIO)
		return r
	}
	r.RoleARN, r.Endpoint, r.S3Endpoint, r.Dialect = devARN(roleAgents), d.target.STS, d.target.S3, string(iam.DialectVersityGW)
	r.WebIdentityAudience = devAudience
	r.Revoke = RevokeConfig{RoleDeny: true, AssumeRole: devARN(roleRevoker), IAMEndpoint: d.target.IAM}
	return r
}

// tryIt is what to type at the dev target.
func (d *devCmd) tryIt(env string) string {
	if d.target == nil {
		return fmt.Sprintf("In another terminal:\n  . %s\n  valetkey scopes\n  valetkey task open -e production \"try it\"\n", env)
	}
	run := fmt.Sprintf("%s exec --scope s3-prefix-read bucket=%s prefix=%s -e dev -- aws --endpoint-url %s s3", besideUs("valetkey"), exampleBucket, examplePrefix, d.target.S3)
	return fmt.Sprintf(`S3 at %s: %s, which also is IAM. It decides and enforces, and is nobody's here; the STS in front of it is
valetkey's own. The broker has no AWS key: it comes with its JWT-SVID.

In another terminal, a list that works, and a deletion that S3 itself refuses:
  . %s && %s ls s3://%s/%s
  %s rm s3://%s/%s2026-11.csv
`, d.target.S3, d.target.Gateway, env, run, exampleBucket, examplePrefix, run, exampleBucket, examplePrefix)
}

// besideUs is how to call one of our programs: by name, or by path where it is not in PATH and beside this one.
func besideUs(name string) string {
	if _, err := exec.LookPath(name); err == nil {
		return name
	}
	if self, err := os.Executable(); err == nil {
		if found, err := exec.LookPath(filepath.Join(filepath.Dir(self), name)); err == nil {
			return found
		}
	}
	return name
}
