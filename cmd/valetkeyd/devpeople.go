package main

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"golang.org/x/crypto/ssh"
)

// people are three who approve in dev mode, each with a Workload API socket and an
// SSH key of their own in the dev folder. The agent is alice's, who is none of them.
func (d *devCmd) people(domain spiffeid.TrustDomain) (people []PersonConfig, sockets map[string]spiffeid.ID, err error) {
	sockets = map[string]spiffeid.ID{}
	var signers []byte // as "valetkey ledger verify --approvers" and ssh-keygen read them
	for _, p := range []PersonConfig{
		{Name: "bob", Groups: []string{"sre"}}, {Name: "carol", Groups: []string{"sre"}}, {Name: "dave", Groups: []string{"security"}},
	} {
		id, err := spiffeid.FromSegments(domain, "person", p.Name)
		if err != nil {
			return nil, nil, err
		}
		key, err := devKey(filepath.Join(d.Dir, p.Name+".key"))
		if err != nil {
			return nil, nil, err
		}
		p.IDs, p.Keys = []string{id.String()}, []string{string(ssh.MarshalAuthorizedKey(key))}
		sockets[p.Name+".sock"] = id
		people = append(people, p)
		signers = append(signers, strings.Join([]string{p.Name, id.String(), "@" + p.Groups[0]}, ",")+" "+p.Keys[0]...)
	}
	return people, sockets, os.WriteFile(filepath.Join(d.Dir, "allowed_signers"), signers, 0o600)
}

// inGroups leaves out the groups that a catalog of somebody else's does not know.
func inGroups(people []PersonConfig, known []string) []PersonConfig {
	for i := range people {
		people[i].Groups = slices.DeleteFunc(people[i].Groups, func(g string) bool { return !slices.Contains(known, g) })
	}
	return people
}

// devKey makes an SSH key, or takes that of an earlier run.
func devKey(file string) (ssh.PublicKey, error) {
	raw, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		_, key, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			return nil, err
		}
		block, err := ssh.MarshalPrivateKey(key, "valetkeyd dev")
		if err != nil {
			return nil, err
		}
		raw = pem.EncodeToMemory(block)
		if err := os.WriteFile(file, raw, 0o600); err != nil {
			return nil, err
		}
	} else if err != nil {
		return nil, err
	}
	s, err := ssh.ParsePrivateKey(raw)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", file, err)
	}
	return s.PublicKey(), nil
}
