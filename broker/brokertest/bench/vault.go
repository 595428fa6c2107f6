package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/valetkey/valetkey/broker/brokertest/servers"
)

// vaultCalls calls a Vault's HTTP API with a token.
func (t *bench) vaultCalls(v servers.VaultServer, token string) func(ctx context.Context, method, path string, in, out any) error {
	transport := &http.Transport{MaxIdleConns: maxConns, MaxIdleConnsPerHost: maxConns}
	if v.CAFile != "" {
		ca, err := os.ReadFile(v.CAFile)
		t.must(err)
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(ca)
		transport.TLSClientConfig = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS13}
	}
	client := &http.Client{Transport: transport}
	return func(ctx context.Context, method, path string, in, out any) error {
		raw, err := json.Marshal(in)
		if err != nil {
			return err
		}
		req, err := http.NewRequestWithContext(ctx, method, v.Addr+"/v1/"+path, bytes.NewReader(raw))
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

// vaultAsRun is a Vault as people run it: Raft on disk, TLS, and an audit device that writes a file.
func (t *bench) vaultAsRun() servers.VaultServer {
	v := servers.VaultAsRun(t)
	call := t.vaultCalls(v, "")
	var born struct {
		Keys      []string `json:"keys"`
		RootToken string   `json:"root_token"`
	}
	t.must(call(t.ctx, http.MethodPut, "sys/init", map[string]any{"secret_shares": 1, "secret_threshold": 1}, &born))
	t.must(call(t.ctx, http.MethodPut, "sys/unseal", map[string]any{"key": born.Keys[0]}, nil))
	v.RootToken = born.RootToken
	call = t.vaultCalls(v, v.RootToken)
	audit := map[string]any{"type": "file", "options": map[string]any{"file_path": filepath.Join(t.TempDir(), "audit.log")}}
	err := call(t.ctx, http.MethodPut, "sys/audit/file", audit, nil)
	for range 100 { // until it is the active one
		if err == nil {
			break
		}
		time.Sleep(100 * time.Millisecond)
		err = call(t.ctx, http.MethodPut, "sys/audit/file", audit, nil)
	}
	t.must(err)
	return v
}

// asRunCaller is vaultCaller of a Vault as people run it.
func (t *bench) asRunCaller(u upstream) func(int) (op, error) {
	if t.ways != "" {
		return nil
	}
	return t.vaultCaller(t.vaultAsRun(), u, "canned")
}

// vaultCaller asks Vault's own AWS engine for a session of a role that is set up
// with the same document.
func (t *bench) vaultCaller(s servers.VaultServer, u upstream, mount string) func(int) (op, error) {
	if t.ways != "" {
		return nil
	}
	call := t.vaultCalls(s, s.RootToken)
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
