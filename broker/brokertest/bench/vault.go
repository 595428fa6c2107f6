package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"

	"github.com/valetkey/valetkey/broker/brokertest/servers"
)

// vaultCalls calls Vault's HTTP API with a token.
func vaultCalls(addr, token string) func(ctx context.Context, method, path string, in, out any) error {
	client := &http.Client{Transport: &http.Transport{MaxIdleConns: maxConns, MaxIdleConnsPerHost: maxConns}}
	return func(ctx context.Context, method, path string, in, out any) error {
		raw, err := json.Marshal(in)
		if err != nil {
			return err
		}
		req, err := http.NewRequestWithContext(ctx, method, addr+"/v1/"+path, bytes.NewReader(raw))
		if err != nil {
			return err
		}
		req.Header.Set("X-Vault-Token", token)
		resp, err := client.Do(req)
		if err != nil {
			return err
		}
		defer func() { _ = resp.Body.Close() }() // it is read to its end
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			return err
		}
		if resp.StatusCode >= http.StatusMultipleChoices {
			return fmt.Errorf("vault %s: %s: %s", path, resp.Status, body)
		}
		if out == nil {
			return nil
		}
		return json.Unmarshal(body, out)
	}
}

// vaultCaller asks Vault's own AWS engine for a session of a role that is set up
// with the same document. Dev mode: memory, plain HTTP, no audit device.
func (t *bench) vaultCaller(s servers.VaultServer, u upstream, mount string) func(int) (op, error) {
	if t.ways != "" {
		return nil
	}
	call := vaultCalls(s.Addr, s.RootToken)
	for path, in := range map[string]any{"sys/mounts/" + mount: map[string]any{"type": "aws"}} {
		t.must(call(t.ctx, http.MethodPost, path, in, nil))
	}
	t.must(call(t.ctx, http.MethodPost, mount+"/config/root", map[string]any{
		"access_key": u.key, "secret_key": u.secret, "region": region,
		"iam_endpoint": u.endpoint, "sts_endpoint": u.endpoint, "sts_region": region, "max_retries": 0,
	}, nil))
	t.must(call(t.ctx, http.MethodPost, mount+"/roles/bench", map[string]any{
		"credential_type": "assumed_role", "role_arns": roleARN, "policy_document": u.policy, "default_sts_ttl": "900s",
	}, nil))
	return func(int) (op, error) {
		return func(ctx context.Context) error {
			var out struct {
				Data struct {
					AccessKey string `json:"access_key"`
				} `json:"data"`
			}
			err := call(ctx, http.MethodPost, mount+"/sts/bench", map[string]any{"ttl": "900s"}, &out)
			if err == nil && out.Data.AccessKey == "" {
				err = fmt.Errorf("vault gave no credentials")
			}
			return err
		}, nil
	}
}
