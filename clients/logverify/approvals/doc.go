// Package approvals checks what a ledger says of people's approvals against the
// people's own public keys: a broker that says that somebody has approved
// something has to show their signature over it.
//
// Laws:
//   - It shares no code with the broker. Signatures are golang.org/x/crypto/ssh's
//     and hiddeco/sshsig's.
//   - It trusts an allowed_signers file, as ssh-keygen reads it, and the order of
//     a log that has been verified.
//   - A destructive or admin credential that rests on fewer people than the floor
//     is a fault, and so is any that rests on fewer than its record says.
package approvals
