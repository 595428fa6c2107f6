package vault

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/valetkey/valetkey/broker/mint"
	"github.com/valetkey/valetkey/broker/mint/internal/upstream"
)

// Method is how the broker logs in.
type Method string

// The methods of login.
const (
	MethodToken Method = "token"
	MethodJWT   Method = "jwt"
	MethodCert  Method = "cert"
	// MethodLogin is any other auth method that logs in at auth/MOUNT/login with a
	// few words: AppRole, Kubernetes, and so on.
	MethodLogin Method = "login"
)

const (
	defaultWrapTTL = 5 * time.Minute
	defaultSettle  = 15 * time.Second
)

// Auth is how the broker logs in to Vault.
type Auth struct {
	// Method is required.
	Method Method
	// Mount of the auth method; empty means the method's name.
	Mount string
	// Role to log in to; required for jwt, optional for cert.
	Role string
	// Token returns the broker's token; required for MethodToken. It is asked again when
	// Vault stops accepting the last one.
	Token func(ctx context.Context) (string, error)
	// JWT returns a fresh JWT-SVID for the audience; required for MethodJWT, with Audience.
	JWT      func(ctx context.Context, audience string) (string, error)
	Audience string
	// Login returns what to log in with, such as role_id and secret_id; required for
	// MethodLogin. It is asked at every login.
	Login func(ctx context.Context) (map[string]string, error)
}

// Config is one role at one Vault.
type Config struct {
	// Role is the name orders call it by. Required.
	Role string
	// Address is Vault's URL. Required.
	Address string
	// Namespace is for Vault Enterprise; empty means root.
	Namespace string
	// Auth is how the broker logs in. Required.
	Auth Auth
	// TLS for the connection; nil means the system's roots. For MethodCert it holds the
	// broker's SVID (GetClientCertificate, so that it rotates). Vault's cert method makes the
	// certificate's common name the caller's alias, and answers 500 where there is none:
	// SPIRE gives an SVID one when its entry has a DNS name.
	TLS *tls.Config
	// TokenRole creates tokens by auth/token/create/TokenRole; empty means create-orphan.
	TokenRole string
	// Mounts declare secrets engines by their path, "database/". A dynamic secret of any other
	// mount is given out only where its data says that it ends by itself before the grant does.
	Mounts map[string]Mount
	// MaxTTL is the longest life given; 0 means no limit of ours. Vault has its own.
	MaxTTL time.Duration
	// WrapTTL is how long a wrapping token can be unwrapped; 0 means 5 min.
	WrapTTL time.Duration
	// Permits verifies and spends permits; shared by all Minters of the process. Required.
	Permits *mint.Verifier
	// Timeout bounds one Mint or Revoke; 0 means 5 s.
	Timeout time.Duration
	// Settle is how long a probe waits for a target to know a new secret, and how long for it to
	// refuse a revoked one; 0 means 15 s. AWS takes seconds to learn of a new access key.
	Settle time.Duration
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// Minter mints at one Vault. Safe for concurrent use.
type Minter struct {
	cfg    Config
	client *api.Client
	login  session
	up     *upstream.Upstream

	engines engines
	holders holders
}

var _ mint.Minter = (*Minter)(nil)

// New checks the configuration. It calls no server: the first Mint logs in.
func New(_ context.Context, cfg Config) (*Minter, error) {
	if err := cfg.check(); err != nil {
		return nil, fmt.Errorf("configuring Vault role %q: %w", cfg.Role, err)
	}
	if cfg.Auth.Mount == "" {
		cfg.Auth.Mount = string(cfg.Auth.Method)
	}
	if cfg.WrapTTL <= 0 {
		cfg.WrapTTL = defaultWrapTTL
	}
	if cfg.Settle <= 0 {
		cfg.Settle = defaultSettle
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	transport := &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		TLSClientConfig:     cfg.TLS.Clone(),
		MaxIdleConnsPerHost: 256,
		IdleConnTimeout:     90 * time.Second,
		ForceAttemptHTTP2:   true,
	}
	client, err := api.NewClient(&api.Config{
		Address:    cfg.Address,
		HttpClient: &http.Client{Transport: transport},
		// Repeating is this package's decision.
		MaxRetries: 0,
	})
	if err != nil {
		return nil, fmt.Errorf("configuring Vault role %q: %w", cfg.Role, err)
	}
	// The library reads VAULT_TOKEN and VAULT_NAMESPACE: the configuration alone counts.
	client.ClearToken()
	client.ClearNamespace()
	if cfg.Namespace != "" {
		client.SetNamespace(cfg.Namespace)
	}
	m := &Minter{cfg: cfg, client: client, up: upstream.New("Vault role "+cfg.Role, cfg.Timeout)}
	m.login.lock = make(chan struct{}, 1)
	return m, nil
}

func (c Config) check() error {
	var errs []error
	if c.Role == "" {
		errs = append(errs, errors.New("a role is required"))
	}
	if u, err := url.Parse(c.Address); err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		errs = append(errs, errors.New("address is not an http or https URL"))
	}
	if c.Permits == nil {
		errs = append(errs, errors.New("a permit verifier is required"))
	}
	if strings.Contains(c.TokenRole, "/") || strings.Contains(c.Auth.Mount, "..") {
		errs = append(errs, errors.New("token role or mount is not a name"))
	}
	errs = append(errs, CheckMounts(c.Mounts)...)
	switch c.Auth.Method {
	case MethodToken:
		if c.Auth.Token == nil {
			errs = append(errs, errors.New("auth method token needs a token"))
		}
	case MethodJWT:
		if c.Auth.JWT == nil || c.Auth.Role == "" || c.Auth.Audience == "" {
			errs = append(errs, errors.New("auth method jwt needs a role, an audience and a token source"))
		}
	case MethodCert:
		if c.TLS == nil || c.TLS.GetClientCertificate == nil && len(c.TLS.Certificates) == 0 {
			errs = append(errs, errors.New("auth method cert needs a client certificate"))
		}
	case MethodLogin:
		if c.Auth.Login == nil || c.Auth.Mount == "" {
			errs = append(errs, errors.New("auth method login needs a mount and what to log in with"))
		}
	default:
		errs = append(errs, fmt.Errorf("unknown auth method %q", c.Auth.Method))
	}
	return errors.Join(errs...)
}
