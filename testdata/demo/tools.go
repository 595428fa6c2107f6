package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/valetkey/valetkey/broker/brokertest/servers"
)

const (
	readScope  = "--scope s3-prefix-read bucket=" + production + " prefix=" + ownPrefix
	vaultScope = "--scope vault-kv-read team=web"
)

// tools runs programs that know nothing of valetkey.
func (p *player) tools(ctx context.Context) error {
	var before []string
	t, err := newToolbox(p)
	if err != nil {
		return err
	}
	acts := []func(context.Context) error{t.aws, t.take}
	if p.full {
		if before, err = p.vault.minted(ctx); err != nil {
			return err
		}
		acts = []func(context.Context) error{t.aws, t.kv, t.take}
	} else {
		p.say("The same with vault is in \"make demo-full\": there is no Vault here.")
	}
	for _, act := range acts {
		if err := act(ctx); err != nil {
			return err
		}
	}
	return t.nothingLeft(ctx, before)
}

// toolbox is a user's shell with the tools in PATH, and what was learned from them.
type toolbox struct {
	*player
	home, tmp string
	env       []string
	addresses []string        // that the commands were given
	taken     aws.Credentials // that a command printed
}

func newToolbox(p *player) (*toolbox, error) {
	t := &toolbox{player: p, home: p.TempDir(), tmp: p.TempDir()}
	path := os.Getenv("PATH")
	tools := []string{"clients/aws"}
	if p.full {
		tools = append(tools, "vault")
	}
	for _, tool := range tools {
		file, err := servers.Binary(tool)
		if err != nil {
			return nil, err
		}
		path = filepath.Dir(file) + ":" + path
	}
	t.env = []string{"PATH=" + path, "HOME=" + t.home, "TMPDIR=" + t.tmp, "AWS_PAGER="}
	return t, nil
}

// exec runs a command through "valetkey exec", which it prints first.
func (t *toolbox) exec(ctx context.Context, scopes string, command ...string) (answer, error) {
	args := append(append([]string{"exec"}, strings.Fields(scopes)...), "-e", "production", "--")
	t.say("$ valetkey %s %s", strings.Join(args, " "), quoted(command))
	return t.broker.with(t.env).valetkey(ctx, append(args, command...)...)
}

// quoted is a command as a shell takes it.
func quoted(command []string) string {
	words := slices.Clone(command)
	for i, w := range words {
		if strings.ContainsAny(w, " ;") {
			words[i] = "'" + w + "'"
		}
	}
	return strings.Join(words, " ")
}

// s3 is the real aws. Its versions before 2.13 read no endpoint from the environment.
func (t *toolbox) s3(ctx context.Context, args ...string) (answer, error) {
	return t.exec(ctx, readScope, append([]string{"aws", "--endpoint-url", t.by.endpoint, "s3"}, args...)...)
}

func (t *toolbox) aws(ctx context.Context) error {
	a, err := t.s3(ctx, "ls", "s3://"+production+"/"+ownPrefix)
	if err != nil {
		return err
	}
	want := 0
	for key := range t.state {
		if name, ours := strings.CutPrefix(key, ownPrefix); ours {
			want++
			if !strings.Contains(a.stdout, " "+name+"\n") {
				return fmt.Errorf("aws s3 ls does not list %s: exit code %d: %s", key, a.code, a.stderr)
			}
		}
	}
	if got := strings.Count(a.stdout, "\n"); a.code != 0 || want == 0 || got != want {
		return fmt.Errorf("aws s3 ls lists %d objects, want %d: exit code %d: %s", got, want, a.code, a.stderr)
	}
	t.ok("the real aws lists %s: %d objects", ownPrefix, want)
	if a, err = t.s3(ctx, "rm", "s3://"+production+"/"+report); err != nil {
		return err
	}
	t.show(a.stdout)
	t.show(a.stderr)
	if a.code == 0 || !strings.Contains(a.stdout+a.stderr, "(AccessDenied) when calling the DeleteObject operation") {
		return fmt.Errorf("aws s3 rm left with exit code %d, and not for AccessDenied", a.code)
	}
	t.ok("refused by %s itself (AccessDenied): deleting %s", t.by.name, report)
	return t.intact(ctx)
}

func (t *toolbox) kv(ctx context.Context) error {
	get := []string{"vault", "kv", "get", "-field=username"}
	a, err := t.exec(ctx, vaultScope, append(get, ownSecret)...)
	if err != nil {
		return err
	}
	t.show(a.stdout)
	if got := strings.TrimSpace(a.stdout); a.code != 0 || got != webUser {
		return fmt.Errorf("vault kv get left with exit code %d: %s", a.code, a.stderr)
	}
	t.ok("the real vault reads its team's secret")
	if a, err = t.exec(ctx, vaultScope, append(get, othersSecret)...); err != nil {
		return err
	}
	// The proxy's own refusals say that they are valetkey's.
	if a.code == 0 || a.stdout != "" || !strings.Contains(a.stderr, "Code: 403") || strings.Contains(a.stderr, "valetkey: ") {
		return fmt.Errorf("reading %s left with exit code %d, and was not refused: %s", othersSecret, a.code, a.stderr)
	}
	t.show(a.stderr)
	t.ok("refused by Vault itself (403): another team's secret")
	return nil
}

// take lets a command print all that it was given.
func (t *toolbox) take(ctx context.Context) error {
	scopes := readScope
	if t.full {
		scopes += " " + vaultScope
	}
	a, err := t.exec(ctx, scopes, "sh", "-c", "env; aws configure export-credentials")
	if err != nil {
		return err
	}
	env, rest, ok := strings.Cut(a.stdout, "\n{")
	if a.code != 0 || !ok {
		return fmt.Errorf("printing what a command is given left with exit code %d: %s", a.code, a.stderr)
	}
	if err := json.Unmarshal([]byte("{"+rest), &t.taken); err != nil {
		return fmt.Errorf("reading what aws exports: %w", err)
	}
	if t.taken.SecretAccessKey == "" || t.taken.SessionToken == "" {
		return errors.New("aws exports no session")
	}
	t.secrets = append(t.secrets, t.taken.SecretAccessKey, t.taken.SessionToken)
	return t.given(ctx, env)
}

// given looks at the environment that a command had.
func (t *toolbox) given(ctx context.Context, env string) error {
	given := map[string]string{}
	for line := range strings.Lines(env) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		given[name] = value
	}
	names := []string{"AWS_CONTAINER_CREDENTIALS_FULL_URI"}
	if t.full {
		names = append(names, "VAULT_ADDR")
	}
	for _, name := range names {
		u, err := url.Parse(given[name])
		if err != nil || u.Hostname() != "127.0.0.1" {
			return errors.Join(fmt.Errorf("%s is no address on loopback", name), err)
		}
		t.addresses = append(t.addresses, u.Host)
		t.show(name + "=" + given[name])
	}
	for _, secret := range t.secrets {
		if strings.Contains(env, secret) {
			return errors.New("the environment of the command holds a secret")
		}
	}
	if t.full {
		if err := t.vault.refuses(ctx, given["VAULT_TOKEN"]); err != nil || given["VAULT_TOKEN"] == "" {
			return errors.Join(errors.New("VAULT_TOKEN is not of the proxy alone"), err)
		}
	}
	if !strings.HasPrefix(given["AWS_CONFIG_FILE"], t.tmp+"/") { // it is looked for there afterwards
		return fmt.Errorf("the task's files are not below %s", t.tmp)
	}
	if t.full {
		t.ok("the environment holds two addresses on loopback and what opens them: no key, and no token that Vault takes")
	} else {
		t.ok("the environment holds an address on loopback and what opens it, and no key")
	}
	return nil
}

// nothingLeft looks for what the commands could have left. before is what was in
// Vault before them.
func (t *toolbox) nothingLeft(ctx context.Context, before []string) error {
	for _, addr := range t.addresses {
		if c, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "tcp", addr); err == nil {
			return errors.Join(fmt.Errorf("%s still answers", addr), c.Close())
		}
	}
	if left, err := os.ReadDir(t.tmp); err != nil || len(left) > 0 {
		return errors.Join(fmt.Errorf("%d files are left of the tasks", len(left)), err)
	}
	if _, err := searched(t.home, t.secrets); err != nil {
		return err
	}
	t.ok("afterwards nothing listens there, the tasks' files are removed, and no file of the user's holds a secret")
	if t.full {
		err := eventually(ctx, 10*time.Second, "Vault holds nothing of the tasks", func() (bool, error) {
			now, err := t.vault.minted(ctx)
			return slices.Equal(now, before), err
		})
		if err != nil {
			return err
		}
	}
	thief := openBucket(t.by.endpoint, production, t.taken)
	var refused error
	err := eventually(ctx, 10*time.Second, "the key is refused", func() (bool, error) {
		_, refused = thief.get(ctx, report)
		return refused != nil, nil
	})
	if err != nil {
		return err
	}
	if err := t.by.refused("the key that aws exported", refused, "InvalidAccessKeyId", "AccessDenied"); err != nil {
		return err
	}
	if t.full {
		t.ok("the tasks are closed: Vault has no token and no policy of them, MinIO refuses the key that aws exported (403)")
	} else {
		t.ok("the tasks are closed: %s refuses the key that aws exported (403), since the broker has revoked its session", t.by.name)
	}
	return nil
}
