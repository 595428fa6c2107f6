// Package awssts mints AWS STS sessions: part of step 7 of 9.
//
// It trusts the verified order for what may be done, and the STS server for
// enforcing it. Laws:
//
//  1. Every session carries an inline session policy with explicit Denies for the
//     deadline and for everything not granted (iam.Bind). There is no session without.
//  2. AWS's limits (2,048 characters of policy, 900 s to the role's maximum, 3,600 s
//     under role chaining, characters and lengths of tags and names) are checked before
//     the call: S3-compatible servers accept and ignore what AWS would refuse.
//  3. An answer that lives longer than asked, or lacks a field, is not delivered.
//  4. A call is repeated once at most, and only after a throttle or a refused connection,
//     when nothing was minted. A timeout is never repeated: its session may exist.
//  5. A revocation is never reported for more than it is: a lease that the server ended, an
//     entry that a read showed in the role's policy, or the deadline.
//
// A deadline under 900 s is kept by the policy's Deny, as STS goes no shorter.
package awssts
