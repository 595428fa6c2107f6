package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"golang.org/x/term"

	"github.com/valetkey/valetkey/broker/evidence"
	valetkeyv1 "github.com/valetkey/valetkey/proto/valetkey/v1"
	"github.com/valetkey/valetkey/scopes/plaintext"
)

// decideFlags are those of approve and reject.
type decideFlags struct {
	Grant  string `arg:"" help:"The request's id."`
	Key    string `required:"" env:"VALETKEY_APPROVER_KEY" help:"Your SSH key: a private key's file, a security key's, or the .pub of one that ssh-agent holds." type:"existingfile" placeholder:"FILE"`
	Ledger string `name:"ledger-key" env:"VALETKEY_LEDGER_KEY" help:"The key of the broker's ledger, or a file that holds it: what is signed for another broker is refused." placeholder:"VKEY"`
	Yes    bool   `short:"y" help:"Do not ask whether you are sure."`
	Keygen string `name:"ssh-keygen" help:"The program that signs." default:"ssh-keygen" placeholder:"PROGRAM"`
}

type approveCmd struct {
	decideFlags
	Comment string `help:"Why, for the record and the other approvers."`
}

func (c *approveCmd) Run(ctx context.Context, g *globals, out *output) error {
	return c.decide(ctx, g, out, evidence.Approve, c.Comment)
}

type rejectCmd struct {
	decideFlags
	Comment string `required:"" help:"Why, for the record and the other approvers."`
}

func (c *rejectCmd) Run(ctx context.Context, g *globals, out *output) error {
	return c.decide(ctx, g, out, evidence.Reject, c.Comment)
}

// decide shows a request, asks, has the statement signed, and sends it.
func (c *decideFlags) decide(ctx context.Context, g *globals, out *output, d evidence.Decision, comment string) (err error) {
	if err := plaintext.Prose(comment); err != nil {
		return &usageError{"the comment has " + err.Error()}
	}
	client, err := limited(ctx, g, g.dial)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, client.Close()) }()
	p, err := limited(ctx, g, func(ctx context.Context) (*valetkeyv1.PendingGrant, error) { return pendingGrant(ctx, client, c.Grant) })
	if err != nil {
		return err
	}
	if err := printPending(&output{stdout: out.stderr, stderr: out.stderr}, p); err != nil {
		return err
	}
	if err := c.rightBroker(p); err != nil {
		return err
	}
	if err := c.sure(d, p, out); err != nil {
		return err
	}
	var groups []string // of a no: none
	if d == evidence.Approve {
		groups = p.GetGroups()
	}
	text, err := evidence.Statement{
		V: evidence.Version, Broker: p.GetBroker(), Grant: p.GetGrant().GetId(), EnvelopeDigest: p.GetGrant().GetEnvelopeDigest(),
		Nonce: p.GetNonce(), Person: p.GetPerson(), Decision: d, Comment: comment,
		Groups: groups, SignedAt: time.Now().UTC().Truncate(time.Second), LapsesAt: p.GetLapsesAt().AsTime(),
	}.Canonical()
	if err != nil {
		return err
	}
	signature, err := c.sign(ctx, text, out)
	if err != nil {
		return err
	}
	resp, err := limited(ctx, g, func(ctx context.Context) (*valetkeyv1.SubmitApprovalResponse, error) {
		return client.Approver.SubmitApproval(ctx, &valetkeyv1.SubmitApprovalRequest{GrantId: c.Grant, Statement: text, Signature: signature})
	})
	if err != nil {
		return err
	}
	if out.json() {
		return out.message(resp)
	}
	rows := [][]string{{"grant", c.Grant}, {"state", resp.GetPending().GetGrant().GetState().Word()}}
	if lacks := resp.GetPending().GetLacking(); len(lacks) > 0 && d == evidence.Approve {
		rows = append(rows, []string{"lacks", needsText(lacks)})
	}
	return out.table(rows)
}

// limited calls the broker with the deadline of --timeout, which is not for the
// person who reads and touches a key in between.
func limited[T any](ctx context.Context, g *globals, f func(context.Context) (T, error)) (T, error) {
	ctx, cancel := g.limit(ctx)
	defer cancel()
	return f(ctx)
}

// rightBroker holds the name that would be signed against that of the ledger's key.
func (c *decideFlags) rightBroker(p *valetkeyv1.PendingGrant) error {
	if c.Ledger == "" {
		return nil // it is shown
	}
	key, err := verifierKey(c.Ledger)
	if err != nil {
		return err
	}
	if name, _, _ := strings.Cut(key, "+"); name != p.GetBroker() {
		return fmt.Errorf("the broker has the name %q, and your ledger key is of %q: is this the right broker? Nothing was signed", p.GetBroker(), name)
	}
	return nil
}

// errNotSure is a person who thought better of it.
var errNotSure = errors.New("nothing was signed")

// sure has the person type what a reader of the request has seen.
func (c *decideFlags) sure(d evidence.Decision, p *valetkeyv1.PendingGrant, out *output) error {
	if c.Yes {
		return nil
	}
	if !term.IsTerminal(int(os.Stdin.Fd())) {
		return &usageError{"standard input is no terminal to ask on; give --yes once you have read the request"}
	}
	e, err := envelopeOf(p)
	if err != nil {
		return err
	}
	word, _, _ := strings.Cut(e.Scope, "@")
	out.say("To %s, type the scope's name (%s):", string(d), clean(word))
	line, err := bufio.NewReader(os.Stdin).ReadString('\n')
	if err != nil || strings.TrimSpace(line) != word {
		return errNotSure
	}
	return nil
}

// sign has ssh-keygen sign, as Git does: it knows files with and without a
// passphrase, ssh-agent, and security keys.
func (c *decideFlags) sign(ctx context.Context, text []byte, out *output) (string, error) {
	var signature bytes.Buffer
	cmd := exec.CommandContext(ctx, c.Keygen, "-q", "-Y", "sign", "-n", evidence.Namespace, "-f", c.Key) //nolint:gosec // the person's own program and key
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(text), &signature, out.stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("signing with %s: %w (OpenSSH 8.2 or newer is needed)", c.Keygen, err)
	}
	return signature.String(), nil
}
