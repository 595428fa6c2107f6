// Package database logs in to databases with the dynamic accounts of Vault's database engine.
package database

import (
	"context"
	"database/sql/driver"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/valetkey/valetkey/clients/valetkey"
	"github.com/valetkey/valetkey/clients/valetkey/internal/plain"
	"github.com/valetkey/valetkey/clients/valetkey/vault"
)

// New makes logins from src, whose scope reads a dynamic path of Vault's database
// engine. Nothing is asked for until the first Login.
func New(src *valetkey.Source) *Database { return &Database{Source: src} }

// Database gives logins that stand on a source. It is safe for concurrent use.
type Database struct {
	*valetkey.Source

	mu   sync.Mutex
	last *opening // the newest; nil for none; locked by mu
}

// opening is a credential on its way to be a login.
type opening struct {
	of   valetkey.Credential
	done chan struct{} // closed when login and err are set

	login Login
	err   error
}

// openTimeout bounds how long a Vault is waited for with a wrapping token.
const openTimeout = 30 * time.Second

// Login is a database account. However it is printed, logged or marshalled it
// shows the user's name alone.
type Login struct {
	// Username is the account, and no secret.
	Username string
	// ExpiresAt is when Vault's lease ends the account.
	ExpiresAt time.Time

	// A closure, for the reason that a Credential has one.
	password func() string
}

// Password is the secret. Call it only where it is handed to a driver.
func (l Login) Password() string {
	if l.password == nil {
		return ""
	}
	return l.password()
}

// String, GoString, Format, MarshalJSON and LogValue hide the password.
func (l Login) String() string { return l.Username + " [REDACTED]" }

// GoString hides the password from %#v.
func (l Login) GoString() string { return l.String() }

// Format hides the password from every verb.
func (l Login) Format(f fmt.State, _ rune) { _, _ = fmt.Fprint(f, l.String()) }

// MarshalJSON hides the password.
func (l Login) MarshalJSON() ([]byte, error) { return json.Marshal(l.String()) }

// LogValue hides the password from slog.
func (l Login) LogValue() slog.Value { return slog.StringValue(l.String()) }

// Login returns an account that lives. It fails with valetkey.ErrControlCharacter where its
// name or password would be more than one line of a file. Connections that were made
// with it may be cut when its lease ends: give the pool a sql.DB.SetConnMaxLifetime
// below the scope's life.
func (d *Database) Login(ctx context.Context) (Login, error) {
	cred, err := d.Credential(ctx)
	if err != nil {
		return Login{}, err
	}
	o := d.open(ctx, cred)
	select {
	case <-o.done:
	case <-ctx.Done():
		return Login{}, fmt.Errorf("reading the login of scope %s: %w", d.Scope(), context.Cause(ctx))
	}
	return o.login, o.err
}

// open opens a credential once, however many ask. A wrapping token opens once, so that the end of whoever asked first
// does not cut the opening short, and whoever waits for it waits for as long as they like.
func (d *Database) open(ctx context.Context, cred valetkey.Credential) *opening {
	d.mu.Lock()
	defer d.mu.Unlock()
	if o := d.last; o != nil && o.of.ID() == cred.ID() && o.of.ExpiresAt().Equal(cred.ExpiresAt()) && !o.failed() {
		return o
	}
	o := &opening{of: cred, done: make(chan struct{})}
	d.last = o
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), openTimeout)
	go func() {
		defer cancel()
		defer close(o.done)
		o.login, o.err = d.read(ctx, cred)
	}()
	return o
}

// failed says that the opening is over, and brought nothing.
func (o *opening) failed() bool {
	select {
	case <-o.done:
		return o.err != nil
	default:
		return false
	}
}

// read reads the login that a credential is.
func (d *Database) read(ctx context.Context, cred valetkey.Credential) (Login, error) {
	data, err := vault.Data(ctx, cred.Reveal().Vault)
	if err != nil {
		return Login{}, fmt.Errorf("reading the login of scope %s: %w", d.Scope(), err)
	}
	var pair struct{ Username, Password string }
	if err := json.Unmarshal(data, &pair); err != nil || pair.Username == "" || pair.Password == "" {
		return Login{}, fmt.Errorf("scope %s gives a secret that is no username and password", d.Scope())
	}
	if err := errors.Join(plain.Text("username", pair.Username), plain.Text("password", pair.Password)); err != nil {
		return Login{}, fmt.Errorf("reading the login of scope %s: %w", d.Scope(), err)
	}
	return Login{Username: pair.Username, password: func() string { return pair.Password }, ExpiresAt: cred.ExpiresAt()}, nil
}

// Connector lets database/sql log in anew for each connection. dsn writes a login
// as the driver wants it:
//
//	db := sql.OpenDB(login.Connector(&stdlib.Driver{}, func(l database.Login) string {
//		return (&url.URL{Scheme: "postgres", Host: host, User: url.UserPassword(l.Username, l.Password()), Path: name}).String()
//	}))
func (d *Database) Connector(drv driver.Driver, dsn func(Login) string) driver.Connector {
	return &connector{d: d, drv: drv, dsn: dsn}
}

type connector struct {
	d   *Database
	drv driver.Driver
	dsn func(Login) string
}

// Connect implements driver.Connector.
func (c *connector) Connect(ctx context.Context) (driver.Conn, error) {
	l, err := c.d.Login(ctx)
	if err != nil {
		return nil, err
	}
	dsn := c.dsn(l)
	if drv, ok := c.drv.(driver.DriverContext); ok {
		open, err := drv.OpenConnector(dsn)
		if err != nil {
			return nil, err
		}
		return open.Connect(ctx)
	}
	return c.drv.Open(dsn)
}

// Driver implements driver.Connector.
func (c *connector) Driver() driver.Driver { return c.drv }
