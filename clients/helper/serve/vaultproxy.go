package serve

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"net/url"

	"github.com/hashicorp/vault/api"

	"github.com/valetkey/valetkey/clients/valetkey"
)

const (
	vaultToken     = "X-Vault-Token" //nolint:gosec // a header's name
	vaultNamespace = "X-Vault-Namespace"
)

// vaultRequest is a header that Vault's own tools send, and that nobody can make a
// confused program send for them: api.RequestHeaderName, and require_request_header
// of Vault Agent, whose answer this proxy gives too.
const vaultRequest = api.RequestHeaderName

// ErrNoVault is a scope that gives something else.
var ErrNoVault = errors.New("this scope gives no Vault token")

// destination is where one request goes, and with what.
type destination struct {
	secret *valetkey.VaultSecret
	url    *url.URL
}

type destinationKey struct{}

// VaultProxy passes Vault's API on with the token of a source. secret is what
// callers have to send for a token. Where it is empty they need none: the gate alone
// tells who they are, and the header of Vault's tools that they mean Vault.
func VaultProxy(src Source, secret string, log *slog.Logger) (http.Handler, error) {
	// How to trust Vault is read as Vault's own tools do (VAULT_CACERT and the like).
	cfg := api.DefaultConfig()
	if cfg.Error != nil {
		return nil, fmt.Errorf("configuring the way to Vault: %w", cfg.Error)
	}
	transport, ok := cfg.HttpClient.Transport.(*http.Transport)
	if !ok {
		return nil, fmt.Errorf("configuring the way to Vault: %T is no transport of net/http", cfg.HttpClient.Transport)
	}
	transport.Proxy = aroundLoopback(transport.Proxy)
	proxy := &httputil.ReverseProxy{
		Transport: transport,
		ErrorLog:  slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		Rewrite: func(r *httputil.ProxyRequest) {
			d, ok := r.In.Context().Value(destinationKey{}).(destination)
			if !ok {
				return // the handler below has set it
			}
			s, to := d.secret, d.url
			r.SetURL(to)
			r.Out.Host = to.Host
			r.Out.Header.Del("Authorization")
			r.Out.Header.Del(vaultNamespace)
			r.Out.Header.Set(vaultToken, s.Token)
			if s.Namespace != "" {
				r.Out.Header.Set(vaultNamespace, s.Namespace)
			}
		},
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			log.WarnContext(r.Context(), "passing a request on to Vault failed", slog.String("error", err.Error()))
			vaultError(w, http.StatusBadGateway, "valetkey: Vault does not answer: "+err.Error())
		},
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if secret != "" && !same(r.Header.Get(vaultToken), secret) && !same(r.Header.Get("Authorization"), "Bearer "+secret) {
			vaultError(w, http.StatusForbidden, "valetkey: this proxy has another VAULT_TOKEN; a task that is over has none")
			return
		}
		if secret == "" && r.Header.Get(vaultRequest) != "true" {
			vaultError(w, http.StatusPreconditionFailed, "valetkey: send the header "+vaultRequest+": true, as Vault's command and libraries do")
			return
		}
		to, err := vaultOf(r.Context(), src)
		if err != nil {
			code, text := refusalStatus(err)
			vaultError(w, code, "valetkey: "+text)
			return
		}
		proxy.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), destinationKey{}, to)))
	}), nil
}

// aroundLoopback is a proxy, such as that of VAULT_HTTP_PROXY, but for loopback: what is
// sent there, tokens too, is nobody else's.
func aroundLoopback(proxy func(*http.Request) (*url.URL, error)) func(*http.Request) (*url.URL, error) {
	return func(r *http.Request) (*url.URL, error) {
		ip, err := netip.ParseAddr(r.URL.Hostname())
		if proxy == nil || r.URL.Hostname() == "localhost" || err == nil && ip.IsLoopback() {
			return nil, nil
		}
		return proxy(r)
	}
}

func vaultOf(ctx context.Context, src Source) (destination, error) {
	cred, err := held(ctx, src)
	if err != nil {
		return destination{}, err
	}
	s := cred.Reveal().Vault
	if s == nil || s.Token == "" {
		return destination{}, ErrNoVault
	}
	to, err := url.Parse(s.Address)
	if err != nil || to.Host == "" {
		return destination{}, fmt.Errorf("the broker names no address of Vault: %w", ErrNoVault)
	}
	return destination{secret: s, url: to}, nil
}

// vaultError is an error as Vault's API has them, so that its tools show the text.
func vaultError(w http.ResponseWriter, code int, message string) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(map[string][]string{"errors": {message}}) // the caller is gone otherwise
}
