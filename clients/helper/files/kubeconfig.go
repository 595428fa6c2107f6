package files

import (
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/goccy/go-yaml"
)

// Kubeconfig is kubectl's file: kubernetes.io/docs/reference/config-api/kubeconfig.v1/.
// It holds no secret, and says whom to ask for one.
type Kubeconfig struct {
	APIVersion     string             `yaml:"apiVersion"`
	Kind           string             `yaml:"kind"`
	CurrentContext string             `yaml:"current-context"`
	Clusters       []kubeconfigServer `yaml:"clusters"`
	Contexts       []kubeconfigPlace  `yaml:"contexts"`
	Users          []kubeconfigUser   `yaml:"users"`
}

type kubeconfigServer struct {
	Name    string `yaml:"name"`
	Cluster struct {
		Server        string `yaml:"server"`
		Authority     string `yaml:"certificate-authority,omitempty"`
		AuthorityData string `yaml:"certificate-authority-data,omitempty"`
		TLSServerName string `yaml:"tls-server-name,omitempty"`
	} `yaml:"cluster"`
}

type kubeconfigPlace struct {
	Name    string `yaml:"name"`
	Context struct {
		Cluster   string `yaml:"cluster"`
		User      string `yaml:"user"`
		Namespace string `yaml:"namespace,omitempty"`
	} `yaml:"context"`
}

type kubeconfigUser struct {
	Name string `yaml:"name"`
	User struct {
		Exec kubeconfigExec `yaml:"exec"`
	} `yaml:"user"`
}

// kubeconfigExec has the two keys that v1 wants said.
type kubeconfigExec struct {
	APIVersion         string   `yaml:"apiVersion"`
	Command            string   `yaml:"command"`
	Args               []string `yaml:"args"`
	InteractiveMode    string   `yaml:"interactiveMode"`
	ProvideClusterInfo bool     `yaml:"provideClusterInfo"`
}

// ExecVersion is that of the exec plugins of kubectl, from 1.22 on.
const ExecVersion = "client.authentication.k8s.io/v1"

// kubeArgs have this program ask a socket.
func kubeArgs(socket string) []string { return []string{"agent", "credential", "--socket", socket} }

// NewKubeconfig has one context, whose user has program ask the socket.
func NewKubeconfig(name, program, socket string, c KubeCluster) Kubeconfig {
	server, place, user := kubeconfigServer{Name: name}, kubeconfigPlace{Name: name}, kubeconfigUser{Name: name}
	server.Cluster.Server, server.Cluster.TLSServerName = c.Server, c.TLSServerName
	server.Cluster.Authority, server.Cluster.AuthorityData = c.CertificateAuthority, c.CertificateAuthorityData
	place.Context.Cluster, place.Context.User, place.Context.Namespace = name, name, c.Namespace
	user.User.Exec = kubeconfigExec{APIVersion: ExecVersion, Command: program, Args: kubeArgs(socket), InteractiveMode: "Never"}
	return Kubeconfig{
		APIVersion: "v1", Kind: "Config", CurrentContext: name,
		Clusters: []kubeconfigServer{server}, Contexts: []kubeconfigPlace{place}, Users: []kubeconfigUser{user},
	}
}

// KubeconfigFile is a kubeconfig and the socket that it asks, by which it is known.
type KubeconfigFile struct{ File, Socket string }

// ours says whether the file is the agent's own: all that it can do is ask the
// socket. Which namespace it names and what else "kubectl config" has changed does
// not count. A file that is not there is an error, and a link is nobody's.
func (n KubeconfigFile) ours() (bool, error) {
	if info, err := os.Lstat(n.File); err != nil || !info.Mode().IsRegular() {
		return false, err
	}
	raw, err := os.ReadFile(n.File)
	if err != nil {
		return false, err
	}
	var k Kubeconfig
	err = yaml.Unmarshal(raw, &k)
	return err == nil && len(k.Users) == 1 && slices.Equal(k.Users[0].User.Exec.Args, kubeArgs(n.Socket)), nil
}

// Write writes the file, where there is none or one of ours.
func (n KubeconfigFile) Write(k Kubeconfig, owner int) error {
	text, err := yaml.Marshal(k)
	if err != nil {
		return fmt.Errorf("writing %s: %w", n.File, err)
	}
	switch ours, err := n.ours(); {
	case errors.Is(err, os.ErrNotExist):
	case err != nil:
		return fmt.Errorf("writing %s: %w", n.File, err)
	case !ours:
		return fmt.Errorf("writing %s: there is a file that is not the agent's; remove it or name another", n.File)
	}
	return Write(n.File, text, owner)
}

// Remove removes the file, where it is ours.
func (n KubeconfigFile) Remove(owner int) error {
	ours, err := n.ours()
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("removing %s: %w", n.File, err)
	case !ours:
		return nil
	}
	return Remove(n.File, owner)
}
