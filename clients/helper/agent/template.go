package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"text/template"
	"time"

	"github.com/valetkey/valetkey/clients/valetkey"
	"github.com/valetkey/valetkey/clients/valetkey/database"
)

// TemplateData is what a template is written from.
type TemplateData struct {
	// Task, Scope and Params are as configured; TaskID is the broker's id.
	Task, TaskID, Scope string
	Params              map[string][]string
	// CredentialID and GrantID are no secrets.
	CredentialID, GrantID string
	ExpiresAt             time.Time
	// AWS is set for scopes of AWS. SecretAccessKey and SessionToken are secrets.
	AWS *valetkey.AWSSecret
	// Vault is set for scopes that give a token. Token is a secret.
	Vault *valetkey.VaultSecret
	// Login is set for scopes that read a database login: Username and Password.
	Login *TemplateLogin
	// Data is what any other dynamic secret engine gave.
	Data map[string]any
}

// TemplateLogin is a database login. Password is a secret.
type TemplateLogin struct{ Username, Password string }

// compile parses a template. A field or key that is not there is an error when it
// is written.
func (t TemplateOutput) compile() (*template.Template, error) {
	text := t.Text
	if t.Source != "" {
		raw, err := os.ReadFile(t.Source)
		if err != nil {
			return nil, fmt.Errorf("reading a template: %w", err)
		}
		text = string(raw)
	}
	tmpl, err := template.New(t.File).Option("missingkey=error").Parse(text)
	if err != nil {
		return nil, fmt.Errorf("parsing the template of %s: %w", t.File, err)
	}
	return tmpl, nil
}

func checkTemplate(t TemplateOutput) error {
	_, err := t.compile()
	return err
}

// render writes a template into memory. Its errors name fields, never values.
func render(t TemplateOutput, data TemplateData) ([]byte, error) {
	tmpl, err := t.compile()
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	if err := tmpl.Execute(&out, data); err != nil {
		return nil, fmt.Errorf("writing the template of %s: %s", t.File, placeOf(err))
	}
	return out.Bytes(), nil
}

// placeOf is where a template failed: its line, and the field in its text. What
// text/template says after that may have the field's value, a secret, in it; so may
// what it wraps.
func placeOf(err error) string {
	const why = "what is there cannot be used so, or is not there"
	var failed template.ExecError
	if !errors.As(err, &failed) {
		return why
	}
	// "template: NAME:LINE:COLUMN: executing NAME at <FIELD>: ..."
	place, _, ok := strings.Cut(failed.Error(), ">: ")
	if !ok || !strings.Contains(place, " at <") {
		return why
	}
	return place + ">: " + why
}

// templateData takes a credential apart.
func templateData(ctx context.Context, base TemplateData, cred valetkey.Credential, db *database.Database) (TemplateData, error) {
	d := base
	d.CredentialID, d.GrantID, d.ExpiresAt = cred.ID(), cred.GrantID(), cred.ExpiresAt()
	secret := cred.Reveal()
	switch v := secret.Vault; {
	case v == nil:
		d.AWS = secret.AWS
	case v.Token != "":
		d.Vault = v
	default:
		login, err := db.Login(ctx)
		if err == nil {
			d.Login = &TemplateLogin{Username: login.Username, Password: login.Password()}
			return d, nil
		}
		if len(v.DataJSON) == 0 || json.Unmarshal(v.DataJSON, &d.Data) != nil {
			return d, errors.Join(errors.New("taking the secret apart"), err)
		}
	}
	return d, nil
}
