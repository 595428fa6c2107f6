package agent

import (
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"strings"
	"unicode"

	"github.com/valetkey/valetkey/clients/helper/serve"
)

// resolve makes every path absolute.
func (c *Config) resolve(dir string) {
	for _, p := range c.paths() {
		if *p != "" && !filepath.IsAbs(*p) {
			*p = filepath.Join(dir, *p)
		}
	}
}

// paths are all that name a file.
func (c *Config) paths() []*string {
	out := []*string{&c.Socket}
	for i := range c.Tasks {
		for j := range c.Tasks[i].Scopes {
			o := &c.Tasks[i].Scopes[j].Outputs
			out = append(out, o.written()...)
			if o.Kubeconfig != nil {
				out = append(out, &o.Kubeconfig.CertificateAuthority)
			}
			for k := range o.Templates {
				out = append(out, &o.Templates[k].Source)
			}
		}
	}
	return out
}

// written are the files and sockets that an output makes.
func (o *Outputs) written() (out []*string) {
	if o.Container != nil {
		out = append(out, &o.Container.TokenFile, &o.Container.EnvFile)
	}
	if o.Process != nil {
		out = append(out, &o.Process.Socket, &o.Process.ConfigFile)
	}
	if o.VaultProxy != nil {
		out = append(out, &o.VaultProxy.TokenFile)
	}
	if o.VaultSink != nil {
		out = append(out, &o.VaultSink.File)
	}
	if o.PGPass != nil {
		out = append(out, &o.PGPass.File)
	}
	if o.Kubeconfig != nil {
		out = append(out, &o.Kubeconfig.File, &o.Kubeconfig.Socket)
	}
	for i := range o.Templates {
		out = append(out, &o.Templates[i].File)
	}
	return out
}

// shared are those of written that others write too.
func (o *Outputs) shared() map[*string]bool {
	out := map[*string]bool{}
	if o.Process != nil {
		out[&o.Process.ConfigFile] = true
	}
	if o.PGPass != nil {
		out[&o.PGPass.File] = true
	}
	return out
}

// check refuses what cannot be meant.
func (c *Config) check() error {
	if len(c.Tasks) == 0 {
		return errors.New("tasks: there is none")
	}
	seen, files := map[string]bool{}, map[string]string{}
	for i := range c.Tasks {
		t := &c.Tasks[i]
		if !serve.IsName(t.Name) || seen[t.Name] {
			return fmt.Errorf("tasks: the name %q is no name, or there twice", t.Name)
		}
		seen[t.Name] = true
		if err := t.check(files); err != nil {
			return fmt.Errorf("task %s: %w", t.Name, err)
		}
	}
	return nil
}

func (t *TaskConfig) check(files map[string]string) error {
	switch {
	case t.Purpose == "":
		return errors.New("purpose: say why, for people")
	case t.Environment == "":
		return errors.New("environment: say where, such as staging")
	case len(t.Scopes) == 0:
		return errors.New("scopes: there is none")
	}
	seen := map[string]bool{}
	for i := range t.Scopes {
		s := &t.Scopes[i]
		name := s.spec().Called()
		if !serve.IsName(name) || seen[name] {
			return fmt.Errorf("scopes: the name %q is no name, or there twice", name)
		}
		seen[name] = true
		if err := s.Outputs.check(t.Name+"/"+name, files); err != nil {
			return fmt.Errorf("scope %s: outputs: %w", name, err)
		}
	}
	return nil
}

// check refuses outputs that cannot work. Two may share a file only where each
// keeps its own part of it.
func (o *Outputs) check(owner string, files map[string]string) error {
	switch {
	case o.Container == nil && o.Process == nil && o.IMDS == nil && o.VaultProxy == nil && o.VaultSink == nil && o.PGPass == nil &&
		o.Kubeconfig == nil && len(o.Templates) == 0:
		return errors.New("there is none, so that nobody could use it")
	case o.Container != nil && o.Container.TokenFile == "":
		return errors.New("container: token_file: name a file")
	case o.Process != nil && o.Process.Socket == "":
		return errors.New("process: socket: name a path")
	case o.Process != nil && (o.Process.Profile == "") != (o.Process.ConfigFile == ""):
		return errors.New("process: profile and config_file go together")
	case o.Process != nil && o.Process.Profile != "" && !serve.IsName(o.Process.Profile):
		return fmt.Errorf("process: profile: %q is no name", o.Process.Profile)
	case o.IMDS != nil && runtime.GOOS != "linux":
		return errors.New("imds: only Linux says whose a connection is, and IMDS has no other lock")
	case o.VaultProxy != nil && o.VaultProxy.TokenFile == "" && runtime.GOOS != "linux":
		return errors.New("vault_proxy: token_file: only Linux says whose a connection is; elsewhere callers need a token")
	case o.VaultSink != nil && o.VaultSink.File == "":
		return errors.New("vault_sink: file: name one")
	case o.PGPass != nil && o.PGPass.File == "":
		return errors.New("pgpass: file: name one")
	case o.PGPass != nil && (o.PGPass.Port < 0 || o.PGPass.Port > 65535):
		return fmt.Errorf("pgpass: port: %d is none", o.PGPass.Port)
	}
	if k := o.Kubeconfig; k != nil {
		if err := k.check(); err != nil {
			return fmt.Errorf("kubeconfig: %w", err)
		}
	}
	for _, t := range o.Templates {
		if t.File == "" || (t.Source == "") == (t.Text == "") {
			return errors.New("templates: each has a file, and either source or text")
		}
		if err := checkTemplate(t); err != nil {
			return err
		}
	}
	shared := o.shared()
	for _, p := range o.written() {
		if *p == "" {
			continue
		}
		kind := owner
		if shared[p] {
			kind = "shared"
		}
		if other, taken := files[*p]; taken && (kind != "shared" || other != "shared") {
			return fmt.Errorf("%s is written by %s already", *p, other)
		}
		files[*p] = kind
	}
	return nil
}

func (k *KubeconfigOutput) check() error {
	switch {
	case k.File == "":
		return errors.New("file: name one")
	case k.Socket == "":
		return errors.New("socket: name a path")
	case strings.ContainsFunc(k.File+k.Socket, unicode.IsControl):
		return errors.New("file, socket: a path has a control character")
	}
	return k.Check()
}
