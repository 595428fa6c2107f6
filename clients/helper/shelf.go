package helper

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"

	"github.com/valetkey/valetkey/clients/valetkey"
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
	hub  *hub         // answers commands, which find no profile

	mu       sync.Mutex
	next     int                // locked by mu
	places   map[string]*Place  // by name; locked by mu
	profiles map[string]profile // what the config file has, by name; locked by mu
	closed   bool               // locked by mu
}

// Place is where tools find one credential.
type Place struct {
	// Profile is an AWS profile and ConfigFile the file that it is in; empty for
	// what is not AWS's.
	Profile, ConfigFile string
	// Env is what leads tools there. No secret is in it.
	Env map[string]string
	// Alone is for a command that is to find this place and no other of the shelf. It
	// goes on top of the shelf's Bare. Nothing in it leads to a file that says what
	// programs to run.
	Alone map[string]string
	// Secret is the value in Alone that opens the place, and not to be printed; empty
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
	if cfg.Program == "" {
		if cfg.Program, err = os.Executable(); err != nil {
			return nil, fmt.Errorf("finding this program: %w", err)
		}
	}
	s := &Shelf{cfg: cfg, places: map[string]*Place{}, profiles: map[string]profile{}}
	if s.dir, s.free, err = shelfDir(cfg.Dir); err != nil {
		return nil, fmt.Errorf("making a private folder: %w", err)
	}
	if err = errors.Join(writeSecret(s.path("aws-credentials"), nil, self), s.write(s.ConfigFile(), s.profiles)); err == nil {
		s.hub, err = newHub("", newPeers(nil, false), cfg.Log)
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

// Bare is what keeps a command from whatever else its user has, and from what
// commands before it have left: no home, AWS files that stay empty, no instance
// metadata.
func (s *Shelf) Bare() map[string]string {
	return map[string]string{
		"HOME": noHome, "AWS_CONFIG_FILE": os.DevNull, "AWS_SHARED_CREDENTIALS_FILE": os.DevNull, "AWS_EC2_METADATA_DISABLED": "true",
	}
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
	p := &Place{Env: map[string]string{}, shelf: s, name: name}
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
	if p.Alone == nil {
		p.Alone = maps.Clone(p.Env)
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

func (s *Shelf) putAWSLocked(p *Place, src source, secret valetkey.AWSSecret) error {
	sock := s.path(strconv.Itoa(s.next) + ".sock")
	lis, err := listenUnix(sock)
	if err != nil {
		return err
	}
	srv := serve(lis, newPeers(nil, true), s.cfg.Log, processHandler(src))
	path, with := "/"+p.name, maps.Clone(s.profiles)
	with[p.name] = profile{command: processCommand(s.cfg.Program, sock), region: secret.Region, endpoint: secret.Endpoint}
	p.stop = func() error {
		s.hub.shut(path)
		return srv.close()
	}
	if err := s.write(s.ConfigFile(), with); err != nil {
		return errors.Join(err, p.stop())
	}
	s.profiles = with
	p.Profile, p.ConfigFile = p.name, s.ConfigFile()
	p.Env["AWS_PROFILE"], p.Env["AWS_CONFIG_FILE"] = p.name, s.ConfigFile()
	// What the user has in their own file is not the tool's.
	p.Env["AWS_SHARED_CREDENTIALS_FILE"] = s.path("aws-credentials")
	p.Env["AWS_EC2_METADATA_DISABLED"] = "true"
	// A profile names a program to run, and a command can write the file that it is in.
	// An address and a token name none.
	p.Secret = newSecret()
	s.hub.open(path, p.Secret, src)
	p.Alone = map[string]string{"AWS_CONTAINER_CREDENTIALS_FULL_URI": s.hub.url(path), "AWS_CONTAINER_AUTHORIZATION_TOKEN": p.Secret}
	if secret.Region != "" {
		p.Alone["AWS_REGION"], p.Alone["AWS_DEFAULT_REGION"] = secret.Region, secret.Region
	}
	if secret.Endpoint != "" {
		p.Alone["AWS_ENDPOINT_URL_S3"] = secret.Endpoint
	}
	return nil
}

func (s *Shelf) putVault(p *Place, src source) error {
	handler, err := vaultProxy(src, "", s.cfg.Log)
	if err != nil {
		return err
	}
	lis, err := listenLoopback("")
	if err != nil {
		return err
	}
	// Without a secret of its own, so whose the connection is has to be known.
	p.stop = serve(lis, newPeers(nil, true), s.cfg.Log, handler).close
	p.Env["VAULT_ADDR"] = "http://" + lis.Addr().String()
	return nil
}

// putLoginLocked leaves a login in files of libpq: the name is in one too, so that
// no variable says it.
func (s *Shelf) putLoginLocked(ctx context.Context, p *Place, src *valetkey.Source) error {
	login, err := valetkey.NewDatabase(src).Login(ctx)
	if err != nil {
		return err
	}
	pass, service := s.path(strconv.Itoa(s.next)+".pgpass"), s.path(strconv.Itoa(s.next)+".pgservice")
	p.stop = func() error { return errors.Join(removeFile(pass), removeFile(service)) }
	err = errors.Join(
		writeSecret(pass, []byte(pgpassLine("*", 0, "*", login)), self),
		writeSecret(service, fmt.Appendf(nil, "[%s]\nuser=%s\npassfile=%s\n", p.name, login.Username, pass), self),
	)
	if err != nil {
		return errors.Join(err, p.stop())
	}
	p.Fixed = true
	p.Env["PGSERVICEFILE"], p.Env["PGSERVICE"] = service, p.name
	return nil
}

// write writes a config file.
func (s *Shelf) write(file string, all map[string]profile) error {
	var out profiles
	for _, name := range slices.Sorted(maps.Keys(all)) {
		out.add(name, all[name])
	}
	return writeSecret(file, out.text(), self)
}

// Close takes the place away: what is asked there after gets nothing. The task and
// its grants are whose they were.
func (p *Place) Close() error {
	p.done.Do(func() {
		s := p.shelf
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.places, p.name)
		errs := []error{p.stop()}
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
	return errors.Join(append(errs, s.hub.close(), os.RemoveAll(s.dir), s.free())...)
}
