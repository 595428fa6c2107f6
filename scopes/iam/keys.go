package iam

import (
	"strings"

	"github.com/valetkey/valetkey/scopes/actions"
)

// multivalued tells whether a request may have several values of a key, by the catalogue's types: those that AWS's
// service authorization reference calls an array, global keys and services' own. Of any other key a request has one
// value or none; a key that the catalogue does not have counts as such a key.
//
// Those of identity providers are in no catalogue. How somebody logged in, amr, is a "multi-value" claim
// (https://docs.aws.amazon.com/cognito/latest/developerguide/role-trust-and-permissions.html).
func multivalued(key string) bool {
	_, several, _ := actions.ConditionType(key)
	issuer, name, _ := strings.Cut(key, ":")
	return several || (strings.Contains(issuer, ".") && strings.EqualFold(name, "amr"))
}
