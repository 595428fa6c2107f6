// Package broker is the whole path from a request to a credential.
//
//	step            package   refuses with
//	1 authenticate  identity  ErrUnauthenticated and its children
//	2 resolve       scopes    ErrUnknownScope, ErrStaleVersion, ErrParameter, ErrTTL, ErrTooLarge, ErrUnproven
//	3 decide        policy    ErrPolicy; a Decision that denies
//	4 admit         guard     ErrFrozen, ErrRateLimited
//	5 approve       approval  ErrNeeded, ErrDenied
//	6 intend        ledger    store.ErrUnavailable
//	7 mint          mint      ErrUnavailable, ErrRefused, ErrInvalid, ErrLifetime
//	8 conclude      ledger    store.ErrUnavailable
//	9 deliver       server    nothing: by then all is on the record
//
// Laws:
//   - Each step takes the evidence of the one before it.
//   - No credential leaves before its outcome is durable; what may exist
//     upstream and was not delivered is revoked.
//   - Whatever cannot be checked is refused.
package broker
