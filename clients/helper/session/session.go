package session

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"

	"github.com/valetkey/valetkey/broker/listen"
	"github.com/valetkey/valetkey/clients/environ"
	"github.com/valetkey/valetkey/clients/helper/files"
	"github.com/valetkey/valetkey/clients/helper/proc"
	"github.com/valetkey/valetkey/clients/helper/serve"
	"github.com/valetkey/valetkey/clients/valetkey"
	"github.com/valetkey/valetkey/clients/valetkey/database"
)

// Config is what a session needs.
type Config struct {
	// Client is how the broker is asked. It is the caller's to close. Required.
	Client *valetkey.Client
	// Task is opened for the session alone.
	Task valetkey.TaskSpec
	// Scopes are what the command gets. The first that gives an AWS credential is
	// its default one; others are profiles. At least one.
	Scopes []serve.ScopeSpec
	// Kube is a cluster that the command's KUBECONFIG leads to, with the first AWS
	// session, or the one scope that reads a service account's token; nil for none,
	// where KUBECONFIG leads nowhere.
	Kube *files.KubeCluster
	// Program is the path of the valetkey command, which profiles name; empty for
	// this program itself.
	Program string
	// Dir is where the session's private folder is made; empty for the system's.
	Dir string
	// Guard makes a command that is to end the session should this process be
	// killed: it gets the task's id and the private folder, and calls
	// proc.GuardSession on its standard input. Session.Guard tells it of the session's
	// command. nil for none: what a killed process leaves open then lives to its deadlines.
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
	cfg  Config
	task *valetkey.Task
	dir  string
	give environ.Delivery // what leads to the credentials
	stop []func() error   // in order of starting
	uses []*use

	guard *proc.Guard // nil without one
}

// use is one scope of a session.
type use struct {
	spec serve.ScopeSpec
	src  *valetkey.Source
	cred valetkey.Credential // the first
}

// Open opens a task, gets the first credential of every scope, and serves them.
// What it made before an error is undone, and what waits for people is given back: a
// scope waits for them as long as ctx allows, where its Wait says so. A refusal is a
// *valetkey.Error.
func Open(ctx context.Context, cfg Config) (_ *Session, err error) {
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	if cfg.Client == nil || len(cfg.Scopes) == 0 {
		return nil, errors.New("opening a session: it needs a client and a scope")
	}
	if cfg.Kube != nil {
		if err := cfg.Kube.Check(); err != nil {
			return nil, fmt.Errorf("opening a session: kubernetes: %w", err)
		}
	}
	seen := map[string]bool{}
	for _, spec := range cfg.Scopes {
		if name := spec.Called(); !serve.IsName(name) || seen[name] {
			return nil, fmt.Errorf("opening a session: the name %q of a scope is no name, or there twice", name)
		}
		seen[spec.Called()] = true
	}
	if cfg.Program, err = files.Program(cfg.Program); err != nil {
		return nil, err
	}
	s := &Session{cfg: cfg}
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
		if s.guard, err = proc.StartGuard(cfg.Guard(s.task.ID(), s.dir)); err != nil {
			return nil, err
		}
	}
	for _, spec := range cfg.Scopes {
		u := &use{spec: spec, src: s.task.Source(spec.Scope, spec.Params, spec.Options(len(cfg.Scopes), s.pending(spec.Called()))...)}
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
		out[u.spec.Called()] = u.src.Status().GrantID
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
			return fmt.Errorf("serving scope %s: %w", u.spec.Called(), err)
		}
	}
	if err := s.serveAWS(sessions); err != nil {
		return fmt.Errorf("serving AWS credentials: %w", err)
	}
	return errors.Join(s.serveEKS(sessions), s.close())
}

// close leaves files that lead nowhere in the place of the user's own.
func (s *Session) close() error {
	s.give.Closed = &environ.Closed{PassFile: s.path("no-pgpass"), Kubeconfig: s.path("no-kubeconfig")}
	s.give.Also = map[string]string{proc.TaskVariable: s.task.ID()}
	return errors.Join(
		files.Write(s.give.Closed.PassFile, nil, files.Self),
		files.Write(s.give.Closed.Kubeconfig, []byte(environ.NowhereKubeconfig), files.Self),
	)
}

// Environ is base without the credentials that it may hold, and with what leads to
// the session's. The addresses are useless once the session is closed.
func (s *Session) Environ(base []string) []string { return s.give.Environment().Environ(base) }

func (s *Session) path(name string) string { return filepath.Join(s.dir, name) }

// onSocket serves h on a socket until the session ends.
func (s *Session) onSocket(path string, h http.Handler) error {
	srv, err := serve.OnSocket(path, listen.NewPeers(nil, false), s.cfg.Log, h)
	if err == nil {
		s.stop = append(s.stop, srv.Close)
	}
	return err
}

// serveVault opens a proxy with a token of its own.
func (s *Session) serveVault(u *use) error {
	if s.give.Vault != nil {
		return fmt.Errorf("VAULT_ADDR names one Vault token: %w", serve.ErrTwoOfAKind)
	}
	secret := serve.NewSecret()
	handler, err := serve.VaultProxy(u.src, secret, s.cfg.Log)
	if err != nil {
		return err
	}
	srv, err := serve.OnLoopback("", listen.NewPeers(nil, false), s.cfg.Log, handler)
	if err != nil {
		return err
	}
	s.stop = append(s.stop, srv.Close)
	s.give.Vault = &environ.Vault{Address: srv.URL(""), Token: secret}
	return nil
}

// writeLogin leaves a database login where libpq looks for one.
func (s *Session) writeLogin(ctx context.Context, u *use) error {
	if s.give.Postgres != nil {
		return fmt.Errorf("PGPASSFILE and PGUSER name one login: %w", serve.ErrTwoOfAKind)
	}
	login, err := database.New(u.src).Login(ctx)
	if err != nil {
		return err
	}
	file := s.path("pgpass")
	if err := files.Write(file, []byte(files.PassLine("*", 0, "*", login)), files.Self); err != nil {
		return err
	}
	s.give.Postgres = &environ.Postgres{PassFile: file, User: login.Username}
	return nil
}

// serveAWS opens the container endpoint for the first of them, and writes a config
// file in which each has a profile. Without any, the file is still there: what the
// user has in theirs is not the command's.
func (s *Session) serveAWS(uses []*use) error {
	config := files.Profiles{}
	s.give.AWS = &environ.AWS{ConfigFile: s.path("aws-config"), CredentialsFile: s.path("aws-credentials")}
	for i, u := range uses {
		secret := u.cred.Reveal().AWS
		sock := s.path("aws-" + strconv.Itoa(i) + ".sock")
		profile, err := files.NewProfile(s.cfg.Program, sock, *secret)
		if err != nil {
			return err
		}
		if err := s.onSocket(sock, serve.Process(u.src)); err != nil {
			return err
		}
		config.Add(u.spec.Called(), profile)
		if i > 0 {
			continue
		}
		config.Default(secret.Region)
		h, err := serve.NewHub("", listen.NewPeers(nil, false), s.cfg.Log)
		if err != nil {
			return err
		}
		s.stop = append(s.stop, h.Close)
		path, token := "/"+u.spec.Called(), serve.NewSecret()
		h.Open(path, token, u.src)
		// Not the token's file: botocore reads that from 1.34 on only.
		s.give.AWS.ContainerURI, s.give.AWS.ContainerToken = h.URL(path), token
		s.give.AWS.Region, s.give.AWS.Endpoint = secret.Region, secret.Endpoint
	}
	return errors.Join(files.Write(s.give.AWS.ConfigFile, config.Text(), files.Self), files.Write(s.give.AWS.CredentialsFile, nil, files.Self))
}

// Guard has the guard end the command, too, should this process be killed. It is a
// proc.Command's Started; without a guard it does nothing.
func (s *Session) Guard(pid int) {
	if s.guard == nil {
		return
	}
	if err := s.guard.Of(pid); err != nil && !errors.Is(err, errors.ErrUnsupported) {
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
	ctx, cancel := context.WithTimeout(context.Background(), serve.CloseTimeout)
	defer cancel()
	err := s.task.Close(ctx)
	errs = append(errs, left, err)
	if s.guard != nil {
		if left == nil && (err == nil || serve.Over(err)) {
			errs = append(errs, s.guard.Dismiss())
		} else {
			errs = append(errs, s.guard.Leave())
		}
		s.guard = nil
	}
	return errors.Join(errs...)
}
