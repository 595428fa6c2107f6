package environ

import (
	"slices"
	"strings"
)

// family are the tools of one kind of credential.
type family struct {
	// names are the variables by which they would find another credential, or send
	// this one elsewhere.
	names []string
	// prefixes begin the names of more such variables than can be listed.
	prefixes []string
}

var awsFamily = family{
	names: []string{
		"AWS_ACCESS_KEY", "AWS_ACCESS_KEY_ID", "AWS_SECRET_KEY", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN",
		"AWS_CREDENTIAL_EXPIRATION", "AWS_CREDENTIAL_FILE", "AWS_CREDENTIAL_PROFILES_FILE", "AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE",
		"AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_VAULT", "AWS_ROLE_ARN", "AWS_ROLE_SESSION_NAME", "AWS_WEB_IDENTITY_TOKEN_FILE",
		"AWS_CONTAINER_AUTHORIZATION_TOKEN", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
		"AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
		"AWS_EC2_METADATA_DISABLED", "AWS_EC2_METADATA_SERVICE_ENDPOINT", "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE",
		"AWS_ENDPOINT", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL_STS", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",
		"AWS_DATA_PATH", // botocore's rules of where calls go
		// Of tools for S3 alone: object_store, s5cmd, mc and minio-go, boto 2.
		"AWS_S3_ENDPOINT", "S3_ENDPOINT", "S3_ENDPOINT_URL", "MC_CONFIG_DIR", "MINIO_ACCESS_KEY", "MINIO_SECRET_KEY", "MINIO_ROOT_USER",
		"MINIO_ROOT_PASSWORD", "MINIO_SHARED_CREDENTIALS_FILE", "MINIO_ALIAS", "BOTO_CONFIG",
	},
	prefixes: []string{
		"AWS_BEARER_TOKEN_", "AWS_CONTAINER_", "AWS_EC2_METADATA_", "AWS_ENDPOINT_URL_", "AWS_SSO_", "MC_HOST_", "RCLONE_CONFIG", "RCLONE_S3_",
	},
}

// vaultFamily has OpenBao in it, which reads these where its own are not set.
var vaultFamily = family{names: vaultNames("VAULT_", "BAO_")}

func vaultNames(prefixes ...string) (out []string) {
	for _, prefix := range prefixes {
		for _, name := range []string{
			"ADDR", "AGENT_ADDR", "CLIENT_CERT", "CLIENT_KEY", "CONFIG_PATH", "HTTP_PROXY", "NAMESPACE", "PROXY_ADDR", "TOKEN", "WRAP_TTL",
		} {
			out = append(out, prefix+name)
		}
	}
	return out
}

var postgresFamily = family{names: []string{
	"PGHOSTADDR", "PGPASSFILE", "PGPASSWORD", "PGSERVICE", "PGSERVICEFILE", "PGSSLCERT", "PGSSLKEY", "PGSSLPASSWORD", "PGSYSCONFDIR",
}}

// kubernetesFamily has what leads to a pod's own service account: client-go takes that
// for want of a context.
var kubernetesFamily = family{
	names: []string{
		"KUBECONFIG", "KUBERNETES_MASTER", "KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT",
		// Of Terraform's provider.
		"KUBE_CLIENT_CERT_DATA", "KUBE_CLIENT_KEY_DATA", "KUBE_CONFIG_PATH", "KUBE_CONFIG_PATHS", "KUBE_CTX", "KUBE_HOST", "KUBE_PASSWORD",
		"KUBE_TOKEN", "KUBE_USER",
	},
	prefixes: []string{"HELM_KUBE", "KUBERNETES_PORT", "KUBERNETES_SERVICE_PORT_"},
}

// startFamily names files that a shell reads before its script: they could set again
// what is cleared.
var startFamily = family{names: []string{"BASH_ENV", "ENV"}}

// has says whether the family would read a variable.
func (f family) has(name string) bool {
	return slices.Contains(f.names, name) || slices.ContainsFunc(f.prefixes, func(p string) bool { return strings.HasPrefix(name, p) })
}

// Ambient says whether a variable leads some tool to a credential that was not
// granted: whoever hands one on to a command hands that on.
func Ambient(name string) bool {
	return slices.ContainsFunc([]family{awsFamily, vaultFamily, postgresFamily, kubernetesFamily, startFamily}, func(f family) bool { return f.has(name) })
}
