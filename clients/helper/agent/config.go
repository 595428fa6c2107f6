package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/valetkey/valetkey/clients/helper/files"
	"github.com/valetkey/valetkey/clients/helper/serve"
	"github.com/valetkey/valetkey/clients/valetkey"
)

// Config is the agent's file. An unknown key is an error. Paths are absolute, or
// below the folder of the file.
type Config struct {
	// Socket is where "valetkey agent status" asks; empty for none. Its folder is
	// made where it is not there; nobody but this user and root may write in it.
	Socket string `yaml:"socket"`
	// Listen is the loopback address of the container credentials endpoint, for all
	// tasks; empty for 127.0.0.1 and a port that is free. Name a port where clients
	// are configured by hand.
	Listen string `yaml:"listen"`
	// UIDs are the users that may ask, on sockets and loopback; empty for the
	// agent's own. In a pod the application may run as another user.
	UIDs []int `yaml:"uids"`
	// Tasks are opened when the agent starts, and closed when it stops.
	Tasks []TaskConfig `yaml:"tasks"`
}

// TaskConfig is one task.
type TaskConfig struct {
	// Name is what the status and addresses call it: letters, digits, "-", "_" and
	// ".". Unique.
	Name string `yaml:"name"`
	// Purpose, Environment and OnBehalfOf are the task's, for the broker.
	Purpose     string `yaml:"purpose"`
	Environment string `yaml:"environment"`
	OnBehalfOf  string `yaml:"on_behalf_of"`
	// Scopes are what the task has. At least one.
	Scopes []ScopeConfig `yaml:"scopes"`
}

// ScopeConfig is one scope of a task, and where its credential is to be found.
type ScopeConfig struct {
	// Name is unique in the task; empty for the scope's own.
	Name string `yaml:"name"`
	// Scope and Params are what is asked for. A parameter is a text or a list.
	Scope  string            `yaml:"scope"`
	Params map[string]Values `yaml:"params"`
	// TTL is the life wished for; unset for the scope's default.
	TTL time.Duration `yaml:"ttl"`
	// Why is for people. Wait waits for them where they have to approve, and has the
	// credential as soon as they do; without it that takes some seconds longer.
	Why  string `yaml:"why"`
	Wait bool   `yaml:"wait"`
	// Outputs are where the credential is to be found. At least one.
	Outputs Outputs `yaml:"outputs"`
}

// Outputs are where a credential is to be found. Unset ones are not there.
type Outputs struct {
	// Container is the AWS container credentials endpoint.
	Container *ContainerOutput `yaml:"container"`
	// Process is a socket for "valetkey agent credential", and with a profile an AWS
	// profile that asks it.
	Process *ProcessOutput `yaml:"process"`
	// IMDS is the instance metadata service, version 2. Linux alone.
	IMDS *IMDSOutput `yaml:"imds"`
	// VaultProxy is a Vault that needs no token.
	VaultProxy *VaultProxyOutput `yaml:"vault_proxy"`
	// VaultSink is a file with the Vault token, 0600.
	VaultSink *FileOutput `yaml:"vault_sink"`
	// PGPass is a line in a libpq password file.
	PGPass *PGPassOutput `yaml:"pgpass"`
	// Kubeconfig is a file for kubectl, which asks a socket for a token.
	Kubeconfig *KubeconfigOutput `yaml:"kubeconfig"`
	// Templates are files that are written from the credential, 0600.
	Templates []TemplateOutput `yaml:"templates"`
}

// ContainerOutput is the AWS container credentials endpoint for one scope.
type ContainerOutput struct {
	// TokenFile gets the authorization token, 0600, without a line's end: what
	// AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE names.
	TokenFile string `yaml:"token_file"`
	// EnvFile gets the variables for a shell or a unit's EnvironmentFile, 0600;
	// empty for none.
	EnvFile string `yaml:"env_file"`
}

// ProcessOutput is a socket that answers as credential_process has to.
type ProcessOutput struct {
	// Socket is its path, in such a folder as the agent's own.
	Socket string `yaml:"socket"`
	// Profile is a profile to keep in ConfigFile; empty for none.
	Profile string `yaml:"profile"`
	// ConfigFile is the AWS shared config file that the profile is kept in, between
	// two lines of comment. What others have in it stays.
	ConfigFile string `yaml:"config_file"`
}

// IMDSOutput is a metadata service for one scope.
type IMDSOutput struct {
	// Listen is a loopback address, for AWS_EC2_METADATA_SERVICE_ENDPOINT.
	Listen string `yaml:"listen"`
}

// VaultProxyOutput is a local Vault for one scope.
type VaultProxyOutput struct {
	// Listen is a loopback address, for VAULT_ADDR, where whose a connection is
	// tells who may ask. Linux alone, unless there is a TokenFile. Without one every
	// request needs the header X-Vault-Request: true, which Vault's own tools send.
	Listen string `yaml:"listen"`
	// TokenFile gets a local token that callers then have to send as VAULT_TOKEN,
	// 0600; empty for none. It is worth nothing to Vault.
	TokenFile string `yaml:"token_file"`
}

// FileOutput is a file.
type FileOutput struct {
	// File is its path.
	File string `yaml:"file"`
}

// PGPassOutput is a line of a password file.
type PGPassOutput struct {
	// File is the password file. What others have in it stays.
	File string `yaml:"file"`
	// Host, Port and Database say which server; empty and zero for any.
	Host     string `yaml:"host"`
	Port     int    `yaml:"port"`
	Database string `yaml:"database"`
}

// KubeconfigOutput is a kubeconfig with one cluster, and the socket that its user's
// exec entry asks. No token is in it.
type KubeconfigOutput struct {
	// File is the kubeconfig, 0600: a whole file, since it has to be the agent's own.
	// One that is not is neither replaced nor removed.
	File string `yaml:"file"`
	// Socket is where kubectl gets its token, by "valetkey agent credential".
	Socket string `yaml:"socket"`

	files.KubeCluster `yaml:",inline"`
}

// works says why a credential has no token for the cluster; nil for no cluster.
func (k *KubeconfigOutput) works(ctx context.Context, cred valetkey.Credential) error {
	if k == nil {
		return nil
	}
	return serve.CheckKube(ctx, k.KubeCluster, cred)
}

func (k *KubeconfigOutput) file() files.KubeconfigFile {
	return files.KubeconfigFile{File: k.File, Socket: k.Socket}
}

// TemplateOutput is a file that is written by text/template from a TemplateData.
type TemplateOutput struct {
	// Source is the template's file; or Text is the template itself.
	Source string `yaml:"source"`
	Text   string `yaml:"text"`
	// File is what is written.
	File string `yaml:"file"`
}

// Values is one text or a list of them.
type Values []string

// UnmarshalYAML implements yaml.InterfaceUnmarshaler.
func (v *Values) UnmarshalYAML(unmarshal func(any) error) error {
	var list []string
	if err := unmarshal(&list); err == nil {
		*v = list
		return nil
	}
	var one string
	if err := unmarshal(&one); err != nil {
		return err
	}
	*v = Values{one}
	return nil
}

func (c ScopeConfig) spec() serve.ScopeSpec {
	s := serve.ScopeSpec{Name: c.Name, Scope: c.Scope, Params: valetkey.Params{}, TTL: c.TTL, Why: c.Why, Wait: c.Wait}
	for k, v := range c.Params {
		s.Params[k] = v
	}
	return s
}

func (t TaskConfig) task() valetkey.TaskSpec {
	return valetkey.TaskSpec{Purpose: t.Purpose, Environment: t.Environment, OnBehalfOf: t.OnBehalfOf}
}

// Load reads and checks a configuration file.
func Load(path string) (Config, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return Config{}, fmt.Errorf("reading the configuration: %w", err)
	}
	var c Config
	dec := yaml.NewDecoder(bytes.NewReader(raw), yaml.Strict())
	if err := dec.Decode(&c); err != nil {
		return Config{}, fmt.Errorf("reading %s: %w", path, err)
	}
	if err := dec.Decode(new(Config)); !errors.Is(err, io.EOF) {
		return Config{}, fmt.Errorf("reading %s: more than one document", path)
	}
	dir, err := filepath.Abs(filepath.Dir(path))
	if err != nil {
		return Config{}, err
	}
	c.resolve(dir)
	if err := c.check(); err != nil {
		return Config{}, fmt.Errorf("checking %s: %w", path, err)
	}
	return c, nil
}
