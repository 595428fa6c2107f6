package agent

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"

	"github.com/valetkey/valetkey/broker/listen"
	"github.com/valetkey/valetkey/clients/environ"
	"github.com/valetkey/valetkey/clients/helper/files"
	"github.com/valetkey/valetkey/clients/helper/serve"
	"github.com/valetkey/valetkey/clients/valetkey"
)

// addresses are the outputs of an outlet while they are there. But for what is
// locked, one goroutine has them at a time.
type addresses struct {
	o     *outlet
	shut  []func() error          // what open opened, in order
	token string                  // of the container endpoint
	gone  map[string]func() error // what removes what was written, by path

	mu   sync.Mutex
	text []string // what the status shows; locked by mu
}

// hubPath is where the container endpoint has this scope.
func (o *outlet) hubPath() string { return "/v1/" + o.task.Name + "/" + o.name() }

// open opens all or nothing.
func (d *addresses) open() (err error) {
	defer func() {
		if err != nil {
			err = errors.Join(err, d.close(), d.removeFiles())
		}
	}()
	o, out := d.o, d.o.conf.Outputs
	if c := out.Container; c != nil {
		d.token = serve.NewSecret()
		// Without a newline: the SDKs refuse a token that ends in one.
		if err := d.file(c.TokenFile, []byte(d.token)); err != nil {
			return err
		}
		o.a.hub.Open(o.hubPath(), d.token, o.src)
		d.shut = append(d.shut, func() error { o.a.hub.Shut(o.hubPath()); return nil })
		d.say("container %s token %s", o.a.hub.URL(o.hubPath()), c.TokenFile)
	}
	if p := out.Process; p != nil {
		if err := d.socket(p.Socket, serve.Process(o.src)); err != nil {
			return err
		}
		d.say("process %s", p.Socket)
	}
	if m := out.IMDS; m != nil {
		url, err := d.loopback(m.Listen, o.a.peers(true), serve.IMDS(o.name(), o.src))
		if err != nil {
			return err
		}
		d.say("imds %s", url)
	}
	return errors.Join(d.openVault(out.VaultProxy), d.openKubeconfig(out.Kubeconfig))
}

// socket serves h on a socket.
func (d *addresses) socket(path string, h http.Handler) error {
	others, mode := d.o.a.others(), files.SocketOwn
	if others {
		mode = files.SocketOthers
	}
	lis, err := files.SharedSocket(path, mode)
	if err != nil {
		return err
	}
	d.shut = append(d.shut, serve.Start(lis, d.o.a.peers(others), d.o.a.cfg.Log, h).Close)
	return nil
}

// loopback serves h on a loopback address.
func (d *addresses) loopback(address string, p listen.Peers, h http.Handler) (url string, err error) {
	srv, err := serve.OnLoopback(address, p, d.o.a.cfg.Log, h)
	if err != nil {
		return "", err
	}
	d.shut = append(d.shut, srv.Close)
	return srv.URL(""), nil
}

// openKubeconfig writes the file, too: nothing in it is of a credential, and
// kubectl then says why there is none.
func (d *addresses) openKubeconfig(k *KubeconfigOutput) error {
	if k == nil {
		return nil
	}
	if err := d.socket(k.Socket, serve.Kube(d.o.src, k.KubeCluster)); err != nil {
		return err
	}
	if err := k.file().Write(files.NewKubeconfig(d.o.block(), d.o.a.cfg.Program, k.Socket, k.KubeCluster), d.o.a.owner()); err != nil {
		return err
	}
	d.gone[k.File] = func() error { return k.file().Remove(d.o.a.owner()) }
	d.say("kubeconfig %s", k.File)
	return nil
}

func (d *addresses) openVault(v *VaultProxyOutput) error {
	if v == nil {
		return nil
	}
	secret := ""
	if v.TokenFile != "" {
		secret = serve.NewSecret()
	}
	handler, err := serve.VaultProxy(d.o.src, secret, d.o.a.cfg.Log)
	if err != nil {
		return err
	}
	url, err := d.loopback(v.Listen, d.o.a.peers(secret == ""), handler)
	if err != nil {
		return err
	}
	// Written when the port is ours: before, clients could send it to whoever has that.
	if secret != "" {
		if err := d.file(v.TokenFile, []byte(secret)); err != nil {
			return err
		}
	}
	d.say("vault %s", url)
	return nil
}

func (d *addresses) say(format string, args ...any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.text = append(d.text, fmt.Sprintf(format, args...))
}

// said is what the status shows.
func (d *addresses) said() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.text)
}

// file writes a file of our own.
func (d *addresses) file(path string, content []byte) error {
	if err := files.Write(path, content, d.o.a.owner()); err != nil {
		return err
	}
	d.gone[path] = func() error { return files.Remove(path, d.o.a.owner()) }
	return nil
}

// part writes our part of a file that others write too.
func (d *addresses) part(path string, content []byte, front bool) error {
	if err := files.SetBlock(path, d.o.block(), content, front, d.o.a.owner()); err != nil {
		return err
	}
	d.gone[path] = func() error { return d.o.a.journal.remove(blockName{path, d.o.block()}, d.o.a.owner()) }
	return nil
}

// write writes what a credential is needed for. A file that cannot be written stays
// as it was.
func (d *addresses) write(ctx context.Context, cred valetkey.Credential) error {
	secret := cred.Reveal()
	return errors.Join(d.writeAWS(secret.AWS), d.writeVault(secret.Vault), d.writeLogin(ctx), d.writeTemplates(ctx, cred), d.o.conf.Outputs.Kubeconfig.works(ctx, cred))
}

func (d *addresses) writeAWS(s *valetkey.AWSSecret) error {
	out := d.o.conf.Outputs
	switch {
	case out.Container == nil && out.Process == nil && out.IMDS == nil:
		return nil
	case s == nil:
		return fmt.Errorf("outputs of AWS: %w", serve.ErrNoAWS)
	}
	var errs []error
	if c := out.Container; c != nil && c.EnvFile != "" {
		errs = append(errs, d.file(c.EnvFile, environ.Delivery{AWS: &environ.AWS{
			// SDKs take the file first, which changes with the agent; older ones know no file.
			ContainerURI: d.o.a.hub.URL(d.o.hubPath()), ContainerTokenFile: c.TokenFile, ContainerToken: d.token, Region: s.Region, Endpoint: s.Endpoint,
		}}.Environment().File()))
	}
	if p := out.Process; p != nil && p.Profile != "" {
		profile, err := files.NewProfile(d.o.a.cfg.Program, p.Socket, *s)
		if err == nil {
			var f files.Profiles
			f.Add(p.Profile, profile)
			err = d.part(p.ConfigFile, f.Text(), false)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func (d *addresses) writeVault(s *valetkey.VaultSecret) error {
	out := d.o.conf.Outputs
	switch {
	case out.VaultProxy == nil && out.VaultSink == nil:
		return nil
	case s == nil || s.Token == "":
		return fmt.Errorf("outputs of Vault: %w", serve.ErrNoVault)
	case out.VaultSink == nil:
		return nil
	}
	return d.file(out.VaultSink.File, []byte(s.Token))
}

func (d *addresses) writeLogin(ctx context.Context) error {
	p := d.o.conf.Outputs.PGPass
	if p == nil {
		return nil
	}
	login, err := d.o.db.Login(ctx)
	if err != nil {
		return err
	}
	wild := func(s string) string {
		if s == "" {
			return "*"
		}
		return s
	}
	return d.part(p.File, []byte(files.PassLine(wild(p.Host), p.Port, wild(p.Database), login)), true)
}

func (d *addresses) writeTemplates(ctx context.Context, cred valetkey.Credential) error {
	out := d.o.conf.Outputs
	if len(out.Templates) == 0 {
		return nil
	}
	data, err := templateData(ctx, d.o.base(), cred, d.o.db)
	if err != nil {
		return err
	}
	var errs []error
	for _, t := range out.Templates {
		text, err := render(t, data)
		if err == nil {
			err = d.file(t.File, text)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// close shuts the addresses.
func (d *addresses) close() error {
	var errs []error
	for _, f := range d.shut {
		errs = append(errs, f())
	}
	d.shut = nil
	d.mu.Lock()
	defer d.mu.Unlock()
	d.text = nil
	return errors.Join(errs...)
}

// removeFiles removes what was written.
func (d *addresses) removeFiles() error {
	var errs []error
	for path, f := range d.gone {
		errs = append(errs, f())
		delete(d.gone, path)
	}
	return errors.Join(errs...)
}
