package helper

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/valetkey/valetkey/clients/valetkey"
)

// addresses are the outputs of an outlet while they are there. But for what is
// locked, one goroutine has them at a time.
type addresses struct {
	o    *outlet
	shut []func() error          // what open opened, in order
	gone map[string]func() error // what removes what was written, by path

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
	o, out, log := d.o, d.o.conf.Outputs, d.o.a.cfg.Log
	if c := out.Container; c != nil {
		token := newSecret()
		// Without a newline: the SDKs refuse a token that ends in one.
		if err := d.file(c.TokenFile, []byte(token)); err != nil {
			return err
		}
		o.a.hub.open(o.hubPath(), token, o.src)
		d.shut = append(d.shut, func() error { o.a.hub.shut(o.hubPath()); return nil })
		d.say("container %s token %s", o.a.hub.url(o.hubPath()), c.TokenFile)
	}
	if p := out.Process; p != nil {
		if err := d.socket(p.Socket, processHandler(o.src)); err != nil {
			return err
		}
		d.say("process %s", p.Socket)
	}
	if m := out.IMDS; m != nil {
		lis, err := listenLoopback(m.Listen)
		if err != nil {
			return err
		}
		d.shut = append(d.shut, serve(lis, o.a.peers(true), log, newIMDS(o.name(), o.src)).close)
		d.say("imds http://%s", lis.Addr())
	}
	return errors.Join(d.openVault(out.VaultProxy), d.openKubeconfig(out.Kubeconfig))
}

// socket serves h on a socket.
func (d *addresses) socket(path string, h http.Handler) error {
	others, mode := d.o.a.others(), socketOwn
	if others {
		mode = socketOthers
	}
	lis, err := listenShared(path, mode)
	if err != nil {
		return err
	}
	d.shut = append(d.shut, serve(lis, d.o.a.peers(others), d.o.a.cfg.Log, h).close)
	return nil
}

// openKubeconfig writes the file, too: nothing in it is of a credential, and
// kubectl then says why there is none.
func (d *addresses) openKubeconfig(k *KubeconfigOutput) error {
	if k == nil {
		return nil
	}
	if err := d.socket(k.Socket, kubeHandler(d.o.src, k.KubeCluster)); err != nil {
		return err
	}
	text, err := kubeconfigText(d.o.block(), d.o.a.cfg.Program, k.Socket, k.KubeCluster)
	if err != nil {
		return err
	}
	if err := k.name().write(text, d.o.a.owner()); err != nil {
		return err
	}
	d.gone[k.File] = func() error { return k.name().remove(d.o.a.owner()) }
	d.say("kubeconfig %s", k.File)
	return nil
}

func (d *addresses) openVault(v *VaultProxyOutput) error {
	if v == nil {
		return nil
	}
	secret := ""
	if v.TokenFile != "" {
		secret = newSecret()
		if err := d.file(v.TokenFile, []byte(secret)); err != nil {
			return err
		}
	}
	handler, err := vaultProxy(d.o.src, secret, d.o.a.cfg.Log)
	if err != nil {
		return err
	}
	lis, err := listenLoopback(v.Listen)
	if err != nil {
		return err
	}
	d.shut = append(d.shut, serve(lis, d.o.a.peers(secret == ""), d.o.a.cfg.Log, handler).close)
	d.say("vault http://%s", lis.Addr())
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
	if err := writeSecret(path, content, d.o.a.owner()); err != nil {
		return err
	}
	d.gone[path] = func() error { return removeOf(path, d.o.a.owner()) }
	return nil
}

// part writes our part of a file that others write too.
func (d *addresses) part(path string, content []byte, front bool) error {
	if err := setBlock(path, d.o.block(), content, front, d.o.a.owner()); err != nil {
		return err
	}
	d.gone[path] = func() error { return d.o.a.journal.remove(blockName{path, d.o.block()}, d.o.a.owner()) }
	return nil
}

// write writes what a credential is needed for. A file that cannot be written stays
// as it was.
func (d *addresses) write(ctx context.Context, cred valetkey.Credential) error {
	secret := cred.Reveal()
	return errors.Join(d.writeAWS(secret.AWS), d.writeVault(secret.Vault), d.writeLogin(ctx), d.writeTemplates(ctx, cred), d.checkKubeconfig(ctx, cred))
}

func (d *addresses) writeAWS(s *valetkey.AWSSecret) error {
	out := d.o.conf.Outputs
	switch {
	case out.Container == nil && out.Process == nil && out.IMDS == nil:
		return nil
	case s == nil:
		return fmt.Errorf("outputs of AWS: %w", errNoAWS)
	}
	var errs []error
	if c := out.Container; c != nil && c.EnvFile != "" {
		errs = append(errs, d.file(c.EnvFile, envText(map[string]string{
			"AWS_CONTAINER_CREDENTIALS_FULL_URI": d.o.a.hub.url(d.o.hubPath()), "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": c.TokenFile,
			"AWS_REGION": s.Region, "AWS_DEFAULT_REGION": s.Region, "AWS_ENDPOINT_URL_S3": s.Endpoint,
		})))
	}
	if p := out.Process; p != nil && p.Profile != "" {
		var f profiles
		f.add(p.Profile, profile{command: processCommand(d.o.a.cfg.Program, p.Socket), region: s.Region, endpoint: s.Endpoint})
		errs = append(errs, d.part(p.ConfigFile, f.text(), false))
	}
	return errors.Join(errs...)
}

func (d *addresses) writeVault(s *valetkey.VaultSecret) error {
	out := d.o.conf.Outputs
	switch {
	case out.VaultProxy == nil && out.VaultSink == nil:
		return nil
	case s == nil || s.Token == "":
		return fmt.Errorf("outputs of Vault: %w", errNoVault)
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
	return d.part(p.File, []byte(pgpassLine(wild(p.Host), p.Port, wild(p.Database), login)), true)
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

// checkKubeconfig wants a token for the cluster from a credential.
func (d *addresses) checkKubeconfig(ctx context.Context, cred valetkey.Credential) error {
	k := d.o.conf.Outputs.Kubeconfig
	if k == nil {
		return nil
	}
	_, err := k.token(ctx, cred.Reveal(), cred.ExpiresAt(), time.Now())
	return err
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
