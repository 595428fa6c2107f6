package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"regexp"
	"slices"
	"time"

	"github.com/valetkey/valetkey/broker/identity"
	"github.com/valetkey/valetkey/broker/ledger"
	"github.com/valetkey/valetkey/broker/mint"
	"github.com/valetkey/valetkey/broker/mint/vault"
	"github.com/valetkey/valetkey/scopes"
)

// The exit codes of "config check --live". 1 is any fault, as of every command.
const (
	exitBeyond  = 2
	exitUnknown = 3
)

// liveLimit bounds the questions to one role's upstream.
const liveLimit = 60 * time.Second

// exitError ends the program with a code of its own.
type exitError struct {
	code int
	text string
}

func (e *exitError) Error() string { return e.text }

// errMissing: the broker could not do its work upstream.
var errMissing = errors.New("the broker lacks rights that the configuration needs")

// checkLive compares, role by role, what the broker may do upstream with what the configuration
// needs, and prints the difference.
func (c Config) checkLive(ctx context.Context, cat *scopes.Catalog, log *slog.Logger) error {
	made, closeAll, err := c.liveMinters(ctx, log)
	if err != nil {
		return err
	}
	defer closeAll()
	worst := mint.RightsNote
	for _, name := range slices.Sorted(maps.Keys(made)) {
		checker, ok := made[name].(mint.Checker)
		if !ok {
			return fmt.Errorf("role %q: its rights cannot be looked at", name)
		}
		ctx, cancel := context.WithTimeout(ctx, liveLimit)
		found := checker.CheckRights(ctx, examples(cat, name))
		cancel()
		if found.Worst() == mint.RightsNote {
			found.Add(mint.RightsNote, "the broker has the rights that it needs, and none of those looked for beyond")
		}
		for _, f := range found.Sorted() {
			fmt.Printf("role %s: %s: %s\n", name, f.Judgement, f.Text)
		}
		worst = max(worst, found.Worst())
	}
	switch worst {
	case mint.RightsMissing:
		return errMissing
	case mint.RightsBeyond:
		return &exitError{exitBeyond, "the broker has rights upstream that it does not need"}
	case mint.RightsUnknown:
		return &exitError{exitUnknown, "not all of what the broker may do upstream is known"}
	case mint.RightsNote:
	}
	return nil
}

// liveMinters are those of serve. The Workload API is asked where a role needs the broker's SVID.
func (c Config) liveMinters(ctx context.Context, log *slog.Logger) (mint.ByRole, func(), error) {
	var src identity.Source
	closeAll := func() {}
	for _, r := range c.Roles {
		if r.WebIdentityAudience == "" && r.Auth.Method != string(vault.MethodJWT) && r.Auth.Method != string(vault.MethodCert) {
			continue
		}
		open, cancel := context.WithTimeout(ctx, startTimeout)
		defer cancel()
		own, err := c.openIdentity(open, log)
		if err != nil {
			return nil, nil, err
		}
		src, closeAll = own, func() { _ = own.Close() }
		break
	}
	signer, err := mint.NewSigner()
	if err != nil {
		return nil, nil, err
	}
	permits, err := mint.NewVerifier(signer, time.Now)
	if err != nil {
		return nil, nil, err
	}
	key, err := ledger.LoadKey(c.Ledger.KeyFile)
	if err != nil {
		return nil, nil, err
	}
	mark, err := markOf(key)
	if err != nil {
		return nil, nil, err
	}
	made, err := minters(ctx, c.Roles, src, permits, mark, log)
	return made, closeAll, err
}

// hole is where a path has a parameter.
var hole = regexp.MustCompile(`\{[^{}]*\}`)

// examples are paths that the role's scopes give to agents, which the broker itself need not read.
func examples(cat *scopes.Catalog, role string) (out []string) {
	for _, s := range cat.Scopes() {
		if s.Role() != role || s.Provider() != scopes.ProviderVault {
			continue
		}
		for _, p := range s.Outline().Paths {
			out = append(out, hole.ReplaceAllString(p, "valetkey-check"))
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// exitCode is what main ends with.
func exitCode(err error) int {
	var e *exitError
	if errors.As(err, &e) {
		return e.code
	}
	return 1
}
