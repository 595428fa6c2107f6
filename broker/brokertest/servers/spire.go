package servers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// SPIREServer is a running SPIRE server with one agent on this machine.
type SPIREServer struct {
	Dir         string // private; the configuration, logs and sockets
	AgentSocket string // path of the Workload API socket
	TrustDomain string

	t            TB
	serverSocket string
	serverPort   int
	agentID      string
	agent        *process
}

// WorkloadAPI is the address that a SPIFFE client takes.
func (s *SPIREServer) WorkloadAPI() string { return "unix://" + s.AgentSocket }

const spireServerConf = `server {
  bind_address = "127.0.0.1"
  bind_port = "%d"
  socket_path = "%s"
  trust_domain = "%s"
  data_dir = "%s"
  log_level = "INFO"
  ca_key_type = "ec-p256"
  jwt_key_type = "ec-p256"
  default_x509_svid_ttl = "10m"
  default_jwt_svid_ttl = "5m"
  jwt_issuer = "%s"
}
plugins {
  DataStore "sql" {
    plugin_data { database_type = "sqlite3" connection_string = "%s" }
  }
  KeyManager "memory" { plugin_data {} }
  NodeAttestor "join_token" { plugin_data {} }
}
`

// sync_interval is how late the agent learns of a new entry; its default is 5 s.
// Workloads are known by path too, but not by a hash of what is there.
const spireAgentConf = `agent {
  data_dir = "%s"
  log_level = "INFO"
  server_address = "127.0.0.1"
  server_port = "%d"
  socket_path = "%s"
  trust_bundle_path = "%s"
  trust_domain = "%s"
  experimental { sync_interval = "1s" }
}
plugins {
  KeyManager "memory" { plugin_data {} }
  NodeAttestor "join_token" { plugin_data {} }
  WorkloadAttestor "unix" {
    plugin_data {
      discover_workload_path = true
      workload_size_limit = -1
    }
  }
}
`

// SPIRE starts a server and an agent that live until t's clean-up. The agent
// attests itself with a join token, and workloads by the unix attestor.
func SPIRE(t TB, trustDomain string) *SPIREServer {
	t.Helper()
	return SPIREWithIssuer(t, trustDomain, "")
}

// SPIREWithIssuer is SPIRE with an iss claim in JWT-SVIDs, for verifiers that
// find the keys by OIDC discovery.
func SPIREWithIssuer(t TB, trustDomain, issuer string) *SPIREServer {
	t.Helper()
	// Not t.TempDir: the name of a long test would not fit a socket's path.
	dir, err := os.MkdirTemp("", "vk-spire-")
	if err != nil {
		t.Fatalf("making SPIRE's folder: %v", err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Logf("removing SPIRE's folder: %v", err)
		}
	})
	s := &SPIREServer{
		Dir:          dir,
		AgentSocket:  filepath.Join(dir, "agent.sock"),
		TrustDomain:  trustDomain,
		t:            t,
		serverSocket: filepath.Join(dir, "server.sock"),
		agentID:      "spiffe://" + trustDomain + "/test-node",
	}
	s.serverPort = s.startServer(issuer)[0]
	s.StartAgent()
	return s
}

func (s *SPIREServer) startServer(issuer string) []int {
	s.t.Helper()
	return launch(s.t, "spire-server", s.Dir, 1, func(ports []int) launchPlan {
		conf := fmt.Sprintf(spireServerConf, ports[0], s.serverSocket, s.TrustDomain,
			filepath.Join(s.Dir, "server"), issuer, filepath.Join(s.Dir, "datastore.sqlite3"))
		return launchPlan{
			args: []string{"run", "-config", s.write("server.conf", conf)},
			ready: func(ctx context.Context) error {
				_, err := s.run(ctx, "spire-server", "healthcheck", "-socketPath", s.serverSocket)
				return err
			},
		}
	})
}

// StartAgent is for after StopAgent. The new agent attests itself anew, and serves
// the same entries at the same socket.
func (s *SPIREServer) StartAgent() {
	s.t.Helper()
	bundle := s.write("bundle.pem", s.server("bundle", "show"))
	// Its answer is "Token: 0f3c...", or that line with more below it.
	answer := s.server("token", "generate", "-spiffeID", s.agentID)
	token, ok := strings.CutPrefix(strings.TrimSpace(answer), "Token: ")
	if !ok {
		s.t.Fatalf("reading SPIRE's join token: unexpected answer")
	}
	token, _, _ = strings.Cut(token, "\n")
	conf := fmt.Sprintf(spireAgentConf, filepath.Join(s.Dir, "agent"), s.serverPort, s.AgentSocket, bundle, s.TrustDomain)
	s.agent, _ = launchProcess(s.t, "spire-agent", s.Dir, 0, func([]int) launchPlan {
		return launchPlan{
			args: []string{"run", "-config", s.write("agent.conf", conf), "-joinToken", token},
			once: true, // as a join token is
			ready: func(ctx context.Context) error {
				_, err := s.run(ctx, "spire-agent", "healthcheck", "-socketPath", s.AgentSocket)
				return err
			},
		}
	})
}

// StopAgent ends the agent, and with it the Workload API: what it gave lives on to
// its own end, and nothing new comes.
func (s *SPIREServer) StopAgent() {
	s.t.Helper()
	if err := s.agent.stop(); err != nil {
		s.t.Fatalf("%v", err)
	}
}

// Entry registers a workload. Without selectors it is any process of this user.
// The agent serves it within about a second; identity.Open waits for that. All
// entries that fit a process are its identities together, so a test that plays
// several callers registers them all and picks each by its ID.
func (s *SPIREServer) Entry(spiffeID string, selectors ...string) {
	s.t.Helper()
	s.EntryWith(spiffeID, nil, selectors...)
}

// EntryWith is Entry with flags of "spire-server entry create", such as
// "-federatesWith", or "-x509SVIDTTL" and its seconds. "-entryID" names it for
// DeleteEntry.
func (s *SPIREServer) EntryWith(spiffeID string, flags []string, selectors ...string) {
	s.t.Helper()
	if len(selectors) == 0 {
		selectors = []string{fmt.Sprintf("unix:uid:%d", os.Getuid())}
	}
	args := append([]string{"entry", "create", "-parentID", s.agentID, "-spiffeID", spiffeID}, flags...)
	for _, selector := range selectors {
		args = append(args, "-selector", selector)
	}
	s.server(args...)
}

// DeleteEntry takes back what a workload was registered for. The agent learns of it
// within about a second.
func (s *SPIREServer) DeleteEntry(entryID string) {
	s.t.Helper()
	s.server("entry", "delete", "-entryID", entryID)
}

// Bundle is the server's own, as a SPIFFE bundle document: X.509 and JWT keys.
func (s *SPIREServer) Bundle() string {
	s.t.Helper()
	return s.server("bundle", "show", "-format", "spiffe")
}

// Federate gives the server another trust domain's bundle, as Bundle is one. Only
// entries that federate with the domain get to see it.
func (s *SPIREServer) Federate(trustDomain, bundle string) {
	s.t.Helper()
	s.server("bundle", "set", "-format", "spiffe", "-id", "spiffe://"+trustDomain, "-path", s.write(trustDomain+".bundle", bundle))
}

// server runs an admin command, which all end on -socketPath.
func (s *SPIREServer) server(args ...string) string {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	out, err := s.run(ctx, "spire-server", append(args, "-socketPath", s.serverSocket)...)
	if err != nil {
		s.t.Fatalf("%v", err)
	}
	return out
}

func (s *SPIREServer) run(ctx context.Context, name string, args ...string) (string, error) {
	binary, err := Binary(name)
	if err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, binary, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		// Not stdout: it may hold a join token.
		return "", fmt.Errorf("running %s %s: %w", name, args[0], errors.Join(err, errors.New(stderr.String())))
	}
	return stdout.String(), nil
}

func (s *SPIREServer) write(name, content string) string {
	s.t.Helper()
	path := filepath.Join(s.Dir, name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		s.t.Fatalf("writing SPIRE's %s: %v", name, err)
	}
	return path
}
