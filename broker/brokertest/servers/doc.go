// Package servers starts the real MinIO, Vault, SPIRE and PostgreSQL for tests, demos and
// benchmarks: on loopback, on ports of their own, with state in temporary folders
// and secrets made up for the one run.
//
// Laws:
//
//  1. A server that is missing fails the caller; nothing here skips.
//  2. A server is ready when it says so itself, never after a fixed wait.
//  3. Each is stopped by its own process id when the caller's clean-up runs, and by
//     the kernel should the caller die before that (Linux).
//
// The binaries are those that "make servers" builds into the user's cache folder
// (valetkey/servers); VALETKEY_SERVERS names another. PostgreSQL is Debian's.
package servers
