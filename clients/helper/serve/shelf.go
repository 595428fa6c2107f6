package serve

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/valetkey/valetkey/broker/listen"
	"github.com/valetkey/valetkey/clients/environ"
	"github.com/valetkey/valetkey/clients/helper/files"
	"github.com/valetkey/valetkey/clients/valetkey"
	"github.com/valetkey/valetkey/clients/valetkey/database"
)

// ErrNothingToServe is a credential of a kind that no tool looks for, such as a
// wrapping token.
var ErrNothingToServe = errors.New("no tool takes such a credential from its surroundings")

// ShelfConfig is what a shelf needs.
type ShelfConfig struct {
	// Dir is the shelf's folder, which it makes; a new one in the system's folder
	// where empty. It is 0700, and gone with the shelf. One that a shelf has left
	// behind which was killed is taken over; one that is in use, or has other files
	// in it, is not.
	Dir string
	// Program is the path of the valetkey command, which profiles name; empty for
	// this program itself.
	Program string
	// Log is where warnings go; slog.Default() when nil.
	Log *slog.Logger
}

// Shelf serves the credentials of tasks that somebody else opens and closes, each
// under a name, to the tools of this user: AWS profiles in one config file, Vault
// proxies, and logins for libpq. No address or variable of it is a secret: who
// asks is what counts. Its methods are safe for concurrent use.
type Shelf struct {
	cfg  ShelfConfig
	dir  string
	free func() error // lets go of dir
	hub  *Hub         // answers commands, which find no profile

	mu       sync.Mutex
	next     int                      // locked by mu
	places   map[string]*Place        // by name; locked by mu
	profiles map[string]files.Profile // what the config file has, by name; locked by mu
	closed   bool                     // locked by mu
}

// Place is where tools find one credential.
type Place struct {
	// Profile is an AWS profile and ConfigFile the file that it is in; empty for
	// what is not AWS's.
	Profile, ConfigFile string
	// Shell is what a shell of the user's is given: no secret is in it. EnvFile says the
	// same as a script for POSIX shells, and is gone with the place.
	Shell   environ.Delivery
	EnvFile string
	// Command is what a command is given that is to find this place and no other of the
	// shelf. Nothing in it leads to a file that says what programs to run.
	Command environ.Delivery
	// Secret is the value in Command that opens the place, and not to be printed; empty
	// for none.
	Secret string
	// Fixed says that the credential is what it was when it was put there: it is
	// not renewed.
	Fixed bool

	shelf *Shelf
	name  string
	stop  func() error // once
	done  sync.Once
	err   error
}

// NewShelf makes an empty shelf.
func NewShelf(cfg ShelfConfig) (_ *Shelf, err error) {
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	if cfg.Program, err = files.Program(cfg.Program); err != nil {
		return nil, err
	}
	s := &Shelf{cfg: cfg, places: map[string]*Place{}, profiles: map[string]files.Profile{}}
	if s.dir, s.free, err = shelfDir(cfg.Dir); err != nil {
		return nil, fmt.Errorf("making a private folder: %w", err)
	}
	err = errors.Join(files.Write(s.path("aws-credentials"), nil, files.Self), files.Write(s.path("no.pgpass"), nil, files.Self),
		files.Write(s.path("no-kubeconfig"), []byte(environ.NowhereKubeconfig), files.Self), s.write(s.ConfigFile(), s.profiles))
	if err == nil {
		s.hub, err = NewHub("", listen.NewPeers(nil, false), cfg.Log)
	}
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(s.dir), s.free())
	}
	return s, nil
}

// Dir is the shelf's folder.
func (s *Shelf) Dir() string { return s.dir }

// ConfigFile is the AWS config file with the profiles of the shelf.
func (s *Shelf) ConfigFile() string { return s.path("aws-config") }

// noHome is a folder that is not there, and that nobody can make, root included: what
// tools take from a home, such as aliases that are commands, is not to be written by
// one command for the next.
const noHome = "/proc/no-home"

// Environ is the environment of a command that is given these places: base without what
// its user has, without what commands before it have left, and with a home only where
// base has one. Two places of one kind are ErrTwoOfAKind.
func (s *Shelf) Environ(base []string, places ...*Place) ([]string, error) {
	all := environ.Delivery{Closed: &environ.Closed{PassFile: s.path("no.pgpass"), Kubeconfig: s.path("no-kubeconfig")}}
	for _, p := range places {
		c := p.Command
		if c.AWS != nil && all.AWS != nil || c.Vault != nil && all.Vault != nil || c.Postgres != nil && all.Postgres != nil {
			return nil, ErrTwoOfAKind
		}
		all.AWS, all.Vault, all.Postgres = cmp.Or(all.AWS, c.AWS), cmp.Or(all.Vault, c.Vault), cmp.Or(all.Postgres, c.Postgres)
	}
	if !slices.ContainsFunc(base, func(kv string) bool { return strings.HasPrefix(kv, "HOME=") }) {
		base = append(slices.Clone(base), "HOME="+noHome)
	}
	return all.Environment().Environ(base), nil
}

func (s *Shelf) path(name string) string { return filepath.Join(s.dir, name) }

// Put serves src's credential as name, which is a profile's and has to be unique.
func (s *Shelf) Put(ctx context.Context, name string, src *valetkey.Source) (_ *Place, err error) {
	if !plainName(name) {
		return nil, fmt.Errorf("%q is no name for a profile: a-z, 0-9 and -, from 1 to 64", name)
	}
	cred, err := src.Credential(ctx)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return nil, fmt.Errorf("the shelf: %w", valetkey.ErrClosed)
	case s.places[name] != nil:
		return nil, fmt.Errorf("the name %q is taken", name)
	}
	s.next++
	p := &Place{shelf: s, name: name}
	secret := cred.Reveal()
	switch {
	case secret.AWS != nil:
		err = s.putAWSLocked(p, src, *secret.AWS)
	case secret.Vault != nil && secret.Vault.Token != "":
		err = s.putVault(p, src)
	case secret.Vault != nil && len(secret.Vault.DataJSON) > 0:
		err = s.putLoginLocked(ctx, p, src)
	default:
		err = ErrNothingToServe
	}
	if err != nil {
		return nil, fmt.Errorf("serving %s: %w", name, err)
	}
	p.EnvFile = s.path(name + ".env")
	if err := files.Write(p.EnvFile, p.Shell.Environment().File(), files.Self); err != nil {
		return nil, errors.Join(fmt.Errorf("serving %s: %w", name, err), p.stop())
	}
	s.places[name] = p
	return p, nil
}

func plainName(s string) bool {
	if s == "" || len(s) > 64 {
		return false
	}
	for _, r := range s {
		if (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' {
			return false
		}
	}
	return true
}

func (s *Shelf) putAWSLocked(p *Place, src Source, secret valetkey.AWSSecret) error {
	sock := s.path(strconv.Itoa(s.next) + ".sock")
	profile, err := files.NewProfile(s.cfg.Program, sock, secret)
	if err != nil {
		return err
	}
	srv, err := OnSocket(sock, listen.NewPeers(nil, true), s.cfg.Log, Process(src))
	if err != nil {
		return err
	}
	path, with := "/"+p.name, maps.Clone(s.profiles)
	with[p.name] = profile
	p.stop = func() error {
		s.hub.Shut(path)
		return srv.Close()
	}
	if err := s.write(s.ConfigFile(), with); err != nil {
		return errors.Join(err, p.stop())
	}
	s.profiles = with
	p.Profile, p.ConfigFile = p.name, s.ConfigFile()
	p.Shell.AWS = &environ.AWS{Profile: p.name, ConfigFile: s.ConfigFile(), CredentialsFile: s.path("aws-credentials"), Region: secret.Region, Endpoint: secret.Endpoint}
	// A profile names a program to run, and a command can write the file that it is in.
	// An address and a token name none.
	p.Secret = NewSecret()
	s.hub.Open(path, p.Secret, src)
	p.Command.AWS = &environ.AWS{ContainerURI: s.hub.URL(path), ContainerToken: p.Secret, Region: secret.Region, Endpoint: secret.Endpoint}
	return nil
}

func (s *Shelf) putVault(p *Place, src Source) error {
	handler, err := VaultProxy(src, "", s.cfg.Log)
	if err != nil {
		return err
	}
	// Without a secret of its own, so whose the connection is has to be known.
	srv, err := OnLoopback("", listen.NewPeers(nil, true), s.cfg.Log, handler)
	if err != nil {
		return err
	}
	p.stop = srv.Close
	p.Shell.Vault = &environ.Vault{Address: srv.URL("")}
	p.Command = p.Shell
	return nil
}

// putLoginLocked leaves a login in files of libpq: the name is in one too, so that
// no variable says it.
func (s *Shelf) putLoginLocked(ctx context.Context, p *Place, src *valetkey.Source) error {
	login, err := database.New(src).Login(ctx)
	if err != nil {
		return err
	}
	pass, service := s.path(strconv.Itoa(s.next)+".pgpass"), s.path(strconv.Itoa(s.next)+".pgservice")
	p.stop = func() error { return errors.Join(files.Remove(pass, files.Self), files.Remove(service, files.Self)) }
	err = errors.Join(
		files.Write(pass, []byte(files.PassLine("*", 0, "*", login)), files.Self),
		files.Write(service, fmt.Appendf(nil, "[%s]\nuser=%s\npassfile=%s\n", p.name, login.Username, pass), files.Self),
	)
	if err != nil {
		return errors.Join(err, p.stop())
	}
	p.Fixed = true
	// The service names the login's own password file; this one is for what asks another.
	p.Shell.Postgres = &environ.Postgres{Service: p.name, ServiceFile: service, PassFile: s.path("no.pgpass")}
	p.Command = p.Shell
	return nil
}

// write writes a config file.
func (s *Shelf) write(file string, all map[string]files.Profile) error {
	var out files.Profiles
	for _, name := range slices.Sorted(maps.Keys(all)) {
		out.Add(name, all[name])
	}
	return files.Write(file, out.Text(), files.Self)
}

// Close takes the place away: what is asked there after gets nothing. The task and
// its grants are whose they were.
func (p *Place) Close() error {
	p.done.Do(func() {
		s := p.shelf
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.places, p.name)
		errs := []error{files.Remove(p.EnvFile, files.Self), p.stop()}
		if _, ok := s.profiles[p.name]; ok {
			delete(s.profiles, p.name)
			if !s.closed {
				errs = append(errs, s.write(s.ConfigFile(), s.profiles))
			}
		}
		p.err = errors.Join(errs...)
	})
	return p.err
}

// Close takes everything away, and the folder with it.
func (s *Shelf) Close() error {
	s.mu.Lock()
	s.closed = true
	all := slices.Collect(maps.Values(s.places))
	s.mu.Unlock()
	var errs []error
	for _, p := range all {
		errs = append(errs, p.Close())
	}
	return errors.Join(append(errs, s.hub.Close(), os.RemoveAll(s.dir), s.free())...)
}
