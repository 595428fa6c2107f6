// Package valetkey is how a Go program reaches a broker: mutual TLS with the
// program's own SVID, and the generated clients behind it.
//
// Laws:
//   - The SVID and the bundles come from the SPIFFE Workload API, and are
//     followed as they rotate. No key is read from a flag or a file.
//   - The broker is checked by its SPIFFE ID: the one that is expected, or,
//     where none is named, any member of the caller's own trust domain. Name
//     it wherever other workloads of that domain could answer in its place.
//   - TLS 1.3, always.
//   - Nothing here retries. Calls that change something carry an idempotency
//     key, so that the caller may.
package valetkey
