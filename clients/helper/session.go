package helper

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"github.com/valetkey/valetkey/clients/valetkey"
)

// ErrTwoOfAKind is a session whose scopes would need the same variable.
var ErrTwoOfAKind = errors.New("one command can have one such credential")

// closeTimeout bounds what Close still says to the broker.
const closeTimeout = 5 * time.Second

// SessionConfig is what a session needs.
type SessionConfig struct {
	// Client is how the broker is asked. It is the caller's to close. Required.
	Client *valetkey.Client
	// Task is opened for the session alone.
	Task valetkey.TaskSpec
	// Scopes are what the command gets. The first that gives an AWS credential is
	// its default one; others are profiles. At least one.
	Scopes []ScopeSpec
	// Kube is a cluster that the command's KUBECONFIG leads to, with the first AWS
	// session, or the one scope that reads a service account's token; nil for none,
	// where KUBECONFIG is an empty file.
	Kube *KubeCluster
	// Program is the path of the valetkey command, which profiles name; empty for
	// this program itself.
	Program string
	// Dir is where the session's private folder is made; empty for the system's.
	Dir string
	// Guard makes a command that is to end the session should this process be
	// killed: it gets the task's id and the private folder, and calls Abandoned on
	// its standard input. Session.Guard tells it of the session's command. nil for none: what a killed process leaves open then lives
	// to its deadlines.
	Guard func(taskID, dir string) *exec.Cmd
	// Pending is told of each grant that waits for people, with the name of its scope:
	// of the first before Open waits, if it does, and of later ones from the
	// background. nil for nobody.
	Pending func(scope string, g *valetkey.Grant)
	// Log is where warnings go; slog.Default() when nil.
	Log *slog.Logger
}

// Session is one task with its credentials, served to one command. It is one
// goroutine's to open and to close.
type Session struct {
	cfg  SessionConfig
	task *valetkey.Task
	dir  string
	set  map[string]string // the variables that lead to the credentials
	stop []func() error    // in order of starting
	uses []*use

	guard *guard // nil without one
}

// use is one scope of a session.
type use struct {
	spec ScopeSpec
	src  *valetkey.Source
	cred valetkey.Credential // the first
}

// Open opens a task, gets the first credential of every scope, and serves them.
// What it made before an error is undone, and what waits for people is given back: a
// scope waits for them as long as ctx allows, where its Wait says so. A refusal is a
// *valetkey.Error.
func Open(ctx context.Context, cfg SessionConfig) (_ *Session, err error) {
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	if cfg.Client == nil || len(cfg.Scopes) == 0 {
		return nil, errors.New("opening a session: it needs a client and a scope")
	}
	if cfg.Kube != nil {
		if err := cfg.Kube.check(); err != nil {
			return nil, fmt.Errorf("opening a session: kubernetes: %w", err)
		}
	}
	seen := map[string]bool{}
	for _, spec := range cfg.Scopes {
		if name := spec.name(); !names.MatchString(name) || seen[name] {
			return nil, fmt.Errorf("opening a session: the name %q of a scope is no name, or there twice", name)
		}
		seen[spec.name()] = true
	}
	if cfg.Program == "" {
		if cfg.Program, err = os.Executable(); err != nil {
			return nil, fmt.Errorf("finding this program: %w", err)
		}
	}
	s := &Session{cfg: cfg, set: map[string]string{}}
	if s.task, err = cfg.Client.OpenTask(ctx, cfg.Task); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	if s.dir, err = os.MkdirTemp(cfg.Dir, "valetkey-"); err != nil {
		return nil, fmt.Errorf("making a private folder: %w", err)
	}
	if cfg.Guard != nil {
		if s.guard, err = startGuard(cfg.Guard(s.task.ID(), s.dir)); err != nil {
			return nil, err
		}
	}
	for _, spec := range cfg.Scopes {
		u := &use{spec: spec, src: s.task.Source(spec.Scope, spec.Params, spec.options(len(cfg.Scopes), s.pending(spec.name()))...)}
		if u.cred, err = u.src.Credential(ctx); err != nil {
			return nil, err
		}
		s.uses = append(s.uses, u)
	}
	return s, s.serve(ctx)
}

func (s *Session) pending(scope string) func(*valetkey.Grant) {
	return func(g *valetkey.Grant) {
		if s.cfg.Pending != nil {
			s.cfg.Pending(scope, g)
		}
	}
}

// TaskID is the broker's id of the task.
func (s *Session) TaskID() string { return s.task.ID() }

// Grants are the newest grants of the session, by the names of its scopes.
func (s *Session) Grants() map[string]string {
	out := map[string]string{}
	for _, u := range s.uses {
		out[u.spec.name()] = u.src.Status().GrantID
	}
	return out
}

// serve starts what leads to the credentials.
func (s *Session) serve(ctx context.Context) error {
	var sessions []*use
	for _, u := range s.uses {
		secret := u.cred.Reveal()
		var err error
		switch {
		case secret.AWS != nil:
			sessions = append(sessions, u)
		case secret.Vault != nil && secret.Vault.Token != "":
			err = s.serveVault(u)
		case s.ofAccount(secret):
			err = s.serveKube(u)
		default:
			err = s.writeLogin(ctx, u)
		}
		if err != nil {
			return fmt.Errorf("serving scope %s: %w", u.spec.name(), err)
		}
	}
	if err := s.serveAWS(sessions); err != nil {
		return fmt.Errorf("serving AWS credentials: %w", err)
	}
	return errors.Join(s.serveEKS(sessions), s.leaveBare())
}

func (s *Session) path(name string) string { return filepath.Join(s.dir, name) }

// serveVault opens a proxy with a token of its own.
func (s *Session) serveVault(u *use) error {
	if s.set["VAULT_ADDR"] != "" {
		return fmt.Errorf("VAULT_ADDR names one Vault token: %w", ErrTwoOfAKind)
	}
	secret := newSecret()
	handler, err := vaultProxy(u.src, secret, s.cfg.Log)
	if err != nil {
		return err
	}
	lis, err := listenLoopback("")
	if err != nil {
		return err
	}
	srv := serve(lis, newPeers(nil, false), s.cfg.Log, handler)
	s.stop = append(s.stop, srv.close)
	s.set["VAULT_ADDR"], s.set["VAULT_TOKEN"] = "http://"+lis.Addr().String(), secret
	return nil
}

// writeLogin leaves a database login where libpq looks for one.
func (s *Session) writeLogin(ctx context.Context, u *use) error {
	if s.set["PGPASSFILE"] != "" {
		return fmt.Errorf("PGPASSFILE and PGUSER name one login: %w", ErrTwoOfAKind)
	}
	login, err := valetkey.NewDatabase(u.src).Login(ctx)
	if err != nil {
		return err
	}
	file := s.path("pgpass")
	if err := writeSecret(file, []byte(pgpassLine("*", 0, "*", login)), self); err != nil {
		return err
	}
	s.set["PGPASSFILE"], s.set["PGUSER"] = file, login.Username
	return nil
}

// serveAWS opens the container endpoint for the first of them, and writes a config
// file in which each has a profile. Without any, the file is still there: what the
// user has in theirs is not the command's.
func (s *Session) serveAWS(uses []*use) error {
	config := profiles{}
	for i, u := range uses {
		secret := u.cred.Reveal().AWS
		sock := s.path("aws-" + strconv.Itoa(i) + ".sock")
		lis, err := listenUnix(sock)
		if err != nil {
			return err
		}
		s.stop = append(s.stop, serve(lis, newPeers(nil, false), s.cfg.Log, processHandler(u.src)).close)
		config.add(u.spec.name(), profile{command: processCommand(s.cfg.Program, sock), region: secret.Region, endpoint: secret.Endpoint})
		if i > 0 {
			continue
		}
		config.defaults(secret.Region)
		h, err := newHub("", newPeers(nil, false), s.cfg.Log)
		if err != nil {
			return err
		}
		s.stop = append(s.stop, h.close)
		path, token := "/"+u.spec.name(), newSecret()
		h.open(path, token, u.src)
		// Not the token's file: botocore reads that from 1.34 on only.
		s.set["AWS_CONTAINER_CREDENTIALS_FULL_URI"], s.set["AWS_CONTAINER_AUTHORIZATION_TOKEN"] = h.url(path), token
		if secret.Region != "" {
			s.set["AWS_REGION"], s.set["AWS_DEFAULT_REGION"] = secret.Region, secret.Region
		}
		if secret.Endpoint != "" {
			s.set["AWS_ENDPOINT_URL_S3"] = secret.Endpoint
		}
	}
	s.set["AWS_EC2_METADATA_DISABLED"] = "true"
	s.set["AWS_CONFIG_FILE"] = s.path("aws-config")
	return writeSecret(s.path("aws-config"), config.text(), self)
}

// Guard has the guard end the command, too, should this process be killed. It is a
// Command's Started; without a guard it does nothing.
func (s *Session) Guard(pid int) {
	if s.guard == nil {
		return
	}
	if err := s.guard.of(pid); err != nil && !errors.Is(err, errors.ErrUnsupported) {
		s.cfg.Log.WarnContext(context.Background(), "telling the guard of the command failed", slog.String("error", err.Error()))
	}
}

// Close ends the task and with it every grant and credential, shuts what was
// served, and removes what was written. It takes 5 seconds at most. After an error
// the guard tries once more; without one the task may be open still: its credentials
// die at their deadlines.
func (s *Session) Close() error {
	var errs []error
	for _, stop := range s.stop {
		errs = append(errs, stop())
	}
	s.stop = nil
	var left error
	if s.dir != "" {
		left = os.RemoveAll(s.dir)
	}
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	err := s.task.Close(ctx)
	errs = append(errs, left, err)
	if s.guard != nil {
		if left == nil && (err == nil || over(err)) {
			errs = append(errs, s.guard.dismiss())
		} else {
			errs = append(errs, s.guard.leave())
		}
		s.guard = nil
	}
	return errors.Join(errs...)
}
