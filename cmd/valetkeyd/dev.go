package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/valetkey/valetkey/broker/identity/devauthority"
	"github.com/valetkey/valetkey/broker/ledger"
	"github.com/valetkey/valetkey/broker/mint"
	example "github.com/valetkey/valetkey/testdata/catalog"
)

// devDomain can be nobody's production: RFC 2606 reserves it. The example policies
// are written for it.
const devDomain = "example.org"

type devCmd struct {
	Dir     string `help:"Keep everything here instead of in a temporary folder. It must be empty or an earlier dev folder." placeholder:"DIR"`
	Listen  string `help:"Where to serve; loopback alone." default:"127.0.0.1:8700"`
	Ledger  string `help:"Where to serve the ledger; loopback alone." default:"127.0.0.1:8701"`
	Catalog string `help:"Serve this catalog instead of the example." placeholder:"DIR"`
	S3      string `name:"s3-endpoint" help:"An S3-compatible server with STS, such as MinIO. The broker signs with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY." default:"http://127.0.0.1:9000" placeholder:"URL"`
	Vault   string `name:"vault-addr" help:"A Vault in dev mode." default:"http://127.0.0.1:8200" placeholder:"URL"`
	Token   string `name:"vault-token-file" help:"A file with the broker's token for that Vault." placeholder:"FILE"`
	Agent   string `help:"The path of the agent's SPIFFE ID." default:"/agent/alice/dev"`
}

func (d *devCmd) Run(ctx context.Context, log *slog.Logger) (err error) {
	for _, a := range []string{d.Listen, d.Ledger} {
		if !onLoopback(a) {
			return fmt.Errorf("dev mode listens on loopback only, not on %q; use \"valetkeyd serve\" with a configuration", a)
		}
	}
	if d.Dir == "" {
		if d.Dir, err = os.MkdirTemp("", "valetkey-dev-"); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(d.Dir)) }()
	}
	if d.Dir, err = d.prepare(); err != nil {
		return err
	}
	auth, err := devauthority.New(devauthority.Config{TrustDomain: devDomain, SocketDir: d.Dir})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, auth.Close()) }()
	agent, err := spiffeid.FromPath(auth.TrustDomain(), d.Agent)
	if err != nil {
		return err
	}
	operator, err := auth.ID("operator")
	if err != nil {
		return err
	}
	self, err := auth.ID("valetkeyd")
	if err != nil {
		return err
	}
	failed := make(chan error, 1)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	people, ids, err := d.people(auth.TrustDomain())
	if err != nil {
		return err
	}
	ids["agent.sock"], ids["operator.sock"] = agent, operator
	for sock, id := range ids {
		if err := auth.Serve(ctx, filepath.Join(d.Dir, sock), id); err != nil {
			return err
		}
	}
	src := auth.Source(self)
	c := d.config(operator.String())
	rules, err := c.loadRules()
	if err != nil {
		return err
	}
	c.Approval.People = inGroups(people, rules.Policy.Groups())
	err = serve(ctx, c, src, log, func(at addresses, k *ledger.Key) {
		if werr := d.banner(at, k, self); werr != nil {
			failed <- werr
			cancel()
		}
	})
	select {
	case ferr := <-failed:
		return errors.Join(ferr, err)
	default:
		return err
	}
}

// prepare makes the folder, or takes an earlier dev folder up again.
func (d *devCmd) prepare() (string, error) {
	dir, err := filepath.Abs(d.Dir)
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm()&0o077 != 0 {
		return "", errors.Join(err, fmt.Errorf("%s is open to others: chmod 700 %s", dir, dir))
	}
	marker := filepath.Join(dir, "DEV-ONLY")
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(marker); err != nil && len(entries) > 0 {
		return "", fmt.Errorf("%s is neither empty nor an earlier dev folder: dev mode will not touch it", dir)
	}
	if err := os.WriteFile(marker, []byte("Made by valetkeyd dev. Its authority, key and store prove nothing to anybody.\n"), 0o600); err != nil {
		return "", err
	}
	if d.Catalog == "" {
		d.Catalog = filepath.Join(dir, "catalog")
		// An earlier dev folder's catalog stays: it may have been edited since.
		if _, err := os.Stat(d.Catalog); errors.Is(err, fs.ErrNotExist) {
			if err := os.CopyFS(d.Catalog, example.Files); err != nil {
				return "", err
			}
		}
	}
	key := filepath.Join(dir, "ledger.key")
	if _, err := os.Stat(key); errors.Is(err, fs.ErrNotExist) {
		return dir, ledger.GenerateKey(key, "dev.valetkey.example.org/log")
	}
	return dir, nil
}

func (d *devCmd) config(operator string) Config {
	token := d.Token
	if token == "" {
		token = filepath.Join(d.Dir, "vault-token")
	}
	var atOnce time.Duration
	return Config{
		Drain: &atOnce, Listen: d.Listen, Catalog: d.Catalog,
		Store:  StoreConfig{Path: filepath.Join(d.Dir, "valetkey.db")},
		Ledger: LedgerConfig{KeyFile: filepath.Join(d.Dir, "ledger.key"), Listen: d.Ledger},
		Identity: IdentityConfig{
			TrustDomains: []string{devDomain}, PathTemplates: []string{"/agent/{user}/{session}"},
		},
		Operators: []string{operator},
		Guard:     GuardConfig{RatePerMinute: 600, Burst: 100},
		Roles: map[string]RoleConfig{
			"s3":    {Provider: mint.ProviderAWS, Ceiling: d.ceiling("s3-role.json"), RoleARN: "arn:aws:iam::000000000000:role/dev", Region: "us-east-1", Endpoint: d.S3, S3Endpoint: d.S3, Dialect: "s3-compatible"},
			"vault": {Provider: mint.ProviderVault, Ceiling: d.ceiling("vault-role.hcl"), Address: d.Vault, Auth: VaultAuthConfig{Method: "token", TokenFile: token}},
		},
	}
}

// ceiling is the catalog's own file for a role. A catalog of somebody else's, or one of
// before there were ceilings, may have none: then it is unproven, which is logged.
func (d *devCmd) ceiling(file string) Ceiling {
	file = filepath.Join(d.Catalog, "ceilings", file)
	if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
		return Ceiling{unproven}
	}
	return Ceiling{file}
}

// banner says what to type next, and leaves the same in a file to source.
func (d *devCmd) banner(at addresses, k *ledger.Key, self spiffeid.ID) error {
	env := fmt.Sprintf("export VALETKEY_ADDR=%s\nexport VALETKEY_BROKER_ID=%s\nexport SPIFFE_ENDPOINT_SOCKET=unix://%s\nexport VALETKEY_LEDGER_KEY=%s\n",
		at.grpc, self, filepath.Join(d.Dir, "agent.sock"), k.VerifierKey())
	file := filepath.Join(d.Dir, "env")
	if err := os.WriteFile(file, []byte(env), 0o600); err != nil {
		return err
	}
	fmt.Printf(`valetkeyd DEV MODE: its identities and its ledger prove nothing. Never for production.

In another terminal:
  . %s
  valetkey scopes
  valetkey task open -e production "try it"

As the operator: SPIFFE_ENDPOINT_SOCKET=unix://%s valetkey grants
As bob of sre:   SPIFFE_ENDPOINT_SOCKET=unix://%s valetkey approvals
                 ... valetkey approve GRANT --key %s
The record:      valetkey ledger verify http://%s --key "$VALETKEY_LEDGER_KEY"
`, file, filepath.Join(d.Dir, "operator.sock"), filepath.Join(d.Dir, "bob.sock"), filepath.Join(d.Dir, "bob.key"), at.ledger)
	return nil
}
