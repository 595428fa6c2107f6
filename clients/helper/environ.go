package helper

import (
	"maps"
	"slices"
	"strings"
)

// ambient are the variables by which a command would find another credential of
// AWS, S3, Vault, OpenBao, PostgreSQL or Kubernetes, or send this one elsewhere. A
// name that ends in * is a prefix.
var ambient = []string{
	"AWS_ACCESS_KEY_ID", "AWS_ACCESS_KEY", "AWS_SECRET_ACCESS_KEY", "AWS_SECRET_KEY", "AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN",
	"AWS_CREDENTIAL_EXPIRATION", "AWS_CREDENTIAL_FILE", "AWS_CREDENTIAL_PROFILES_FILE", "AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE",
	"AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_ROLE_ARN", "AWS_ROLE_SESSION_NAME", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_SSO_*",
	"AWS_CONTAINER_*", "AWS_EC2_METADATA_*", "AWS_ENDPOINT_URL*", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "AWS_BEARER_TOKEN_*", "AWS_VAULT",
	"MC_HOST_*", "MC_CONFIG_DIR", "RCLONE_CONFIG*", "RCLONE_S3_*",
	"VAULT_TOKEN", "VAULT_ADDR", "VAULT_AGENT_ADDR", "VAULT_PROXY_ADDR", "VAULT_NAMESPACE", "VAULT_HTTP_PROXY", "VAULT_WRAP_TTL",
	"VAULT_CONFIG_PATH", "VAULT_CLIENT_CERT", "VAULT_CLIENT_KEY",
	"BAO_TOKEN", "BAO_ADDR", "BAO_AGENT_ADDR", "BAO_PROXY_ADDR", "BAO_NAMESPACE", "BAO_HTTP_PROXY", "BAO_WRAP_TTL",
	"BAO_CONFIG_PATH", "BAO_CLIENT_CERT", "BAO_CLIENT_KEY",
	"PGPASSWORD", "PGPASSFILE", "PGSERVICE", "PGSERVICEFILE", "PGSSLCERT", "PGSSLKEY", "PGSSLPASSWORD",
	"KUBECONFIG",
	// The broker's address and the Workload API stay: a nested valetkey is a caller
	// like any other, and gets what policy gives it.
}

// leaveBare leaves empty files where tools would look at the user's own for want of a
// variable, of what the session does not give.
func (s *Session) leaveBare() error {
	for name, file := range map[string]string{"AWS_SHARED_CREDENTIALS_FILE": "aws-credentials", "PGPASSFILE": "pgpass", "KUBECONFIG": "kubeconfig"} {
		if s.set[name] != "" {
			continue
		}
		if err := writeSecret(s.path(file), nil, self); err != nil {
			return err
		}
		s.set[name] = s.path(file)
	}
	return nil
}

// Environ is base without the credentials that it may hold, and with what leads to
// the session's. The addresses are useless once the session is closed.
func (s *Session) Environ(base []string) []string {
	out := make([]string, 0, len(base)+len(s.set)+2)
	for _, kv := range base {
		name, _, _ := strings.Cut(kv, "=")
		if _, ours := s.set[name]; !ours && !matches(ambient, name) {
			out = append(out, kv)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.set)) {
		out = append(out, name+"="+s.set[name])
	}
	out = append(out, "VALETKEY_TASK="+s.task.ID())
	return withoutProxy(out, s.set)
}

func matches(names []string, name string) bool {
	return slices.ContainsFunc(names, func(n string) bool {
		prefix, wild := strings.CutSuffix(n, "*")
		return n == name || (wild && strings.HasPrefix(name, prefix))
	})
}

// withoutProxy keeps loopback out of the reach of a proxy that base names.
func withoutProxy(env []string, set map[string]string) []string {
	if set["AWS_CONTAINER_CREDENTIALS_FULL_URI"] == "" && set["VAULT_ADDR"] == "" {
		return env
	}
	for _, name := range []string{"NO_PROXY", "no_proxy"} {
		i := slices.IndexFunc(env, func(kv string) bool { return strings.HasPrefix(kv, name+"=") })
		switch {
		case i < 0:
			env = append(env, name+"=127.0.0.1")
		case env[i] == name+"=":
			env[i] += "127.0.0.1"
		default:
			env[i] += ",127.0.0.1"
		}
	}
	return env
}
