package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/gofrs/flock"
	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/valetkey/valetkey/broker/identity/devauthority"
	"github.com/valetkey/valetkey/broker/ledger"
	"github.com/valetkey/valetkey/broker/mint"
	example "github.com/valetkey/valetkey/testdata/catalog"
)

// devDomain can be nobody's production: RFC 2606 reserves it. The example policies
// are written for it.
const devDomain = "example.org"

// devMarker is in each dev folder.
const devMarker = "DEV-ONLY"

// notOfDev refuses to serve from what dev mode made: anybody who could read the dev folder has its key.
func (c Config) notOfDev() error {
	for _, file := range []string{c.Store.Path, c.Ledger.KeyFile} {
		folders := []string{filepath.Dir(file)}
		if real, err := filepath.EvalSymlinks(file); err == nil {
			folders = append(folders, filepath.Dir(real))
		}
		for _, folder := range folders {
			if _, err := os.Stat(filepath.Join(folder, devMarker)); err == nil {
				return fmt.Errorf("%s is in a folder of dev mode (%s): it never passes for production", file, devMarker)
			}
		}
	}
	// A copy of dev mode's key says whose it is, too: "PRIVATE+KEY+name+hash+key", of golang.org/x/mod/sumdb/note.
	if key, err := os.ReadFile(c.Ledger.KeyFile); err == nil && strings.Contains(string(key), "+"+devOrigin+"+") {
		return fmt.Errorf("%s is dev mode's key (%s): it never passes for production", c.Ledger.KeyFile, devOrigin)
	}
	return nil
}

// devOrigin names the ledger of every dev folder.
const devOrigin = "dev.valetkey.example.org/log"

// devWait is how long a start waits for the dev mode before it to end.
const devWait = 10 * time.Second

// hold keeps others from the folder for as long as this process lives.
func hold(ctx context.Context, dir string) (*flock.Flock, error) {
	lock := flock.New(filepath.Join(dir, "dev.lock"), flock.SetPermissions(0o600))
	ctx, cancel := context.WithTimeout(ctx, devWait)
	defer cancel()
	if got, err := lock.TryLockContext(ctx, devWait/100); !got {
		return nil, fmt.Errorf("another valetkeyd dev runs in %s; stop it first, or use another --dir: %w", dir, err)
	}
	return lock, nil
}

type devCmd struct {
	Dir     string `help:"Keep everything here instead of in a temporary folder. It must be empty or an earlier dev folder." placeholder:"DIR"`
	Listen  string `help:"Where to serve; loopback alone." default:"127.0.0.1:8700"`
	Ledger  string `help:"Where to serve the ledger; loopback alone." default:"127.0.0.1:8701"`
	Catalog string `help:"Serve this catalog instead of the example." placeholder:"DIR"`
	// S3Listen is of the S3 that dev mode brings; S3, where it is not empty, is another's instead.
	S3Listen string `name:"s3-listen" help:"Where dev mode's own S3 serves; loopback alone." default:"127.0.0.1:8702"`
	S3       string `name:"s3-endpoint" help:"A MinIO to use instead of dev mode's own S3, IAM and STS. The broker signs with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY." placeholder:"URL"`
	Vault    string `name:"vault-addr" help:"A Vault in dev mode." default:"http://127.0.0.1:8200" placeholder:"URL"`
	Token    string `name:"vault-token-file" help:"A file with the broker's token for that Vault." placeholder:"FILE"`
	// Probes see that secrets of a mount die.
	Probes map[string]string `name:"vault-probe" help:"A secrets engine of that Vault whose secrets stop working when revoked, and the command that sees it." placeholder:"MOUNT=COMMAND"`
	Agent  string            `help:"The path of the agent's SPIFFE ID." default:"/agent/alice/dev"`

	target *devTarget // nil with S3
}

func (d *devCmd) Run(ctx context.Context, log *slog.Logger) (err error) {
	for _, a := range []string{d.Listen, d.Ledger, d.S3Listen} {
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
	// Before the sockets and logs of another one are replaced.
	lock, err := hold(ctx, d.Dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	auth, err := devauthority.New(devauthority.Config{TrustDomain: devDomain, SocketDir: d.Dir, JWTIssuer: devIssuer})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, auth.Close()) }()
	agent, err := spiffeid.FromPath(auth.TrustDomain(), d.Agent)
	if err != nil {
		return err
	}
	if !strings.HasPrefix(d.Agent, "/agent/") {
		return fmt.Errorf("--agent %q is no agent's path: dev mode's begin with /agent/, as /agent/alice/dev", d.Agent)
	}
	operator, err := auth.ID("operator")
	if err != nil {
		return err
	}
	self, err := auth.ID("valetkeyd")
	if err != nil {
		return err
	}
	failed := make(chan error, 2)
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
	if d.S3 == "" {
		if d.target, err = d.startTarget(ctx, auth, self, operator); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, d.target.stop()) }()
		go func() {
			select {
			case <-d.target.gone:
				failed <- fmt.Errorf("%s ended: see %s", targetName, filepath.Join(d.Dir, "target.log"))
				cancel()
			case <-ctx.Done():
			}
		}()
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
	marker := filepath.Join(dir, devMarker)
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
		return dir, ledger.GenerateKey(key, devOrigin)
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
			"s3":    d.role(),
			"vault": {Provider: mint.ProviderVault, Ceiling: d.ceiling("vault-role.hcl"), Address: d.Vault, Auth: VaultAuthConfig{Method: "token", TokenFile: token}, Mounts: d.mounts()},
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

%s
As the operator: SPIFFE_ENDPOINT_SOCKET=unix://%s valetkey grants
As bob of sre:   SPIFFE_ENDPOINT_SOCKET=unix://%s valetkey approvals
                 ... valetkey approve GRANT --key %s
The record:      valetkey ledger verify http://%s --key "$VALETKEY_LEDGER_KEY"
`, d.tryIt(file), filepath.Join(d.Dir, "operator.sock"), filepath.Join(d.Dir, "bob.sock"), filepath.Join(d.Dir, "bob.key"), at.ledger)
	return nil
}

// mounts are the engines that --vault-probe declares.
func (d *devCmd) mounts() map[string]MountConfig {
	out := map[string]MountConfig{}
	for at, command := range d.Probes {
		out[at] = MountConfig{Revocable: true, ProbeCommand: []string{command}}
	}
	return out
}
