package e2e_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/valetkey/valetkey/broker/brokertest"
	"github.com/valetkey/valetkey/broker/brokertest/servers"
)

// heard is every byte that a client receives, or a program says.
type heard struct{ brokertest.Buffer }

func (h *heard) has(s string) bool { return strings.Contains(h.String(), s) }

type tapped struct {
	io.Reader
	io.Closer
}

// tokenTransport sends the header that the configuration has, and listens.
type tokenTransport struct {
	header string
	heard  *heard
}

func (tt tokenTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", tt.header)
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err == nil {
		resp.Body = tapped{io.TeeReader(resp.Body, tt.heard), resp.Body}
	}
	return resp, err
}

// TestMCP is a coding agent: the binary, the real daemon, the real MinIO, and the
// aws command line in the agent's own shell.
func TestMCP(t *testing.T) {
	aws1, err := exec.LookPath("aws")
	if err != nil {
		t.Fatalf("the aws command line is missing: %v", err)
	}
	minio := servers.MinIO(t)
	root := s3Client(minio.Endpoint, minio.AccessKey, minio.SecretKey, "")
	eventually(t, 2*time.Minute, "MinIO takes signed calls", func() bool {
		_, err := root.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: aws.String("prod")})
		return err == nil
	})
	must(t, errors.Join(put(t.Context(), root, "reports/one"), put(t.Context(), root, "other/one")))
	l := newLocal(t)
	l.config(t, "  workload_api: "+l.socket("broker")+"\n", rolesAt(minio.Endpoint))
	d := start(t, program(t, "valetkeyd"), []string{"AWS_ACCESS_KEY_ID=" + minio.AccessKey, "AWS_SECRET_ACCESS_KEY=" + minio.SecretKey},
		"serve", "--config", l.path("valetkeyd.yaml"))
	env := map[string]string{
		"VALETKEY_ADDR": d.grpc, "VALETKEY_BROKER_ID": brokerID, "VALETKEY_LEDGER_KEY": l.vkey, "SPIFFE_ENDPOINT_SOCKET": l.socket("alice"),
	}
	doc := map[string]string{}
	for _, s := range snippets(t, mcpDoc) {
		doc[strings.TrimPrefix(s.where, mcpDoc+", ")] = s.text
	}

	for name, connect := range map[string]func(t *testing.T, h *heard, dir string) *mcp.ClientSession{
		"stdio": func(t *testing.T, h *heard, dir string) *mcp.ClientSession {
			conf := mcpConfig(t, doc["Over standard input and output, 1"])
			if conf.Command != "valetkey" || !slices.Equal(slices.Sorted(maps.Keys(conf.Env)), slices.Sorted(maps.Keys(env))) {
				t.Errorf("%s has the configuration %+v", mcpDoc, conf)
			}
			return mcpOverStdio(t, h, env, mcpArgs(conf.Args, map[string]string{"--dir": dir})...)
		},
		"http": func(t *testing.T, h *heard, dir string) *mcp.ClientSession {
			conf, token := mcpConfig(t, doc["Over HTTP, 3"]), l.path("token")
			args := strings.Fields(doc["Over HTTP, 2"])
			if i := slices.Index(args, "--http"); conf.Type != "http" || i < 0 || conf.URL != "http://"+args[i+1]+"/mcp" {
				t.Errorf("%s has the configuration %+v of %v", mcpDoc, conf, args)
			}
			return mcpOverHTTP(t, h, env, token, conf.Headers["Authorization"],
				mcpArgs(args[1:], map[string]string{"--dir": dir, "--token-file": token, "--http": "127.0.0.1:0"})...)
		},
	} {
		t.Run(name, func(t *testing.T) {
			h, dir := &heard{}, filepath.Join(shortDir(t), "shelf")
			c := connect(t, h, dir)
			task := mcpCall(t, c, "open_task", map[string]any{"purpose": "end to end", "environment": "staging"})["task"]
			got := mcpCall(t, c, "request_access", map[string]any{"task": task, "scope": "s3-prefix-read", "purpose": "read a report", "profile": "report",
				"parameters": map[string]any{"bucket": "prod", "prefix": "reports/"}})
			var said map[string]any
			must(t, json.Unmarshal([]byte(doc["The tools, 1"]), &said))
			if !slices.Equal(slices.Sorted(maps.Keys(said)), slices.Sorted(maps.Keys(got))) {
				t.Errorf("%s has an answer of %v, and it is of %v", mcpDoc, slices.Sorted(maps.Keys(said)), slices.Sorted(maps.Keys(got)))
			}

			// The agent's own shell: as the document has it, and with all that the answer says.
			path := []string{"PATH=" + os.Getenv("PATH"), "HOME=" + l.dir}
			script := strings.ReplaceAll(doc["In the agent's shell, 1"], "/run/user/1000/valetkey-mcp", dir)
			if out, err := shellOut(t, path, "sh", "-c", script); err != nil || out == "" {
				t.Errorf("%s\n%v: %s", script, err, out)
			}
			shell := append(path, environ(got)...)
			if out, err := shellOut(t, shell, aws1, "s3", "cp", "s3://prod/reports/one", "-"); err != nil || out == "" {
				t.Errorf("reading what it may: %v: %s", err, out)
			}
			if out, err := shellOut(t, shell, aws1, "s3", "cp", "s3://prod/other/one", "-"); err == nil || !strings.Contains(out, "Forbidden") && !strings.Contains(out, "AccessDenied") {
				t.Errorf("reading what it may not: %v: %s", err, out)
			}
			// The same through the tool.
			run := mcpCall(t, c, "run_command", map[string]any{"access": []any{got["access"]}, "argv": []string{"aws", "s3", "ls", "s3://prod/reports/"}})
			if run["exit_status"] != 0.0 || !strings.Contains(run["stdout"].(string), "one") {
				t.Errorf("run_command: %v", run)
			}
			// A debug log of botocore's has the token in the headers that it sends.
			run = mcpCall(t, c, "run_command", map[string]any{"access": []any{got["access"]}, "argv": []string{"aws", "--debug", "s3", "ls", "s3://prod/reports/"}})
			if run["exit_status"] != 0.0 || run["redactions"].(float64) == 0 {
				t.Errorf("run_command with a debug log: %v", run)
			}

			secret := processSecret(t, shell, got)
			for field, s := range map[string]string{"secret": secret.SecretAccessKey, "token": secret.SessionToken} {
				if s == "" || h.has(s) {
					t.Errorf("the client received the %s, or there is none", field)
				}
			}
			if !h.has(got["profile"].(string)) {
				t.Error("what the client received was not listened to")
			}
			mcpCall(t, c, "close_task", map[string]any{"task": task})
			eventually(t, revocationLimit, "MinIO refuses the closed task's session", func() bool {
				return forbidden(put(t.Context(), s3Client(minio.Endpoint, secret.AccessKeyID, secret.SecretAccessKey, secret.SessionToken), "reports/late"))
			})
			must(t, c.Close())
			eventually(t, 2*time.Minute, "the server's folder is gone", func() bool {
				_, err := os.Stat(dir)
				return name == "http" || errors.Is(err, os.ErrNotExist)
			})
		})
	}
}

func mcpClient() *mcp.Client {
	return mcp.NewClient(&mcp.Implementation{Name: "e2e", Version: "1"}, nil)
}

// mcpDoc has the examples that are run here.
const mcpDoc = "docs/clients-mcp.md"

// mcpServer is one in a client's configuration.
type mcpServer struct {
	Type, Command, URL string
	Args               []string
	Env, Headers       map[string]string
}

func mcpConfig(t *testing.T, text string) mcpServer {
	t.Helper()
	var conf struct{ MCPServers map[string]mcpServer }
	must(t, json.Unmarshal([]byte(text), &conf))
	return conf.MCPServers["valetkey"]
}

// mcpArgs puts this test's values in the document's place, and turns run_command on.
func mcpArgs(args []string, values map[string]string) []string {
	out := slices.Clone(args)
	for i := range out {
		if v, ok := values[out[i]]; ok {
			out[i+1] = v
		}
	}
	return append(out, "--run", "aws", "--run-output", "1000000")
}

func environment(set map[string]string) []string {
	out := os.Environ()
	for k, v := range set {
		out = append(out, k+"="+v)
	}
	return out
}

func mcpOverStdio(t *testing.T, h *heard, env map[string]string, args ...string) *mcp.ClientSession {
	t.Helper()
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), program(t, "valetkey"), args...) // ended below
	cmd.Env, cmd.Stderr = environment(env), os.Stderr
	in, err := cmd.StdinPipe()
	must(t, err)
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	c, err := mcpClient().Connect(t.Context(), &mcp.IOTransport{Reader: tapped{io.TeeReader(out, h), out}, Writer: in}, nil)
	must(t, err)
	t.Cleanup(func() {
		_ = c.Close() // it may be closed
		must(t, cmd.Wait())
	})
	return c
}

func mcpOverHTTP(t *testing.T, h *heard, env map[string]string, tokenFile, header string, args ...string) *mcp.ClientSession {
	t.Helper()
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), program(t, "valetkey"), args...) // ended below
	stderr, err := cmd.StderrPipe()
	must(t, err)
	cmd.Env = environment(env)
	must(t, cmd.Start())
	var serving struct{ URL string }
	must(t, json.NewDecoder(stderr).Decode(&serving))
	rest := make(chan struct{})
	go func() { defer close(rest); _, _ = io.Copy(io.Discard, stderr) }()
	t.Cleanup(func() {
		must(t, cmd.Process.Signal(os.Interrupt))
		<-rest
		must(t, cmd.Wait())
	})
	token, err := os.ReadFile(tokenFile)
	must(t, err)
	c, err := mcpClient().Connect(t.Context(), &mcp.StreamableClientTransport{
		Endpoint: serving.URL, HTTPClient: &http.Client{Transport: tokenTransport{os.Expand(header, func(name string) string {
			return map[string]string{"VALETKEY_MCP_TOKEN": strings.TrimSpace(string(token))}[name]
		}), h}},
	}, nil)
	must(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func mcpCall(t *testing.T, c *mcp.ClientSession, tool string, args map[string]any) map[string]any {
	t.Helper()
	res, err := c.CallTool(t.Context(), &mcp.CallToolParams{Name: tool, Arguments: args})
	must(t, err)
	out, ok := res.StructuredContent.(map[string]any)
	if res.IsError || !ok {
		t.Fatalf("%s: %s", tool, res.Content[0].(*mcp.TextContent).Text)
	}
	return out
}

func environ(access map[string]any) (out []string) {
	for k, v := range access["environment"].(map[string]any) {
		out = append(out, k+"="+v.(string))
	}
	return out
}

func shellOut(t *testing.T, env []string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), args[0], args[1:]...)
	cmd.Env = env
	out, err := cmd.CombinedOutput()
	return string(out), err
}

type awsProcess struct {
	AccessKeyID                   string `json:"AccessKeyId"`
	SecretAccessKey, SessionToken string
}

// processSecret asks as an AWS SDK does, to know what to look for.
func processSecret(t *testing.T, env []string, access map[string]any) (out awsProcess) {
	t.Helper()
	config, err := os.ReadFile(access["config_file"].(string))
	must(t, err)
	for line := range strings.Lines(string(config)) {
		if command, ok := strings.CutPrefix(line, "credential_process = "); ok {
			raw, err := shellOut(t, env, "sh", "-c", command)
			must(t, errors.Join(err, json.Unmarshal([]byte(raw), &out)))
		}
	}
	return out
}
