package iam

import (
	"fmt"
	"slices"
)

// Dialect is one enforcer's reading of policies: what it accepts, and what it makes of it. A proof holds for the dialect
// it was made in, and for no other. The zero value is refused everywhere.
type Dialect string

// The dialects. Each is a server that the tests ask: testdata/s3calls says which version.
const (
	// DialectAWS is AWS itself.
	DialectAWS Dialect = "aws"
	// DialectMinIO is MinIO.
	DialectMinIO Dialect = "minio"
	// DialectRadosGW is Ceph's RADOS Gateway.
	DialectRadosGW Dialect = "radosgw"
	// DialectVersityGW is Versity's S3 Gateway.
	DialectVersityGW Dialect = "versitygw"
)

// ErrDialect says that a dialect does not model a policy or a request, or that there is no such dialect: what its
// enforcer would make of it is unknown. It wraps ErrPolicy.
var ErrDialect = fmt.Errorf("%w: not modelled", ErrPolicy)

// Dialects returns all of them, AWS first.
func Dialects() []Dialect {
	return []Dialect{DialectAWS, DialectMinIO, DialectRadosGW, DialectVersityGW}
}

// ParseDialect reads a dialect's name.
func ParseDialect(name string) (Dialect, error) {
	switch d := Dialect(name); {
	case slices.Contains(Dialects(), d):
		return d, nil
	case name == "s3-compatible":
		return "", fmt.Errorf("%w: dialect %q is no more, since no two such servers read a policy alike; name the server: %q, %q or %q",
			ErrDialect, name, DialectMinIO, DialectRadosGW, DialectVersityGW)
	default:
		return "", fmt.Errorf("%w: dialect %q is none of %q", ErrDialect, name, Dialects())
	}
}

// check refuses what is no dialect.
func (d Dialect) check() error {
	if d == DialectAWS {
		return nil
	}
	_, err := ParseDialect(string(d))
	return err
}

// S3 tells whether the enforcer is an S3-compatible server, and not AWS.
func (d Dialect) S3() bool { return d.server() != nil }

// Believes tells whether the enforcer takes the values of condition keys from headers that the caller writes. Then no
// condition holds a caller: not a prefix, not a network, and not the deadline.
func (d Dialect) Believes() bool {
	s := d.server()
	return s != nil && s.believes
}
