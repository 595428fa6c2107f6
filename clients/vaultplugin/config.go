package vaultplugin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/valetkey/valetkey/clients/valetkey"
)

const configKey = "config"

// config is what an operator writes. It holds no secret: keys stay in the Workload
// API or in files.
type config struct {
	// Address is the broker's host:port, and BrokerID the SPIFFE ID it must have.
	Address  string `json:"address"`
	BrokerID string `json:"broker_id"`
	// WorkloadAPI is where the plugin's own SVID comes from, or the three files are.
	WorkloadAPI string `json:"workload_api,omitempty"`
	CertFile    string `json:"cert_file,omitempty"`
	KeyFile     string `json:"key_file,omitempty"`
	BundleFile  string `json:"bundle_file,omitempty"`
	// LedgerKey is the ledger's verifier key.
	LedgerKey string `json:"ledger_key"`
	// AgentTemplate makes a SPIFFE ID of the caller's entity.
	AgentTemplate string `json:"agent_template"`
	// Environment is every task's; empty lets callers say.
	Environment string `json:"environment,omitempty"`
}

func loadConfig(ctx context.Context, s logical.Storage) (*config, error) {
	entry, err := s.Get(ctx, configKey)
	if err != nil {
		return nil, fmt.Errorf("reading the mount's config: %w", err)
	}
	if entry == nil {
		return nil, nil //nolint:nilnil // Vault's own way to say that there is none
	}
	var c config
	if err := json.Unmarshal(entry.Value, &c); err != nil {
		return nil, fmt.Errorf("reading the mount's config: %w", err)
	}
	return &c, nil
}

func (c *config) store(ctx context.Context, s logical.Storage) error {
	entry, err := logical.StorageEntryJSON(configKey, c)
	if err != nil {
		return fmt.Errorf("encoding the mount's config: %w", err)
	}
	return s.Put(ctx, entry)
}

// check finds every fault at once.
func (c *config) check() error {
	var errs []error
	need := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	_, _, err := net.SplitHostPort(c.Address)
	need(err == nil, "address: %q is not the broker's host:port", c.Address)
	_, err = spiffeid.FromString(c.BrokerID)
	need(err == nil, "broker_id: %q is not the SPIFFE ID that the broker must have: %v", c.BrokerID, err)
	files := c.CertFile != "" || c.KeyFile != "" || c.BundleFile != ""
	need(!files || c.CertFile != "" && c.KeyFile != "" && c.BundleFile != "", "cert_file, key_file and bundle_file belong together")
	need(files != (c.WorkloadAPI != ""), "name either workload_api or cert_file, key_file and bundle_file: where the plugin's own SVID comes from")
	need(c.LedgerKey != "", "ledger_key is required: \"valetkeyd keygen\" printed it")
	_, err = parseAgentTemplate(c.AgentTemplate)
	need(err == nil, "agent_template: %v", err)
	need(c.Environment == "" || environmentName.MatchString(c.Environment), "environment: %q is not of %s", c.Environment, environmentName)
	return errors.Join(errs...)
}

// connect waits for the plugin's own SVID, and makes a client of the broker. The
// broker itself is not asked anything yet.
func (c *config) connect(ctx context.Context) (*link, error) {
	ctx, cancel := context.WithTimeout(ctx, connectLimit)
	defer cancel()
	id, err := spiffeid.FromString(c.BrokerID)
	if err != nil {
		return nil, fmt.Errorf("reading broker_id: %w", err)
	}
	l := &link{cfg: c}
	opts := []valetkey.Option{
		valetkey.WithAddr(c.Address), valetkey.WithBrokerID(id), valetkey.WithLedgerKey(c.LedgerKey),
		valetkey.WithRetryFor(retryFor), valetkey.WithLogger(quiet()),
	}
	if c.WorkloadAPI == "" {
		files := &fileIdentity{certFile: c.CertFile, keyFile: c.KeyFile, bundleFile: c.BundleFile}
		if _, err := files.GetX509SVID(); err != nil {
			return nil, fmt.Errorf("%w: %w", errOwnSVID, err)
		}
		l.identity = files
	} else {
		source, err := c.fetch(ctx)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", errOwnSVID, err)
		}
		l.owned, l.identity = source, source
	}
	if l.client, err = valetkey.New(ctx, append(opts, valetkey.WithIdentity(l.identity))...); err != nil {
		if l.owned != nil {
			err = errors.Join(err, l.owned.Close())
		}
		return nil, err
	}
	return l, nil
}
