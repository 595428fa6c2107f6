package scopes

import (
	"errors"
	"fmt"
)

// The reasons for which a catalog or a query is refused. Each is raised here alone.
var (
	// ErrUnknownScope says that the catalog has no such scope.
	ErrUnknownScope = errors.New("unknown scope")
	// ErrStaleVersion says that the caller has seen another version of the scope.
	ErrStaleVersion = errors.New("stale scope version")
	// ErrParameter says that a parameter is missing, unknown, malformed or not allowed.
	ErrParameter = errors.New("invalid parameter")
	// ErrTTL says that the life asked for is over the scope's maximum, negative or not in whole seconds.
	ErrTTL = errors.New("ttl out of range")
	// ErrTooLarge says that the compiled policy does not fit an STS session policy.
	ErrTooLarge = errors.New("policy too large")
	// ErrEmpty says that the permission set is empty, which would be no restriction at all.
	ErrEmpty = errors.New("empty permission set")
	// ErrUnproven says that compiled permissions could not be proven to lie within their scope's ceiling.
	ErrUnproven = errors.New("not proven within the scope's ceiling")
	// ErrDialect says that what enforces a scope's role cannot hold it as it is meant, or that nobody says what does. It
	// wraps ErrCatalog.
	ErrDialect error = dialectError{}
	// ErrCatalog says that the catalog does not load. Its text names file, line and column.
	ErrCatalog = errors.New("invalid catalog")
	// ErrCeiling says that a scope can give more than its role's ceiling has, or may: it could not be told. It wraps
	// ErrCatalog.
	ErrCeiling = fmt.Errorf("%w: over the role's ceiling", ErrCatalog)
)

// dialectError leaves ErrCatalog's text to the place in the file, which has it.
type dialectError struct{}

func (dialectError) Error() string { return "not for this enforcer" }
func (dialectError) Unwrap() error { return ErrCatalog }
