// Package environ makes the environment of a delivery: all that it sets, and all that
// it clears, so that a program finds what was granted and nothing that was there before.
//
// A Delivery says what is given. Its Environment is the one source of variables for a
// command, a shell, a script that a shell evaluates, a file that one reads, and what
// an agent is told to set.
//
// # Laws
//
//   - What would win over the granted credential, or send it elsewhere, is set or
//     cleared. For a kind that is not given, what tools would fall back to is closed.
//   - Who reads a text sees values, and never code: each format has one quoting, held
//     against the shell that reads it. What a format cannot hold is an error.
//   - A delivery that could not clear what its reader has is refused, not hoped for.
//   - Loopback is never asked through a proxy.
//
// # What stays
//
// Which servers to trust (AWS_CA_BUNDLE, SSL_CERT_FILE, VAULT_CACERT, PGSSLROOTCERT and the like), which
// proxy to take, a region that the grant does not name, and where a database is (PGHOST):
// the grant does not say, and none of it is a credential.
package environ
