package vaultplugin

import (
	"context"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
)

// fields are the config's, by the name in its path.
func (c *config) fields() map[string]*string {
	return map[string]*string{
		"address": &c.Address, "broker_id": &c.BrokerID, "workload_api": &c.WorkloadAPI,
		"cert_file": &c.CertFile, "key_file": &c.KeyFile, "bundle_file": &c.BundleFile,
		"ledger_key": &c.LedgerKey, "agent_template": &c.AgentTemplate, "environment": &c.Environment,
	}
}

func (b *backend) pathConfig() *framework.Path {
	field := func(text string) *framework.FieldSchema {
		return &framework.FieldSchema{Type: framework.TypeString, Description: text}
	}
	write := &framework.PathOperation{
		Callback: b.writeConfig, Summary: "Say which broker, who the plugin is, and who its callers are.",
		ForwardPerformanceStandby: true, ForwardPerformanceSecondary: true,
	}
	return &framework.Path{
		Pattern: "config$",
		Fields: map[string]*framework.FieldSchema{
			"address":        field("The broker's host:port."),
			"broker_id":      field("The SPIFFE ID that the broker must have."),
			"workload_api":   field("The Workload API that gives the plugin its own SVID, such as \"unix:///run/spire/agent.sock\"."),
			"cert_file":      field("In place of a Workload API: the SVID's PEM chain. The three files are read again when they change."),
			"key_file":       field("Its PEM PKCS#8 key."),
			"bundle_file":    field("The trust domain's CA certificates as PEM."),
			"ledger_key":     field("The verifier key of the broker's ledger, as \"valetkeyd keygen\" printed it. No credential is handed out whose receipt does not verify."),
			"agent_template": field("Which agent a caller is: a SPIFFE ID with Vault's identity templates, such as \"spiffe://example.org/agent/{{identity.entity.aliases.ACCESSOR.name}}/vault\"; also {{identity.entity.namespace_id}}."),
			"environment":    field("The environment of every task. Empty lets callers say it themselves."),
		},
		Operations: map[logical.Operation]framework.OperationHandler{
			logical.ReadOperation:   &framework.PathOperation{Callback: b.readConfig, Summary: "Show the configuration. It holds no secret."},
			logical.CreateOperation: write,
			logical.UpdateOperation: write,
			logical.DeleteOperation: &framework.PathOperation{
				Callback: b.deleteConfig, Summary: "Forget the configuration. Leases can then not be revoked before their deadline.",
				ForwardPerformanceStandby: true, ForwardPerformanceSecondary: true,
			},
		},
		ExistenceCheck: func(ctx context.Context, req *logical.Request, _ *framework.FieldData) (bool, error) {
			c, err := loadConfig(ctx, req.Storage)
			return c != nil, err
		},
		HelpSynopsis: "Which broker this mount asks, who the plugin is, and who its callers are.",
		HelpDescription: `
A write changes the fields that it names and keeps the others; an empty value
clears one. It is refused where the result is incomplete, or where the plugin's
own SVID cannot be had.

The plugin calls the broker with an SVID of its own, as a delegate: the broker's
configuration lists its SPIFFE ID, and the agents that it may speak for, under
"delegates". agent_template says which agent a caller is. Use the name of an
alias, which the auth method vouches for; who may write entity names or metadata
in Vault can otherwise choose to be another agent.`,
	}
}

func (b *backend) readConfig(ctx context.Context, req *logical.Request, _ *framework.FieldData) (*logical.Response, error) {
	c, err := loadConfig(ctx, req.Storage)
	if err != nil || c == nil {
		return nil, err
	}
	data := map[string]any{}
	for name, value := range c.fields() {
		data[name] = *value
	}
	return &logical.Response{Data: data}, nil
}

func (b *backend) writeConfig(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	c, err := loadConfig(ctx, req.Storage)
	if err != nil {
		return nil, err
	}
	if c == nil {
		c = &config{}
	}
	for name, value := range c.fields() {
		if given, ok := d.GetOk(name); ok {
			*value, _ = given.(string)
		}
	}
	if err := c.check(); err != nil {
		return badRequest(err)
	}
	// A mistake shows now, and not at the first read.
	l, err := c.connect(ctx)
	if err != nil {
		return badRequest(err)
	}
	if err := l.close(); err != nil {
		return nil, err
	}
	if err := c.store(ctx, req.Storage); err != nil {
		return nil, err
	}
	b.forget(true)
	return nil, nil
}

func (b *backend) deleteConfig(ctx context.Context, req *logical.Request, _ *framework.FieldData) (*logical.Response, error) {
	err := req.Storage.Delete(ctx, configKey)
	b.forget(true)
	return nil, err
}
