// Package logverify checks a valetkey ledger without trusting the broker that
// wrote it. It decides one thing: whether the records, the stored hashes and
// the signed checkpoint agree.
//
// Laws:
//   - It shares no code with the broker. The hashing and the signature check
//     are golang.org/x/mod/sumdb's.
//   - It trusts the verifier key it is given, and what an earlier run with that
//     key has verified, when the caller hands in that run's checkpoint.
//   - It never writes to the log, and opens a database read-only.
//   - A fault of the log is an error that wraps [ErrVerification]. Anything
//     else (no network, no file, no permission) does not wrap it: not having
//     looked is not the same as having found.
//   - An empty answer is a fault. A log that has shrunk is a fault.
package logverify
