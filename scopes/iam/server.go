package iam

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/valetkey/valetkey/scopes/internal/glob"
)

// server is how an S3-compatible server reads policies, as far as it is modelled: what is not listed is ErrDialect. The
// differential tests of broker/mint/awssts hold it against the real ones.
type server struct {
	every     string   // names all its S3 actions
	spaces    []string // namespaces beside S3's that a session policy can name, whole
	mixes     bool     // takes those beside S3's actions in one statement
	notAction bool     // takes NotAction, and minds it
	operators []string // modelled, as AWS spells them
	star      string   // the resource of a call that has none

	// slash: a call on a bucket is one on "bucket/", and a pattern that is a resource to the letter takes that with a
	// "/" after it too. So "bucket/*" takes the bucket, and "b*t" does not.
	slash bool
	// version: an action list with s3:GetObjectVersion, to the letter, has s3:GetObject too.
	version bool
	// resourcePolicies: a bucket's policy can give a session more than its own policies do.
	resourcePolicies bool
	// odd: a "*" that is not the last character takes less than it should, since the server does not go back to it; a
	// negated operator with several values holds where one does not match, and so nearly always, and not where the key is
	// missing; and s3:max-keys is always there.
	odd bool
	// believes: a condition key's value comes from a header of the key's name, where the caller sends one.
	believes bool
}

// s3Prefix begins every resource that an S3-compatible server's policies have, but for "*".
const s3Prefix = "arn:aws:s3:::"

// servers are the S3-compatible servers; read-only.
var servers = map[Dialect]*server{
	DialectMinIO: {
		every: "s3:*", spaces: []string{"admin:*", "kms:*"}, star: s3Prefix + "/", slash: true, version: true, believes: true,
		operators: slices.Concat(plainOperators, []string{"Null", "ForAllValues:StringLike", "ForAnyValue:StringLike",
			"ForAllValues:StringEquals", "ForAnyValue:StringEquals"}),
	},
	DialectRadosGW:   {every: "*", spaces: []string{"iam:*", "sts:*"}, mixes: true, odd: true, resourcePolicies: true, star: s3Prefix + "*", operators: plainOperators},
	DialectVersityGW: {every: "*", star: s3Prefix + "*", notAction: true, resourcePolicies: true, operators: plainOperators},
}

// plainOperators are modelled for every server.
var plainOperators = []string{ // read-only
	"StringEquals", "StringNotEquals", "StringLike", "StringNotLike",
	"NumericEquals", "NumericNotEquals", "NumericLessThan", "NumericLessThanEquals", "NumericGreaterThan", "NumericGreaterThanEquals",
	"DateLessThan", "DateLessThanEquals", "DateGreaterThan", "DateGreaterThanEquals",
	"Bool", "IpAddress", "NotIpAddress",
}

// keyFamilies are the condition keys that are modelled for every server, and what they are compared as. Those of
// listing go with the actions of listing alone.
var keyFamilies = map[string]struct { // by lower case; read-only
	of      family
	listing bool
}{
	"aws:currenttime": {familyDate, false}, "aws:securetransport": {familyBool, false}, "aws:sourceip": {familyIP, false},
	"s3:prefix": {familyString, true}, "s3:delimiter": {familyString, true}, "s3:max-keys": {familyNumeric, true},
}

var listingActions = []string{"s3:ListBucket", "s3:ListBucketVersions"} // read-only

func (d Dialect) server() *server { return servers[d] }

// Models refuses a policy that is to stand on the dialect's enforcer, where that is not modelled: ErrDialect. AWS's is whole.
func (d Dialect) Models(p Policy) error {
	if err := d.models(p); err != nil || d.server() == nil || !d.server().odd {
		return err
	}
	for i, s := range p.Statements {
		lists := [][]string{s.Action, s.NotAction, s.Resource, s.NotResource}
		for _, keys := range s.Condition {
			for _, vs := range keys {
				lists = append(lists, vs)
			}
		}
		for _, v := range slices.Concat(lists...) {
			if star := strings.IndexByte(v, '*'); star >= 0 && star < len(v)-1 {
				return &statementError{i, fmt.Errorf("%w: dialect %q: %q has a \"*\" before its end", ErrDialect, d, v)}
			}
		}
	}
	return nil
}

// models is Models for a policy that is only reasoned with.
func (d Dialect) models(p Policy) error {
	srv := d.server()
	if srv == nil {
		return nil
	}
	if p.Version == Version2008 {
		return fmt.Errorf("%w: dialect %q: version %q; write it for %q", ErrDialect, d, p.Version, Version)
	}
	for i, s := range p.Statements {
		if err := srv.models(d, s); err != nil {
			return &statementError{i, fmt.Errorf("%w: dialect %q: %w", ErrDialect, d, err)}
		}
	}
	return nil
}

func (srv *server) models(d Dialect, s Statement) error {
	if len(s.NotAction) > 0 && !srv.notAction {
		return fmt.Errorf("it has no NotAction; list the actions")
	}
	for _, a := range slices.Concat(s.Action, s.NotAction) {
		if err := srv.action(d, a, s); err != nil {
			return err
		}
	}
	for _, r := range slices.Concat(s.Resource, s.NotResource) {
		name, ok := strings.CutPrefix(r, s3Prefix)
		switch {
		case r == "*":
		case !ok || name == "" || name[0] == '/':
			return fmt.Errorf("resource %q is neither %q nor %sBUCKET or %sBUCKET/KEY", r, "*", s3Prefix, s3Prefix)
		case strings.ContainsAny(name, "?$"):
			return fmt.Errorf(`resource %q has a "?", which counts bytes there, or a "$", which may be a variable; write it without`, r)
		}
	}
	return srv.conditions(s)
}

// action refuses what the server would refuse, or read in another case than it is meant.
func (srv *server) action(d Dialect, a string, s Statement) error {
	switch {
	case slices.Contains(srv.spaces, a):
		if !srv.mixes && (len(s.Action) != 1 || len(s.NotResource) > 0) {
			return fmt.Errorf("%s stands alone in its statement, with Resource", a)
		}
		return nil
	case a == srv.every:
		return nil
	case !strings.HasPrefix(a, "s3:"):
		return fmt.Errorf("action %q is none of S3", a)
	}
	pattern, folded := glob.Wild(a), actionPattern(a)
	any := false
	for _, known := range d.Actions() {
		exact := pattern.Match(known)
		same, _ := folded.match(known, nil)
		any = any || exact
		if exact != (same == yes) {
			return fmt.Errorf("action %q differs from %q in its case, which counts there", a, known)
		}
	}
	if !any {
		return fmt.Errorf("action %q is none that the server has, or that was tried there", a)
	}
	return nil
}

func (srv *server) conditions(s Statement) error {
	for _, name := range slices.Sorted(maps.Keys(s.Condition)) {
		op, err := parseOperator(name)
		if err != nil {
			return err
		}
		if !slices.Contains(srv.operators, op.name) {
			return fmt.Errorf("condition operator %s", op)
		}
		for _, key := range slices.Sorted(maps.Keys(s.Condition[name])) {
			k, known := keyFamilies[strings.ToLower(key)]
			switch {
			case !known:
				return fmt.Errorf("condition key %q", key)
			case op.family != k.of && op.family != familyNull:
				return fmt.Errorf("condition key %q with %s", key, op)
			case srv.odd && (strings.EqualFold(key, "s3:max-keys") || op.negated && (k.listing || len(s.Condition[name][key]) > 1)):
				return fmt.Errorf("condition key %q with %s and these values", key, op)
			case k.listing && (len(s.NotAction) > 0 || slices.ContainsFunc(s.Action, func(a string) bool { return !slices.Contains(listingActions, a) })):
				return fmt.Errorf("condition key %q with another action than %q", key, listingActions)
			}
			for _, v := range s.Condition[name][key] {
				if strings.ContainsAny(v, "?$") && op.family == familyString {
					return fmt.Errorf(`a value %q of %s with a "?" or a "$"`, v, key)
				}
			}
		}
	}
	return nil
}

// adapt makes a compiled statement take what the server takes. models has passed it.
func (srv *server) adapt(s *statement) {
	if srv == nil {
		return
	}
	for i := range s.actions {
		if srv.version && s.actions[i].source == "s3:GetObjectVersion" {
			s.actions[i].also = "s3:getobject"
		}
	}
	for i := range s.resources {
		if p := &s.resources[i]; srv.slash && p.source != "*" && !strings.HasSuffix(p.source, "/") {
			p.also = p.source + "/"
		}
	}
}

// resource is a request's resource as the server sees it.
func (srv *server) resource(r string) string {
	switch {
	case srv == nil:
		return r
	case r == "*":
		return srv.star
	case srv.slash && strings.HasPrefix(r, s3Prefix) && !strings.Contains(r, "/"):
		return r + "/"
	}
	return r
}

// universe is every resource that a call on the server is checked with.
func (srv *server) universe() language {
	if srv == nil {
		return resourceUniverse()
	}
	t := textTrack(s3Prefix)
	if srv.slash {
		return language{append(t, step{kind: stepMany}, step{char: '/'}, step{kind: stepMany})}
	}
	return language{append(t, step{kind: stepOne}, step{kind: stepMany})}
}
