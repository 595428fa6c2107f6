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
	"github.com/valetkey/valetkey/scopes/iam"
)

// Config is the one file that valetkeyd reads. An unknown key is an error.
type Config struct {
	// Listen is the address for agents and operators: mTLS with SVIDs.
	Listen string `yaml:"listen"`
	// Catalog is the folder of scopes, with policies/ in it.
	Catalog string `yaml:"catalog"`
	// Store is where state and record are.
	Store StoreConfig `yaml:"store"`
	// Ledger is how the record is signed and served.
	Ledger LedgerConfig `yaml:"ledger"`
	// Identity is who the broker is, and who may call.
	Identity IdentityConfig `yaml:"identity"`
	// Operators are the SPIFFE IDs that may revoke, freeze, reload and look.
	Operators []string `yaml:"operators"`
	// Delegates are who may speak for agents, such as the plugin inside a Vault.
	Delegates []DelegateConfig `yaml:"delegates"`
	// Roles are what the catalog's scopes are minted from, by name.
	Roles map[string]RoleConfig `yaml:"roles"`
	// Guard limits how often an agent may ask.
	Guard GuardConfig `yaml:"guard"`
	// Approval is step 5's part: the people.
	Approval ApprovalConfig `yaml:"approval"`
	// Floor is what policies can raise and not lower.
	Floor FloorConfig `yaml:"floor"`
	// Drain is how long a broker that is told to stop says so to those who ask for
	// its health, before it takes no more calls. Unset for 5s; 0s for not at all.
	Drain *time.Duration `yaml:"drain"`
	// Metrics is the Prometheus listener, with /healthz and /readyz; empty for none.
	Metrics ListenConfig `yaml:"metrics"`
	// Traces is the OpenTelemetry collector; unset for none.
	Traces TracesConfig `yaml:"traces"`
}

// TracesConfig is the collector's part.
type TracesConfig struct {
	// Endpoint is its OTLP gRPC address, host:port; empty for no traces.
	Endpoint string `yaml:"endpoint"`
	// Insecure is plain text, for a collector on the same host.
	Insecure bool `yaml:"insecure"`
}

// StoreConfig is the store's part.
type StoreConfig struct {
	// Path of the SQLite file.
	Path string `yaml:"path"`
	// Retention is how long grants are kept after their end, to be looked at;
	// closed tasks likewise. Unset for 720h, 0s for ever, else at least 24h. The
	// ledger is never pruned.
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

// LedgerConfig is the ledger's part.
type LedgerConfig struct {
	// KeyFile holds the note signing key; make it with "valetkeyd keygen".
	KeyFile string `yaml:"key_file"`
	// CheckpointFile keeps the newest signed checkpoint, so that a database that
	// was lost or rolled back is not taken for a new one. Keep it apart from the
	// database; the broker writes it. Empty for KeyFile with ".checkpoint".
	CheckpointFile string `yaml:"checkpoint_file"`
	// Listen serves the log as C2SP tlog-tiles over plain HTTP; empty for not at
	// all. Records say who asked for what: keep it to loopback or your auditors.
	Listen string `yaml:"listen"`
}

func (c LedgerConfig) checkpointFile() string {
	if c.CheckpointFile != "" {
		return c.CheckpointFile
	}
	return c.KeyFile + ".checkpoint"
}

// IdentityConfig is step 1's part.
type IdentityConfig struct {
	// WorkloadAPI is SPIRE's socket, "unix:///run/spire/agent.sock".
	WorkloadAPI string `yaml:"workload_api"`
	// ID picks one SVID where the Workload API gives several.
	ID string `yaml:"id"`
	// CertFile, KeyFile and BundleFile stand in for a Workload API.
	CertFile   string `yaml:"cert_file"`
	KeyFile    string `yaml:"key_file"`
	BundleFile string `yaml:"bundle_file"`
	// FederatedBundleFiles are other trust domains' bundles, by domain.
	FederatedBundleFiles map[string]string `yaml:"federated_bundle_files"`
	// TrustDomains are those whose SVIDs are accepted.
	TrustDomains []string `yaml:"trust_domains"`
	// PathTemplates are the paths that agents have, "/agent/{user}/{session}".
	PathTemplates []string `yaml:"path_templates"`
	// JWT is the listener for callers behind a proxy that ends TLS.
	JWT JWTConfig `yaml:"jwt"`
}

// JWTConfig is a listener where callers come by JWT-SVID alone.
type JWTConfig struct {
	// Listen is its address; empty for no such listener.
	Listen string `yaml:"listen"`
	// Audience must be in the JWT-SVID.
	Audience string `yaml:"audience"`
}

// DelegateConfig is one workload that has authenticated its own users, and speaks
// for the agents that they are. Whoever has its SVID can do what they can.
type DelegateConfig struct {
	// ID is its whole SPIFFE ID. It need not fit a path template, and cannot be an
	// operator's.
	ID string `yaml:"id"`
	// Agents are path templates of those it may speak for, such as
	// "/agent/{user}/vault". They must fit identity.path_templates too.
	Agents []string `yaml:"agents"`
}

// RoleConfig is one role at one provider.
type RoleConfig struct {
	// Provider is "aws" or "vault".
	Provider string `yaml:"provider"`
	// Ceiling is a file, or a list of files, of what the role has. For AWS that is the
	// role's own policies, as IAM has them; for Vault, the most that the broker may
	// give or read, as a policy in HCL. Paths are relative to this file. The catalog
	// loads only where no scope can give more, whatever its parameters. Required:
	// "unproven", in so many words, has it load without such a proof.
	Ceiling Ceiling `yaml:"ceiling"`

	// RoleARN, ExternalID, Region, MaxSession and Chained are AWS's.
	RoleARN    string        `yaml:"role_arn"`
	ExternalID string        `yaml:"external_id"`
	Region     string        `yaml:"region"`
	MaxSession time.Duration `yaml:"max_session"`
	// Chained says that the broker itself runs on an assumed role: 1 h at most.
	Chained bool `yaml:"chained"`
	// Endpoint is the STS server; empty for AWS's own.
	Endpoint string `yaml:"endpoint"`
	// S3Endpoint is told to agents; empty for AWS's own.
	S3Endpoint string `yaml:"s3_endpoint"`
	// Dialect is "aws" or "s3-compatible".
	Dialect string `yaml:"dialect"`
	// WebIdentityAudience makes the broker use its own JWT-SVID instead of AWS
	// credentials. Empty for the SDK's default chain.
	WebIdentityAudience string `yaml:"web_identity_audience"`
	// Revoke is how live AWS sessions are ended early; unset leaves them to their deadline.
	Revoke RevokeConfig `yaml:"revoke"`

	// Address and Namespace are Vault's.
	Address   string `yaml:"address"`
	Namespace string `yaml:"namespace"`
	// CAFile holds the PEM certificates that Vault's is verified by, as VAULT_CACERT
	// does; empty for the system's. It is read at start.
	CAFile string `yaml:"ca_file"`
	// Auth is how the broker logs in to Vault.
	Auth VaultAuthConfig `yaml:"auth"`
}

// RevokeConfig ends AWS sessions by deny entries in an inline policy of the role. The broker's
// own AWS credentials then need iam:GetRole, iam:GetRolePolicy, iam:PutRolePolicy and
// iam:DeleteRolePolicy on this one role, which has to be in their own account. Without the
// permission, sessions end at their deadline and the log says so. See docs/revocation.md.
type RevokeConfig struct {
	// RoleDeny turns it on.
	RoleDeny bool `yaml:"role_deny"`
	// PolicyName of the inline policy, which has to be the broker's alone; each broker that
	// shares the role needs a name of its own. Empty for "valetkey-revoked-sessions".
	PolicyName string `yaml:"policy_name"`
	// RoleCut ends *all* sessions of the role, other agents' too, when the policy is full
	// (about 180 entries). Otherwise a session that finds no room ends at its deadline.
	RoleCut bool `yaml:"role_cut"`
	// IAMEndpoint is the IAM server; empty for AWS's own. Required for "s3-compatible".
	IAMEndpoint string `yaml:"iam_endpoint"`
}

// VaultAuthConfig is a Vault login.
type VaultAuthConfig struct {
	// Method is "jwt", "cert", "token", or "login" for any other auth method that logs
	// in at auth/MOUNT/login, such as AppRole or Kubernetes. For "cert" the broker's SVID needs a common
	// name, or Vault answers 500: give its SPIRE entry a DNS name ("-dns valetkeyd").
	Method string `yaml:"method"`
	// Mount of the auth method; empty for the method's name.
	Mount string `yaml:"mount"`
	// Role to log in to.
	Role string `yaml:"role"`
	// Audience of the JWT-SVID, for "jwt".
	Audience string `yaml:"audience"`
	// TokenFile holds the token, for "token". It is read at every login.
	TokenFile string `yaml:"token_file"`
	// LoginFile holds a JSON object of texts to log in with, for "login", such as
	// {"role_id": "...", "secret_id": "..."}. It is read at every login.
	LoginFile string `yaml:"login_file"`
}

// GuardConfig is step 4's part.
type GuardConfig struct {
	// RatePerMinute is each agent's in the long run; 0 for 60.
	RatePerMinute int `yaml:"rate_per_minute"`
	// Burst is each agent's at once; 0 for 20.
	Burst int `yaml:"burst"`
	// DelegateRatePerMinute and DelegateBurst are one delegate's over all the
	// agents it speaks for, who keep their own limits; 0 for ten times those.
	DelegateRatePerMinute int `yaml:"delegate_rate_per_minute"`
	DelegateBurst         int `yaml:"delegate_burst"`
	// RateBy names the attributes of the path templates that make one agent of
	// these limits' kind, such as [user]. Empty for all but "session": a new
	// session then is no new budget.
	RateBy []string `yaml:"rate_by"`
	// Watches is how many grants one agent may follow at once; 0 for 64.
	Watches int `yaml:"watches"`
}

// FloorConfig is what an operator has to say in so many words.
type FloorConfig struct {
	// DestructiveApprovals is how many people destructive and admin work needs,
	// whatever the policies say. Unset for 2; 0 is unattended destruction.
	DestructiveApprovals *int `yaml:"destructive_approvals"`
}

// ListenConfig is a listener.
type ListenConfig struct {
	// Listen is its address; empty for none.
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

func (c Config) delegates() (out []identity.Delegate) {
	for _, d := range c.Delegates {
		out = append(out, identity.Delegate{ID: d.ID, Agents: d.Agents})
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
			need(slices.Contains([]string{string(iam.DialectAWS), string(iam.DialectS3)}, r.Dialect), "roles.%s.dialect: %q is not aws or s3-compatible", name, r.Dialect)
			need(r.Revoke.RoleDeny || r.Revoke == RevokeConfig{}, "roles.%s.revoke: says how, but role_deny is not true", name)
		case "vault":
			need(r.Address != "", "roles.%s.address is required", name)
			need(slices.Contains([]string{"jwt", "cert", "token", "login"}, r.Auth.Method), "roles.%s.auth.method: %q is not jwt, cert, token or login", name, r.Auth.Method)
			need(r.Revoke == RevokeConfig{}, "roles.%s.revoke is for aws; Vault revokes by accessor and lease", name)
		default:
			need(false, "roles.%s.provider: %q is not aws or vault", name, r.Provider)
		}
		need(len(r.Ceiling) > 0, "roles.%s.ceiling is required: name the file of the role's own policy, or say %q in so many words", name, unproven)
		need(!r.Ceiling.unproven() || len(r.Ceiling) == 1, "roles.%s.ceiling: %q goes with no file; a file of that name is %q", name, unproven, "./"+unproven)
	}
	need(c.Guard.Watches >= 0, "guard.watches: %d is less than 0", c.Guard.Watches)
	need(c.Drain == nil || *c.Drain >= 0 && *c.Drain <= maxDrain, "drain: must be from 0s to %v", maxDrain)
	if _, err := c.board("checked"); err != nil {
		errs = append(errs, err)
	}
	if err := guard.CheckRateBy(c.Guard.RateBy, c.Identity.PathTemplates); err != nil {
		errs = append(errs, fmt.Errorf("guard.%w", err))
	}
	return errors.Join(errs...)
}
