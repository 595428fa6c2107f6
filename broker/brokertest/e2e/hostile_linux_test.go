package e2e_test

import (
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/valetkey/valetkey/broker/brokertest/servers"
)

// listener notes who comes to an address that nobody is to come to.
type listener struct {
	*httptest.Server
	mu   sync.Mutex
	came []string // locked by mu
}

func newListener(t *testing.T) *listener {
	t.Helper()
	l := &listener{}
	l.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.came = append(l.came, r.Method+" "+r.RequestURI)
		http.Error(w, "not here", http.StatusBadGateway)
	}))
	t.Cleanup(l.Close)
	return l
}

func (l *listener) nobody(t *testing.T) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.came) > 0 {
		t.Errorf("it came to the proxy: %q", l.came)
	}
	l.came = nil
}

// surroundings are operators' own environments, by what is in them: each has rights
// to everything in one way, or leads elsewhere. Their home has rights in every way.
func (s *sidecar) surroundings(t *testing.T, proxy *listener) map[string][]string {
	t.Helper()
	base := s.operators(t)
	home := s.mkdir(t, "home")
	profile := "aws_access_key_id = " + s.minio.AccessKey + "\naws_secret_access_key = " + s.minio.SecretKey + "\n"
	for name, text := range map[string]string{
		".aws/credentials": "[default]\n" + profile + "[prod]\n" + profile, ".aws/config": "[default]\nregion = eu-west-1\n[profile prod]\nregion = eu-west-1\n",
		".vault-token": s.vault.RootToken,
		".bashrc":      "export AWS_PROFILE=prod AWS_ACCESS_KEY_ID=" + s.minio.AccessKey + " AWS_SECRET_ACCESS_KEY=" + s.minio.SecretKey + " VAULT_TOKEN=" + s.vault.RootToken + "\n",
	} {
		must(t, os.MkdirAll(filepath.Dir(filepath.Join(home, name)), 0o700))
		must(t, os.WriteFile(filepath.Join(home, name), []byte(text), 0o600))
	}
	bare := slices.DeleteFunc(slices.Clone(base), func(kv string) bool {
		return strings.HasPrefix(kv, "AWS_") || strings.HasPrefix(kv, "VAULT_") || strings.HasPrefix(kv, "PG")
	})
	bare = append(bare, "PATH="+os.Getenv("PATH")) // all there is
	keys := []string{"AWS_ACCESS_KEY_ID=" + s.minio.AccessKey, "AWS_SECRET_ACCESS_KEY=" + s.minio.SecretKey}
	elsewhere := []string{
		"HTTP_PROXY=" + proxy.URL, "HTTPS_PROXY=" + proxy.URL, "ALL_PROXY=" + proxy.URL, "http_proxy=" + proxy.URL, "https_proxy=" + proxy.URL, "all_proxy=" + proxy.URL,
		"AWS_ENDPOINT_URL=" + proxy.URL, "AWS_ENDPOINT_URL_S3=" + proxy.URL, "AWS_ENDPOINT_URL_STS=" + proxy.URL, "S3_ENDPOINT_URL=" + proxy.URL, "VAULT_PROXY_ADDR=" + proxy.URL,
		"VAULT_ADDR=" + proxy.URL, "VAULT_NAMESPACE=elsewhere", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI=/x", "AWS_EC2_METADATA_SERVICE_ENDPOINT=" + proxy.URL,
		"AWS_WEB_IDENTITY_TOKEN_FILE=" + filepath.Join(home, ".vault-token"), "AWS_ROLE_ARN=arn:aws:iam::123456789012:role/admin",
		"KUBERNETES_SERVICE_HOST=" + strings.Split(proxy.Listener.Addr().String(), ":")[0], "KUBERNETES_SERVICE_PORT=" + strings.Split(proxy.Listener.Addr().String(), ":")[1],
	}
	vault := []string{"VAULT_TOKEN=" + s.vault.RootToken}
	return map[string][]string{
		"a home alone":     bare,
		"a profile":        append(slices.Clone(bare), "AWS_PROFILE=prod", "AWS_DEFAULT_PROFILE=prod"),
		"keys":             slices.Concat(bare, keys, vault),
		"another way":      slices.Concat(bare, elsewhere),
		"all at once":      slices.Concat(bare, keys, vault, elsewhere, []string{"AWS_PROFILE=prod", "BASH_ENV=" + home + "/.bashrc", "ENV=" + home + "/.bashrc"}),
		"and no proxy for": slices.Concat(bare, keys, vault, elsewhere, []string{"NO_PROXY=corp.example", "no_proxy=other.example"}),
	}
}

// TestHostileSurroundings delivers a credential in every form, into the environment of
// an operator who may do everything, to clients that nobody here wrote: each reads what
// was granted, is refused by the server what was not, and asks nobody else.
func TestHostileSurroundings(t *testing.T) {
	s := newSidecar(t).withVault(t).start(t)
	proxy := newListener(t)
	worlds := s.surroundings(t, proxy)
	a := s.agent(t, twoTasks)
	valetkey := program(t, "valetkey")
	task, code := run(t, s.env, valetkey, "task", "open", "-e", "staging", "hostile surroundings")
	if code != 0 {
		t.Fatal(task.stderr)
	}

	// MCP's server starts in the worst of them, as a coding agent of that operator's does.
	env := map[string]string{}
	for _, kv := range slices.Concat(worlds["all at once"], s.env) {
		k, v, _ := strings.Cut(kv, "=")
		env[k] = v
	}
	clients := s3Clients(t)
	c := mcpOverStdio(t, &heard{}, env, "mcp", "--run", "*", "--run-env", "NODE_PATH", "--run-env", "HTTP_PROXY", "--run-env", "http_proxy", "--run-env", "HOME")
	opened := mcpCall(t, c, "open_task", map[string]any{"purpose": "end to end", "environment": "staging"})["task"]
	mcpAccess := func(scope string, params map[string]any) map[string]any {
		return mcpCall(t, c, "request_access", map[string]any{"task": opened, "scope": scope, "purpose": "read", "parameters": params})
	}
	s3Access := mcpAccess("s3-prefix-read", map[string]any{"bucket": "prod", "prefix": "reports/"})
	vaultAccess := mcpAccess("vault-kv-read", map[string]any{"team": "web"})

	// form runs a command with a delivery of a scope, in one way, in a world.
	type form func(t *testing.T, world []string, scope string, command []string) (output, int)
	script := func(prefix string) []string { return []string{"sh", "-c", prefix + ` && exec "$@"`, "sh"} }
	sh := func(t *testing.T, world []string, prefix string, command []string) (output, int) {
		argv := append(script(prefix), command...)
		return runIn(t, world, argv[0], argv[1:]...)
	}
	forms := map[string]form{
		"exec": func(t *testing.T, world []string, scope string, command []string) (output, int) {
			args := slices.Concat([]string{"exec", "-e", "staging"}, strings.Fields(scope), []string{"--"}, command)
			return runIn(t, slices.Concat(world, s.env), valetkey, args...)
		},
		"a shell": func(t *testing.T, world []string, scope string, command []string) (output, int) {
			args := slices.Concat([]string{"exec", "-e", "staging"}, strings.Fields(scope), []string{"--", "bash", "-ic", `"$@"`, "bash"}, command)
			return runIn(t, slices.Concat(world, s.env), valetkey, args...)
		},
		"eval": func(t *testing.T, world []string, scope string, command []string) (output, int) {
			scope = strings.TrimPrefix(scope, "--scope ")
			return sh(t, slices.Concat(world, s.env), "creds=$("+valetkey+" request "+scope+" --task "+strings.TrimSpace(task.stdout)+` --mint 2> /dev/null) && eval "$creds"`, command)
		},
		"MCP's file": func(t *testing.T, world []string, scope string, command []string) (output, int) {
			got := s3Access
			if strings.Contains(scope, "vault") {
				got = vaultAccess
			}
			return sh(t, world, ". "+got["env_file"].(string), command)
		},
		"MCP's environment": func(t *testing.T, world []string, scope string, command []string) (output, int) {
			got := s3Access
			if strings.Contains(scope, "vault") {
				got = vaultAccess
			}
			kept := slices.DeleteFunc(slices.Clone(world), func(kv string) bool {
				name, _, _ := strings.Cut(kv, "=")
				return slices.Contains(got["unset"].([]any), any(name))
			})
			return runIn(t, append(kept, environ(got)...), command[0], command[1:]...)
		},
		"run_command": func(t *testing.T, _ []string, scope string, command []string) (output, int) {
			got := s3Access
			if strings.Contains(scope, "vault") {
				got = vaultAccess
			}
			ran := mcpCall(t, c, "run_command", map[string]any{"access": []any{got["access"]}, "argv": command})
			return output{ran["stdout"].(string), ran["stderr"].(string)}, int(ran["exit_status"].(float64))
		},
		"the agent's file": func(t *testing.T, world []string, _ string, command []string) (output, int) {
			return sh(t, world, ". "+filepath.Join(a.dir, "read.env"), command)
		},
	}
	vault, err := servers.Binary("vault")
	must(t, err)
	for name, deliver := range forms {
		for where, world := range worlds {
			if name == "run_command" && where != "all at once" {
				continue // it has its server's
			}
			for _, client := range slices.Sorted(maps.Keys(clients)) {
				if where != "all at once" && client != "boto3" && client != "aws-sdk-js" {
					continue // these two rank what they find in the two ways that there are
				}
				t.Run(fmt.Sprint(name, "/", where, "/", client), func(t *testing.T) {
					out, code := deliver(t, world, readScope, append(slices.Clone(clients[client]), "reports/a"))
					if code != 0 || strings.TrimSpace(out.stdout) != "x" {
						t.Errorf("what was granted: exits %d: %s%s", code, out.stdout, out.stderr)
					}
					out, code = deliver(t, world, readScope, append(slices.Clone(clients[client]), "other/b"))
					if code == 0 || strings.TrimSpace(out.stdout) == "x" || !refusedIn(out.stdout+out.stderr) {
						t.Errorf("what was not: exits %d: %s%s", code, out.stdout, out.stderr)
					}
					proxy.nobody(t)
				})
			}
			if name == "the agent's file" {
				continue // of AWS alone
			}
			t.Run(fmt.Sprint(name, "/", where, "/vault"), func(t *testing.T) {
				for path, says := range map[string]string{"web/db": "of-web", "ads/db": "permission denied"} {
					out, _ := deliver(t, world, "--scope vault-kv-read team=web", []string{vault, "kv", "get", "-mount=secret", "-field=password", path})
					if !strings.Contains(out.stdout+out.stderr, says) || strings.Contains(out.stdout, "of-ads") {
						t.Errorf("%s: %s%s", path, out.stdout, out.stderr)
					}
				}
				proxy.nobody(t)
			})
			t.Run(fmt.Sprint(name, "/", where, "/curl"), func(t *testing.T) {
				get := []string{"sh", "-c", clientsDir(t) + `/curl -sS -H "X-Vault-Token: $VAULT_TOKEN" -H "X-Vault-Request: true" "$VAULT_ADDR/v1/secret/data/$1"`, "sh"}
				for path, says := range map[string]string{"web/db": "of-web", "ads/db": "permission denied"} {
					out, _ := deliver(t, world, "--scope vault-kv-read team=web", append(slices.Clone(get), path))
					if !strings.Contains(out.stdout, says) || strings.Contains(out.stdout, "of-ads") {
						t.Errorf("%s: %s%s", path, out.stdout, out.stderr)
					}
				}
				proxy.nobody(t)
			})
		}
	}
}

// TestFilesThatAreGone has a shell read what a delivery has left, once it is over: the
// command does not run, with whatever rights there are.
func TestFilesThatAreGone(t *testing.T) {
	s := newSidecar(t).start(t)
	world := s.surroundings(t, newListener(t))["all at once"]
	a := s.agent(t, `tasks:
  - name: report
    purpose: weekly report
    environment: staging
    scopes:
      - scope: s3-prefix-read
        params: {bucket: prod, prefix: reports/}
        outputs:
          container: {token_file: read.token, env_file: read.env}
`)
	env := map[string]string{}
	for _, kv := range s.env {
		k, v, _ := strings.Cut(kv, "=")
		env[k] = v
	}
	c := mcpOverStdio(t, &heard{}, env, "mcp")
	task := mcpCall(t, c, "open_task", map[string]any{"purpose": "end to end", "environment": "staging"})["task"]
	access := mcpCall(t, c, "request_access", map[string]any{"task": task, "scope": "s3-prefix-read", "purpose": "read", "parameters": map[string]any{"bucket": "prod", "prefix": "reports/"}})
	files := map[string]string{"the agent's": filepath.Join(a.dir, "read.env"), "MCP's": access["env_file"].(string)}
	command := append([]string{"-c", `. "$0" && exec "$@"`, ""}, s3Clients(t)["boto3"]...)
	for _, over := range []bool{false, true} {
		for name, file := range files {
			for _, shell := range []string{"sh", "bash", "zsh"} {
				command[2] = file
				out, code := runIn(t, world, shell, append(slices.Clone(command), "reports/a")...)
				if ran := strings.Contains(out.stdout, "x"); ran == over || (code == 0) == over {
					t.Errorf("%s file in %s, with what it leads to gone %v: exits %d: %s%s", name, shell, over, code, out.stdout, out.stderr)
				}
			}
		}
		if !over {
			mcpCall(t, c, "release", map[string]any{"access": access["access"]})
			must(t, a.cmd.Process.Signal(os.Interrupt))
			<-a.done
		}
	}
}

// TestNothingElseIsFound runs clients of kinds that were not granted: they find no
// credential, though the operator has some in every way.
func TestNothingElseIsFound(t *testing.T) {
	s := newSidecar(t).withVault(t).start(t)
	proxy := newListener(t)
	worlds := s.surroundings(t, proxy)
	dir := clientsDir(t)
	vault, err := servers.Binary("vault")
	must(t, err)
	for where, world := range worlds {
		for _, c := range []struct {
			name, scope string
			command     []string
			says        string
		}{
			{"vault", readScope, []string{vault, "token", "lookup", "-address=" + s.vault.Addr}, "permission denied"},
			{"awscli", "--scope vault-kv-read team=web", []string{filepath.Join(dir, "aws"), "--endpoint-url", s.minio.Endpoint, "s3", "ls", "s3://prod/other/"}, "Unable to locate credentials"},
			{"awscli, a profile by name", readScope, []string{filepath.Join(dir, "aws"), "--profile", "prod", "--endpoint-url", s.minio.Endpoint, "s3", "ls", "s3://prod/other/"}, "profile"},
			{"kubectl", readScope, []string{filepath.Join(dir, "kubectl"), "--request-timeout=5s", "get", "pods"}, "no-cluster-was-granted.invalid"},
		} {
			t.Run(where+"/"+c.name, func(t *testing.T) {
				args := slices.Concat([]string{"exec", "-e", "staging"}, strings.Fields(c.scope), []string{"--"}, c.command)
				out, code := runIn(t, slices.Concat(world, s.env), program(t, "valetkey"), args...)
				if code == 0 || !strings.Contains(out.stdout+out.stderr, c.says) {
					t.Errorf("exits %d: %s%s", code, out.stdout, out.stderr)
				}
				proxy.mu.Lock()
				for _, came := range proxy.came { // a proxy is asked for a name that does not exist
					if came != "CONNECT no-cluster-was-granted.invalid:443" {
						t.Errorf("it came to the proxy: %s", came)
					}
				}
				proxy.came = nil
				proxy.mu.Unlock()
			})
		}
	}
}
