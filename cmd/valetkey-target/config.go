package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/spiffe/go-spiffe/v2/bundle/jwtbundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// config is all that the target is told. Whatever is missing is refused.
type config struct {
	// Dir holds the state: objects, roles and sessions, secrets of sessions among them. Absolute, and nobody else's.
	Dir string
	// S3, STS and IAM are where each listens, on loopback; port 0 for any.
	S3, STS, IAM string
	// TrustDomain is whose JWT-SVIDs are taken, Bundle its keys as a JWKS.
	TrustDomain string
	Bundle      json.RawMessage
	// Issuer is the iss of the JWT-SVIDs, https and without a port, as AWS wants of an OIDC provider. Audience is theirs too.
	Issuer, Audience string
	// Roles are made, or brought up to date. What else a role's policies are stays, so that revocations outlive a restart.
	Roles []roleConfig
	// Buckets are made with these objects where there is no bucket of the name.
	Buckets map[string]map[string]string

	bundle *jwtbundle.Bundle
}

// roleConfig is one role.
type roleConfig struct {
	Name string
	// Subjects are the SPIFFE IDs that may take it on.
	Subjects []string
	// Policies are inline, by name.
	Policies map[string]json.RawMessage
}

var roleNames = regexp.MustCompile(`^[\w+=,.@-]{1,64}$`)

func parseConfig(line []byte) (config, error) {
	var c config
	dec := json.NewDecoder(bytes.NewReader(line))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&c); err != nil {
		return config{}, err
	}
	if err := dec.Decode(new(any)); !errors.Is(err, io.EOF) {
		return config{}, errors.New("more than one JSON object")
	}
	return c, c.check()
}

func (c *config) check() error {
	if !filepath.IsAbs(c.Dir) {
		return fmt.Errorf("dir: %q is not absolute", c.Dir)
	}
	for name, at := range map[string]string{"S3": c.S3, "STS": c.STS, "IAM": c.IAM} {
		if !onLoopback(at) {
			return fmt.Errorf("%s: %q is not an address on loopback", name, at)
		}
	}
	domain, err := spiffeid.TrustDomainFromString(c.TrustDomain)
	if err != nil {
		return fmt.Errorf("trust domain: %w", err)
	}
	if c.bundle, err = jwtbundle.Parse(domain, c.Bundle); err != nil {
		return fmt.Errorf("bundle: %w", err)
	}
	if c.bundle.Empty() {
		return errors.New("bundle: it has no key")
	}
	if provider := c.provider(); provider == c.Issuer || provider == "" || strings.ContainsAny(provider, ":?# ") {
		return fmt.Errorf("issuer: %q is not https without a port", c.Issuer)
	}
	if c.Audience == "" {
		return errors.New("audience: there is none")
	}
	for _, r := range c.Roles {
		if !roleNames.MatchString(r.Name) || len(r.Subjects) == 0 || len(r.Policies) == 0 {
			return fmt.Errorf("roles: %q has an illegal name, no subject or no policy", r.Name)
		}
		for _, s := range r.Subjects {
			if id, err := spiffeid.FromString(s); err != nil || !id.MemberOf(domain) {
				return fmt.Errorf("roles: %q: subject %q is no ID of %s", r.Name, s, domain)
			}
		}
	}
	return nil
}

// provider is the issuer as IAM names an OIDC provider.
func (c *config) provider() string { return strings.TrimPrefix(c.Issuer, "https://") }

// onLoopback is true for an IP address and port that no other machine can reach. A name is not resolved: it could be
// anything tomorrow.
func onLoopback(listen string) bool {
	host, _, err := net.SplitHostPort(listen)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}
