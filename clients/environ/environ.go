package environ

import (
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// NotGranted is the token that stands where none was granted, so that tools look for
// no other, such as the user's ~/.vault-token. It opens nothing.
const NotGranted = "not-granted"

// Delivery is what one delivery gives. Only what is given is set, and what would win
// over it is cleared.
type Delivery struct {
	AWS        *AWS
	Vault      *Vault
	Postgres   *Postgres
	Kubernetes *Kubernetes
	// Also are variables that no tool reads by itself, such as VALETKEY_TASK.
	Also map[string]string
	// Closed says what stands in the place of what is not given, where nothing else is
	// to be found; nil where other kinds of credentials are nobody's business, as in a
	// shell that holds several deliveries.
	Closed *Closed
}

// AWS is a session: by its keys, at an address, or in a profile.
type AWS struct {
	AccessKeyID, SecretAccessKey, SessionToken string
	Expires                                    time.Time

	// ContainerURI is asked with ContainerToken, or with what is in ContainerTokenFile.
	ContainerURI, ContainerToken, ContainerTokenFile string

	// Profile is one of ConfigFile. Without a profile ConfigFile may still have some;
	// empty for none.
	Profile, ConfigFile string
	// CredentialsFile is an empty file; empty for the null device.
	CredentialsFile string

	// Region and Endpoint are set where they are not empty. Endpoint is of an
	// S3-compatible server.
	Region, Endpoint string
}

// Vault is a way to Vault. An empty Token is one that needs none, and an empty
// Namespace the root's.
type Vault struct{ Address, Token, Namespace string }

// Postgres is a login, in a password file or as a service.
type Postgres struct{ User, PassFile, Service, ServiceFile string }

// Kubernetes is a kubeconfig.
type Kubernetes struct{ Config string }

// Closed are files that lead nowhere.
type Closed struct {
	// PassFile is an empty password file, and Kubeconfig NowhereKubeconfig.
	PassFile, Kubeconfig string
}

// NowhereKubeconfig has one context, of a cluster that nobody can reach (RFC 6761,
// section 6.4). Without a context client-go would take a pod's own service account, and
// without a token kubectl would ask for a name.
const NowhereKubeconfig = `apiVersion: v1
kind: Config
current-context: not-granted
clusters: [{name: not-granted, cluster: {server: "https://no-cluster-was-granted.invalid"}}]
contexts: [{name: not-granted, context: {cluster: not-granted, user: not-granted}}]
users: [{name: not-granted, user: {token: not-granted}}]
`

// Environment is all that a delivery changes. Delivery.Environment makes it.
type Environment struct {
	set      map[string]string
	families []family
	whole    bool
}

// Environment is what this delivery sets and clears.
func (d Delivery) Environment() Environment {
	e := Environment{set: maps.Clone(d.Also), whole: d.Closed != nil}
	if e.set == nil {
		e.set = map[string]string{}
	}
	aws, vault, pg, kube := d.AWS, d.Vault, d.Postgres, d.Kubernetes
	if c := d.Closed; c != nil {
		if aws == nil {
			aws = &AWS{}
		}
		if vault == nil {
			vault = &Vault{}
		}
		if pg == nil {
			pg = &Postgres{PassFile: c.PassFile}
		}
		if kube == nil {
			kube = &Kubernetes{Config: c.Kubeconfig}
		}
		e.families = append(e.families, startFamily)
	}
	if aws != nil {
		e.families = append(e.families, awsFamily)
		aws.into(e.set)
	}
	if vault != nil {
		e.families = append(e.families, vaultFamily)
		vault.into(e.set)
	}
	if pg != nil {
		e.families = append(e.families, postgresFamily)
		pg.into(e.set)
	}
	if kube != nil {
		e.families = append(e.families, kubernetesFamily)
		put(e.set, "KUBECONFIG", kube.Config)
	}
	return e
}

func (a *AWS) into(set map[string]string) {
	put(set, "AWS_ACCESS_KEY_ID", a.AccessKeyID)
	put(set, "AWS_SECRET_ACCESS_KEY", a.SecretAccessKey)
	put(set, "AWS_SESSION_TOKEN", a.SessionToken)
	if !a.Expires.IsZero() {
		set["AWS_CREDENTIAL_EXPIRATION"] = a.Expires.UTC().Format(time.RFC3339)
	}
	put(set, "AWS_CONTAINER_CREDENTIALS_FULL_URI", a.ContainerURI)
	put(set, "AWS_CONTAINER_AUTHORIZATION_TOKEN", a.ContainerToken)
	put(set, "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", a.ContainerTokenFile)
	if a.Profile != "" {
		// Without the second, Go's first SDK reads no config file.
		set["AWS_PROFILE"], set["AWS_SDK_LOAD_CONFIG"] = a.Profile, "1"
	}
	// The user's own files have keys, and say in [default] where calls go.
	set["AWS_CONFIG_FILE"] = orNull(a.ConfigFile)
	set["AWS_SHARED_CREDENTIALS_FILE"] = orNull(a.CredentialsFile)
	set["AWS_EC2_METADATA_DISABLED"] = "true"
	put(set, "AWS_REGION", a.Region)
	put(set, "AWS_DEFAULT_REGION", a.Region)
	put(set, "AWS_ENDPOINT_URL_S3", a.Endpoint)
	put(set, "S3_ENDPOINT_URL", a.Endpoint) // s5cmd's
}

func (v *Vault) into(set map[string]string) {
	put(set, "VAULT_ADDR", v.Address)
	put(set, "VAULT_NAMESPACE", v.Namespace)
	if set["VAULT_TOKEN"] = v.Token; v.Token == "" {
		set["VAULT_TOKEN"] = NotGranted
	}
}

func (p *Postgres) into(set map[string]string) {
	put(set, "PGUSER", p.User)
	put(set, "PGPASSFILE", p.PassFile)
	put(set, "PGSERVICE", p.Service)
	// The user's own file has logins by name.
	set["PGSERVICEFILE"] = orNull(p.ServiceFile)
}

func put(set map[string]string, name, value string) {
	if value != "" {
		set[name] = value
	}
}

func orNull(file string) string {
	if file == "" {
		return os.DevNull
	}
	return file
}

// Changes are what to set and what to clear, sorted, where base is there: "NAME=value"
// as os.Environ has it. Of variables that only a prefix tells, those of base are named.
func (e Environment) Changes(base []string) (set map[string]string, unset []string) {
	set = maps.Clone(e.set)
	maps.Copy(set, aroundProxies(base))
	for _, f := range e.families {
		unset = append(unset, f.names...)
	}
	for _, kv := range base {
		if name, _, _ := strings.Cut(kv, "="); e.ambient(name) {
			unset = append(unset, name)
		}
	}
	slices.Sort(unset)
	unset = slices.DeleteFunc(slices.Compact(unset), func(name string) bool { _, ours := set[name]; return ours })
	return set, unset
}

// ambient says whether a variable of the reader's would win over what is given.
func (e Environment) ambient(name string) bool {
	return slices.ContainsFunc(e.families, func(f family) bool { return f.has(name) })
}

// Environ is base with the changes, for a program to start with.
func (e Environment) Environ(base []string) []string {
	set, unset := e.Changes(base)
	out := make([]string, 0, len(base)+len(set)+1)
	level := 0
	for _, kv := range base {
		name, value, _ := strings.Cut(kv, "=")
		if name == "SHLVL" && e.whole {
			level, _ = strconv.Atoi(value) // none is 0
			continue
		}
		if _, ours := set[name]; !ours && !slices.Contains(unset, name) {
			out = append(out, kv)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(set)) {
		out = append(out, name+"="+set[name])
	}
	if e.whole {
		// Bash takes itself for one that sshd has started where this is under 1, and reads
		// .bashrc then, which could set again what is cleared.
		out = append(out, "SHLVL="+strconv.Itoa(max(level, 1)))
	}
	return out
}

// loopback is what no proxy is asked for.
const loopback = "localhost,127.0.0.1,::1"

// aroundProxies keep a proxy that base names out of the way to loopback. Some tools read
// the one spelling first and some the other: each sees what it saw before, and loopback.
func aroundProxies(base []string) map[string]string {
	was := map[string]string{}
	for _, kv := range base {
		name, value, _ := strings.Cut(kv, "=")
		if name == "NO_PROXY" || name == "no_proxy" {
			was[name] = value
		}
	}
	return map[string]string{
		"NO_PROXY": withLoopback(was["NO_PROXY"], was["no_proxy"]),
		"no_proxy": withLoopback(was["no_proxy"], was["NO_PROXY"]),
	}
}

// withLoopback adds loopback to the first that is not empty. "*" is everything, and
// alone: curl knows it in no list.
func withLoopback(first, second string) string {
	if first == "" {
		first = second
	}
	switch {
	case first == "":
		return loopback
	case strings.TrimSpace(first) == "*", strings.HasSuffix(first, loopback):
		return first
	}
	return first + "," + loopback
}
