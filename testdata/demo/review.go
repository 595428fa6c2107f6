package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

const exitGained = 3 // of valetkey: something was gained

// explain asks what the task's credential will be able to do, before there is one.
func (p *player) explain(ctx context.Context) error {
	args := []string{"explain", "s3-prefix-write", "bucket=" + production, "prefix=" + ownPrefix}
	p.say("$ valetkey %s", strings.Join(args, " "))
	a, err := p.broker.valetkey(ctx, args...)
	if err != nil {
		return err
	}
	words, _, _ := strings.Cut(a.stdout, "\n\n") // the compiled policy follows
	p.show(words)
	for _, want := range []string{
		"read and write: s3:GetObject, s3:PutObject on arn:aws:s3:::" + production + "/" + ownPrefix + "*", "of 2048 characters", "allowed; nobody has to approve",
	} {
		if a.code != 0 || !strings.Contains(words, want) {
			return fmt.Errorf("explaining s3-prefix-write: exit code %d, and not said: %q: %s", a.code, want, a.stderr)
		}
	}
	p.ok("it says what the credential can do, and who has to approve, before there is one")
	return nil
}

// widened lets a change of the catalog slip a deletion in.
func (p *player) widened(ctx context.Context) error {
	serving, proposed := filepath.Join(p.broker.dir, "catalog"), p.TempDir()
	if err := copyScopes(serving, proposed); err != nil {
		return fmt.Errorf("copying the catalog: %w", err)
	}
	file := filepath.Join(proposed, "s3-prefix-write.yaml")
	text, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("reading the scope: %w", err)
	}
	edited := strings.Replace(string(text), "s3:PutObject]", "s3:PutObject, s3:DeleteObject]", 1)
	if edited == string(text) {
		return errors.New("the scope has no s3:PutObject to add to")
	}
	if err := os.WriteFile(file, []byte(edited), 0o600); err != nil {
		return fmt.Errorf("widening the scope: %w", err)
	}
	p.say("One word more in s3-prefix-write.yaml: s3:DeleteObject.")
	p.say("$ valetkey catalog diff catalog proposed")
	a, err := p.broker.valetkey(ctx, "catalog", "diff", serving, proposed)
	if err != nil {
		return err
	}
	p.show(a.stdout)
	if a.code != exitGained || !strings.Contains(a.stdout, "for one, s3:DeleteObject on arn:aws:s3:::") {
		return fmt.Errorf("catalog diff left with exit code %d, want %d and a request that makes the difference: %s", a.code, exitGained, a.stderr)
	}
	p.ok("catalog diff names a request that was not allowed before, and leaves with exit code %d: a CI job stops here", exitGained)
	return nil
}

func copyScopes(from, to string) error {
	files, err := filepath.Glob(filepath.Join(from, "*.yaml"))
	if err == nil && len(files) == 0 {
		err = errors.New("there are no scopes")
	}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(to, filepath.Base(f)), text, 0o600); err != nil {
			return err
		}
	}
	return err
}
