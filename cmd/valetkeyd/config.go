package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/valetkey/valetkey/broker/guard"
	"github.com/valetkey/valetkey/broker/identity"
	"github.com/valetkey/valetkey/broker/mint/vault"
	"github.com/valetkey/valetkey/scopes/iam"
)

// Config is the one file that valetkeyd reads. The comments are its manual: docs/config.md is made of them.
type Config struct {
	// Listen is the address, host:port, for agents, operators and approvers: gRPC over mTLS with SVIDs. Required.
	Listen string `yaml:"listen"`
	// Catalog is the folder of scopes, with policies/ in it (docs/catalog.md, docs/policy.md). Required. Write it as an
	// absolute path: a relative one is looked up in the folder that valetkeyd is started in.
	Catalog string `yaml:"catalog"`
	// Store is where state and record are.
	Store StoreConfig `yaml:"store"`
	// Ledger is how the record is signed and served.
	Ledger LedgerConfig `yaml:"ledger"`
	// Identity is who the broker is, and who may call.
	Identity IdentityConfig `yaml:"identity"`
	// Operators are the SPIFFE IDs that may revoke, freeze, reload and look. An ID has
	// one role: none may fit a path template, or be a person's or a delegate's. Empty for
	// nobody.
	Operators []string `yaml:"operators"`
	// Delegates are who may speak for agents, such as the plugin inside a Vault. Empty for
	// nobody.
	Delegates []DelegateConfig `yaml:"delegates"`
	// Roles are what the catalog's scopes are minted from, by name. At least one, and each
	// that a scope names.
	Roles map[string]RoleConfig `yaml:"roles"`
	// Guard is how often an agent may ask.
	Guard GuardConfig `yaml:"guard"`
	// Limits is how many connections callers may have.
	Limits LimitsConfig `yaml:"limits"`
	// Approval is who may approve; unset for nobody.
	Approval ApprovalConfig `yaml:"approval"`
	// Floor is what policies can raise and not lower.
	Floor FloorConfig `yaml:"floor"`
	// Drain is how long a broker that is told to stop says so to those who ask for
	// its health, before it takes no more calls. Unset for 5s; 0s for not at all; 10m at
	// most. Calls that run then have 30s more.
	Drain *time.Duration `yaml:"drain"`
	// Metrics is the listener for Prometheus and probes; unset for none.
	Metrics ListenConfig `yaml:"metrics"`
	// Traces is the OpenTelemetry collector; unset for none.
	Traces TracesConfig `yaml:"traces"`
}

// TracesConfig is where a span for each call goes. Spans name methods and sizes, and hold no message.
type TracesConfig struct {
	// Endpoint is the collector's OTLP gRPC address, host:port; empty for no traces.
	Endpoint string `yaml:"endpoint"`
	// Insecure is plain text, for a collector on the same host.
	Insecure bool `yaml:"insecure"`
}

// StoreConfig is where state and record are.
type StoreConfig struct {
	// Path is the SQLite file's, best an absolute one. Required. It is made where it is not there, with mode 0600; one that
	// others can read is refused. One broker has it at a time. Beside it are its -wal, -shm, .lock
	// and, after damage, .damaged.
	Path string `yaml:"path"`
	// Retention is how long grants are kept after their end, to be looked at;
	// closed tasks likewise. Unset for 720h, 0s for ever, else at least 24h, for which
	// idempotency keys need them. The ledger is never pruned.
	Retention *time.Duration `yaml:"retention"`
}

const (
	defaultRetention = 720 * time.Hour
	minRetention     = 24 * time.Hour
)

func (c StoreConfig) retention() time.Duration {
	if c.Retention == nil {
		return defaultRetention
	}
	return *c.Retention
}

// LedgerConfig is how the record is signed and served.
type LedgerConfig struct {
	// KeyFile is the file with the note signing key, which "valetkeyd keygen" makes, with
	// mode 0600 and its .pub beside it. Required.
	KeyFile string `yaml:"key_file"`
	// CheckpointFile keeps the newest signed checkpoint, so that a database that
	// was lost or rolled back is not taken for a new one. Keep it apart from the
	// database, in a folder that the broker can write. Empty for key_file with ".checkpoint",
	// which keygen makes: move that one to where this says, or let the first start do so.
	CheckpointFile string `yaml:"checkpoint_file"`
	// Listen is the address, host:port, where the log is served as C2SP tlog-tiles over plain HTTP; empty for
	// not at all. Records say who asked for what: keep it to loopback, with TLS in front.
	Listen string `yaml:"listen"`
}

func (c LedgerConfig) checkpointFile() string {
	if c.CheckpointFile != "" {
		return c.CheckpointFile
	}
	return c.KeyFile + ".checkpoint"
}

// IdentityConfig is who the broker is, and who may call. Its own SVID comes from a Workload API or from files, never from
// both.
type IdentityConfig struct {
	// WorkloadAPI is the SPIFFE Workload API's socket, "unix:///run/spire/agent.sock". Required
	// where there are no files.
	WorkloadAPI string `yaml:"workload_api"`
	// ID is the broker's own SPIFFE ID, where the Workload API gives it several; empty for the first.
	ID string `yaml:"id"`
	// CertFile is the broker's SVID in place of a Workload API: a PEM chain, leaf first. Files are
	// read again when they change; a set that does not fit together is left aside.
	CertFile string `yaml:"cert_file"`
	// KeyFile is the SVID's private key, PEM and PKCS #8.
	KeyFile string `yaml:"key_file"`
	// BundleFile is the trust domain's bundle: PEM certificates, or a SPIFFE bundle document
	// (JSON), which can hold the keys of JWT-SVIDs too.
	BundleFile string `yaml:"bundle_file"`
	// FederatedBundleFiles are other trust domains' bundles, by domain, with files alone: a
	// Workload API brings its own.
	FederatedBundleFiles map[string]string `yaml:"federated_bundle_files"`
	// TrustDomains are those whose SVIDs are accepted, the broker's own among them. At least one.
	TrustDomains []string `yaml:"trust_domains"`
	// PathTemplates are the paths that agents have, such as "/agent/{user}/{session}": each
	// {name} is one segment, and an attribute that policies read. A path after
	// "spiffe://domain" is of that domain alone. At least one; agent_paths of policy.yaml has the same,
	// in the same order.
	PathTemplates []string `yaml:"path_templates"`
	// JWT is the listener for agents behind a proxy that ends TLS; unset for none.
	JWT JWTConfig `yaml:"jwt"`
}

// JWTConfig is a listener where agents come with a JWT-SVID and without mTLS. Operators, approvers and delegates
// cannot.
type JWTConfig struct {
	// Listen is its address, host:port; empty for no such listener.
	Listen string `yaml:"listen"`
	// Audience is what a JWT-SVID must be made for. Required with listen.
	Audience string `yaml:"audience"`
}

// DelegateConfig is a workload that has authenticated its own users, and speaks
// for the agents that they are (docs/clients-vault.md). Whoever has its SVID can do what they can.
type DelegateConfig struct {
	// ID is its whole SPIFFE ID. It fits no path template, and is no operator's and no
	// person's. Required.
	ID string `yaml:"id"`
	// Agents are path templates of those it may speak for, such as
	// "/agent/{user}/vault". They must fit identity.path_templates too. At least one.
	Agents []string `yaml:"agents"`
}

// RoleConfig is what scopes with "role: NAME" are minted from: one role at one provider. The keys from role_arn to
// revoke are for aws, those from address on for vault.
type RoleConfig struct {
	// Provider is "aws" (and servers that speak its protocols) or "vault". Required.
	Provider string `yaml:"provider"`
	// Ceiling is a file, or a list of files, of what the role has. For AWS that is the
	// role's own policies, as IAM has them; for Vault, the most that the broker may
	// give or read, as a policy in HCL. Relative to the configuration's folder, and read again at a reload. The catalog
	// loads only where no scope can give more, whatever its parameters. Required:
	// "unproven", in so many words, has it load without such a proof.
	Ceiling Ceiling `yaml:"ceiling"`

	// RoleARN is the role that the broker assumes for agents. Required.
	RoleARN string `yaml:"role_arn"`
	// ExternalID is sent along, for a role in somebody else's account; empty for none.
	ExternalID string `yaml:"external_id"`
	// Region is where STS is, and what agents are told; empty for us-east-1.
	Region string `yaml:"region"`
	// MaxSession is the role's own maximum, from 15m to 12h; unset for 1h, as in AWS.
	MaxSession time.Duration `yaml:"max_session"`
	// Chained says that the broker's own credentials are of an assumed role: AWS gives 1h at most then.
	Chained bool `yaml:"chained"`
	// Endpoint is the URL of STS; empty for AWS's own. Required but for the dialect "aws".
	Endpoint string `yaml:"endpoint"`
	// S3Endpoint is the URL of S3 that agents are told; empty for AWS's own.
	S3Endpoint string `yaml:"s3_endpoint"`
	// Dialect is what enforces the role, and so how its policies are read: "aws", "minio", "radosgw" (Ceph) or
	// "versitygw". Required. No two of them read a policy alike.
	Dialect string `yaml:"dialect"`
	// WebIdentityAudience is the audience of the broker's own JWT-SVID, by which it assumes the role without any AWS
	// key. Empty for the SDK's default chain: environment, shared files, instance metadata.
	WebIdentityAudience string `yaml:"web_identity_audience"`
	// Revoke is how AWS sessions are ended early; unset leaves them to their deadline.
	Revoke RevokeConfig `yaml:"revoke"`

	// Address is Vault's URL. Required.
	Address string `yaml:"address"`
	// Namespace is one of Vault Enterprise; empty for the root namespace.
	Namespace string `yaml:"namespace"`
	// CAFile is the file of PEM certificates that Vault's is verified by, as VAULT_CACERT
	// is; empty for the system's. It is read at start.
	CAFile string `yaml:"ca_file"`
	// Auth is how the broker logs in to Vault. Required.
	Auth VaultAuthConfig `yaml:"auth"`
	// TokenRole is the name of the token role at auth/token/roles/ that agents' tokens are made by. It needs no sudo, and
	// limits them to the policies vk-*. Empty for auth/token/create-orphan, which needs sudo
	// and with it lets the broker give out any policy. See docs/revocation.md.
	TokenRole string `yaml:"token_role"`
	// Mounts are declared secrets engines of Vault by path, as "database/". A dynamic secret of
	// any other mount is given out only where it ends by itself before its grant does.
	Mounts map[string]MountConfig `yaml:"mounts"`
}

// MountConfig is what is known of one secrets engine of Vault; see docs/revocation.md.
type MountConfig struct {
	// Revocable says that its secrets stop working when their lease is revoked. The broker
	// believes it of a path where probe_command has seen it, at first use and hourly.
	Revocable bool `yaml:"revocable"`
	// ProbeCommand is a program with its arguments that tries a secret, whose data it reads as one JSON object from standard input:
	// exit code 0 where it works, 1 where its target refuses it; it may take 10s. Required with revocable.
	ProbeCommand []string `yaml:"probe_command"`
}

// RevokeConfig is for ending AWS sessions by deny entries in an inline policy of the role. The broker's
// own AWS credentials then need iam:GetRole, iam:GetRolePolicy, iam:PutRolePolicy and
// iam:DeleteRolePolicy on this one role, which has to be in their own account (and
// iam:ListRolePolicies, to see how much room there is). Without the
// permission, sessions end at their deadline and the log says so. See docs/revocation.md.
type RevokeConfig struct {
	// RoleDeny turns it on. Required where another key of this section is set.
	RoleDeny bool `yaml:"role_deny"`
	// AssumeRole is the ARN of a role that alone may write the agents' role's policies; the broker
	// takes it on to revoke, and for nothing else. Empty for the broker's own credentials; required
	// with web_identity_audience.
	AssumeRole string `yaml:"assume_role"`
	// ExternalID goes with assume_role; empty for none.
	ExternalID string `yaml:"external_id"`
	// PolicyName is that of the inline policy, which has to be the broker's alone; each broker that
	// shares the role needs a name of its own. Empty for "valetkey-revoked-sessions".
	PolicyName string `yaml:"policy_name"`
	// RoleCut ends *all* sessions of the role, other agents' too, when an operator's revocation
	// finds no room in the policy. Otherwise such a session ends at its deadline. For the dialect "aws" alone.
	RoleCut bool `yaml:"role_cut"`
	// IAMEndpoint is the URL of IAM; empty for AWS's own. Required but for the dialect "aws".
	IAMEndpoint string `yaml:"iam_endpoint"`
}

// VaultAuthConfig is how the broker logs in to Vault.
type VaultAuthConfig struct {
	// Method is "jwt", "cert", "token", or "login" for any other auth method that logs
	// in at auth/MOUNT/login, such as AppRole or Kubernetes. For "cert" the broker's SVID needs a common
	// name, or Vault answers 500: give its SPIRE entry a DNS name ("-dns valetkeyd").
	Method string `yaml:"method"`
	// Mount is where the auth method is mounted; empty for the method's name.
	Mount string `yaml:"mount"`
	// Role is the one to log in to. Required for "jwt".
	Role string `yaml:"role"`
	// Audience is that of the JWT-SVID. Required for "jwt".
	Audience string `yaml:"audience"`
	// TokenFile is the file with the token, for "token". It is read at every login.
	TokenFile string `yaml:"token_file"`
	// LoginFile is the file with a JSON object of texts to log in with, for "login", such as
	// role_id and secret_id. It is read at every login.
	LoginFile string `yaml:"login_file"`
}

// GuardConfig is how often an agent may ask; see docs/limits.md. What is over is RATE_LIMITED, with the time to wait. Rates
// are 6,000,000 a minute at most.
type GuardConfig struct {
	// RatePerMinute is how many requests that leave something behind (a task, a grant, a minting) one agent
	// may make in the long run; 0 for 60.
	RatePerMinute int `yaml:"rate_per_minute"`
	// Burst is how many of them at once; 0 for 20.
	Burst int `yaml:"burst"`
	// DelegateRatePerMinute is one delegate's over all the agents it speaks for, who keep their own;
	// 0 for ten times rate_per_minute.
	DelegateRatePerMinute int `yaml:"delegate_rate_per_minute"`
	// DelegateBurst is how many of them at once; 0 for ten times burst.
	DelegateBurst int `yaml:"delegate_burst"`
	// CallsPerMinute is how many calls of any kind one agent may make that ask and, apart, that give back;
	// 0 for ten times rate_per_minute. A delegate has ten times those over all its agents.
	CallsPerMinute int `yaml:"calls_per_minute"`
	// CallBurst is how many of them at once; 0 for ten times burst.
	CallBurst int `yaml:"call_burst"`
	// RateBy are the attributes of the path templates that tell agents apart for all limits,
	// such as [user]. Empty for all but "session": a new session then is no new budget.
	RateBy []string `yaml:"rate_by"`
	// Watches is how many grants one agent may follow at once; 0 for 64.
	Watches int `yaml:"watches"`
}

// FloorConfig is what policies can raise and not lower.
type FloorConfig struct {
	// DestructiveApprovals is how many people destructive and admin work needs,
	// whatever the policies say. Unset for 2; 20 at most; 0 is unattended destruction.
	DestructiveApprovals *int `yaml:"destructive_approvals"`
}

// ListenConfig is an HTTP listener with /metrics for Prometheus, /healthz (the process runs) and /readyz (send it
// calls), without TLS.
type ListenConfig struct {
	// Listen is its address, host:port; empty for none.
	Listen string `yaml:"listen"`
}

const (
	defaultDrain = 5 * time.Second
	maxDrain     = 10 * time.Minute
)

func (c Config) drain() time.Duration {
	if c.Drain == nil {
		return defaultDrain
	}
	return *c.Drain
}

// callers is who may call, as what, on every listener.
func (c Config) callers() identity.Config {
	out := identity.Config{
		TrustDomains: c.Identity.TrustDomains, PathTemplates: c.Identity.PathTemplates, Operators: c.Operators, Approvers: c.approvers(),
	}
	for _, d := range c.Delegates {
		out.Delegates = append(out.Delegates, identity.Delegate{ID: d.ID, Agents: d.Agents})
	}
	return out
}

func loadConfig(path string) (Config, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return Config{}, err
	}
	var c Config
	dec := yaml.NewDecoder(bytes.NewReader(raw), yaml.Strict())
	if err := dec.Decode(&c); err != nil && !errors.Is(err, io.EOF) {
		return Config{}, fmt.Errorf("%s: %s", path, strings.TrimSpace(yaml.FormatError(err, false, true)))
	}
	if err := dec.Decode(new(any)); !errors.Is(err, io.EOF) {
		return Config{}, fmt.Errorf("%s: more than one YAML document", path)
	}
	if err := c.check(); err != nil {
		return Config{}, fmt.Errorf("%s: %w", path, err)
	}
	for name, r := range c.Roles {
		r.Ceiling = r.Ceiling.from(filepath.Dir(path))
		c.Roles[name] = r
	}
	return c, nil
}

// check finds every fault at once.
func (c Config) check() error {
	var errs []error
	need := func(ok bool, text string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(text, args...))
		}
	}
	addr := func(key, a string, required bool) {
		if a == "" && !required {
			return
		}
		_, _, err := net.SplitHostPort(a)
		need(err == nil, "%s: %q is not host:port", key, a)
	}
	addr("listen", c.Listen, true)
	addr("ledger.listen", c.Ledger.Listen, false)
	addr("metrics.listen", c.Metrics.Listen, false)
	addr("traces.endpoint", c.Traces.Endpoint, false)
	addr("identity.jwt.listen", c.Identity.JWT.Listen, false)
	need(c.Catalog != "", "catalog: the folder is required")
	need(c.Store.Path != "", "store.path is required")
	need(c.Store.retention() == 0 || c.Store.retention() >= minRetention, "store.retention: %v is less than %v, for which idempotency keys need the grants", c.Store.retention(), minRetention)
	need(c.Ledger.KeyFile != "", "ledger.key_file is required; make one with \"valetkeyd keygen\"")
	need(len(c.Identity.TrustDomains) > 0, "identity.trust_domains: at least one is required")
	need(len(c.Identity.PathTemplates) > 0, "identity.path_templates: at least one is required")
	need(c.Identity.JWT.Listen == "" || c.Identity.JWT.Audience != "", "identity.jwt.audience is required with identity.jwt.listen")
	need(len(c.Roles) > 0, "roles: at least one is required")
	for _, d := range c.Delegates {
		need(d.ID != "", "delegates: one has no id")
		need(len(d.Agents) > 0, "delegates.%s.agents: names nobody that it may speak for", d.ID)
	}
	for name, r := range c.Roles {
		switch r.Provider {
		case "aws":
			need(r.RoleARN != "", "roles.%s.role_arn is required", name)
			need(len(r.Mounts) == 0 && r.TokenRole == "", "roles.%s.mounts and token_role are for vault", name)
			_, err := iam.ParseDialect(r.Dialect)
			need(err == nil, "roles.%s.dialect: %v", name, err)
			need(r.Revoke.RoleDeny || r.Revoke == RevokeConfig{}, "roles.%s.revoke: says how, but role_deny is not true", name)
		case "vault":
			need(r.Address != "", "roles.%s.address is required", name)
			need(slices.Contains([]string{"jwt", "cert", "token", "login"}, r.Auth.Method), "roles.%s.auth.method: %q is not jwt, cert, token or login", name, r.Auth.Method)
			for _, err := range vault.CheckMounts(r.mounts()) {
				need(false, "roles.%s.mounts: %w", name, err)
			}
			need(!strings.Contains(r.TokenRole, "/"), "roles.%s.token_role: %q is not a name", name, r.TokenRole)
			need(r.Revoke == RevokeConfig{}, "roles.%s.revoke is for aws; Vault revokes by accessor and lease", name)
		default:
			need(false, "roles.%s.provider: %q is not aws or vault", name, r.Provider)
		}
		need(len(r.Ceiling) > 0, "roles.%s.ceiling is required: name the file of the role's own policy, or say %q in so many words", name, unproven)
		need(!r.Ceiling.unproven() || len(r.Ceiling) == 1, "roles.%s.ceiling: %q goes with no file; a file of that name is %q", name, unproven, "./"+unproven)
	}
	need(c.Guard.Watches >= 0, "guard.watches: %d is less than 0", c.Guard.Watches)
	need(c.Drain == nil || *c.Drain >= 0 && *c.Drain <= maxDrain, "drain: must be from 0s to %v", maxDrain)
	if len(c.Identity.TrustDomains) > 0 {
		errs = append(errs, c.callers().Check())
	}
	if _, err := c.directory("checked"); err != nil {
		errs = append(errs, err)
	}
	errs = append(errs, c.Limits.check())
	if err := guard.CheckRateBy(c.Guard.RateBy, c.Identity.PathTemplates); err != nil {
		errs = append(errs, fmt.Errorf("guard.%w", err))
	}
	return errors.Join(errs...)
}
