package agent

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/valetkey/valetkey/clients/helper/files"
	"github.com/valetkey/valetkey/clients/helper/serve"
	"github.com/valetkey/valetkey/clients/valetkey"
)

// Quick makes a configuration of one task without a file: for each scope what its
// provider has tools for, in files below dir that are called by the scope's name.
// AWS: NAME.env, NAME.token and NAME.sock; Vault: a proxy with NAME.vault-token. A
// scope that reads a dynamic secret needs a file: its outputs are not to be guessed.
// dir is made, 0700, or has to be this user's alone.
func Quick(ctx context.Context, c *valetkey.Client, dir, name string, task valetkey.TaskSpec, specs []serve.ScopeSpec) (Config, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return Config{}, err
	}
	// Its own: shells are told to read what is in it.
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		return Config{}, fmt.Errorf("making the agent's folder: %w", err)
	}
	if err := files.PrivateFolder(dir); err != nil {
		return Config{}, fmt.Errorf("making the agent's folder: %w", err)
	}
	catalog, err := c.Scopes(ctx)
	if err != nil {
		return Config{}, err
	}
	provider := map[string]string{}
	for _, s := range catalog {
		provider[s.GetName()] = s.GetProvider().Word()
	}
	t := TaskConfig{Name: name, Purpose: task.Purpose, Environment: task.Environment, OnBehalfOf: task.OnBehalfOf}
	for _, s := range specs {
		sc := ScopeConfig{Name: s.Name, Scope: s.Scope, Params: map[string]Values{}, TTL: s.TTL, Why: s.Why, Wait: s.Wait}
		for k, v := range s.Params {
			sc.Params[k] = v
		}
		at := filepath.Join(dir, s.Called())
		switch p := provider[s.Scope]; p {
		case "aws":
			sc.Outputs.Container = &ContainerOutput{TokenFile: at + ".token", EnvFile: at + ".env"}
			sc.Outputs.Process = &ProcessOutput{Socket: at + ".sock"}
		case "vault":
			sc.Outputs.VaultProxy = &VaultProxyOutput{TokenFile: at + ".vault-token"}
		case "":
			return Config{}, fmt.Errorf("there is no scope %q: see valetkey scopes", s.Scope)
		default:
			return Config{}, fmt.Errorf("scope %s is of provider %q, which has no outputs here: use a configuration file", s.Scope, p)
		}
		t.Scopes = append(t.Scopes, sc)
	}
	out := Config{Socket: filepath.Join(dir, "agent.sock"), Tasks: []TaskConfig{t}}
	return out, out.check()
}
