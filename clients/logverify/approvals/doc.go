// Package approvals checks what a ledger says of people's approvals against the
// people's own public keys: a broker that says that somebody has approved
// something has to show their signature over it.
//
// Laws:
//   - It shares no code with the broker. Signatures are golang.org/x/crypto/ssh's
//     and hiddeco/sshsig's.
//   - It trusts an allowed_signers file, as ssh-keygen reads it, for who the people
//     are, their keys, groups and names; the floor and the hardware that it is given;
//     and the order of a log that has been verified.
//   - It trusts the log for what was asked for only where people have signed the
//     digest of it; for how many of which group policy wanted, and the times of
//     records, it has the broker's word. What people have signed has to agree.
//   - A yes counts where the broker had to count it: in time, for the groups that are
//     signed and that the person is in, by nobody who asks, and from the hardware tier
//     on by a security key that asked for a PIN or a fingerprint. One that does not
//     count is a fault.
//   - Whom the agent names as the one it acts for counts for no group, and has to have
//     said yes too.
//   - A credential that rests on fewer people than the floor, than was needed, or than
//     its record says is a fault.
package approvals
