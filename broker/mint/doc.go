// Package mint is step 7 of 9: a verified permit becomes a credential.
//
// It decides nothing. What may be minted was decided before, and reaches this
// package only as a Permit: the decision point's sealed, single-use order.
//
// Laws:
//
//  1. No permit, no credential. A permit whose seal, lifetime or single use
//     does not hold is refused before anything is sent upstream.
//  2. The upstream enforces the limits; this package only says them. A credential
//     the upstream would let live longer than ordered is not delivered.
//  3. A limit of the upstream (size, lifetime, characters) is checked here before
//     the call, each with its own error. Servers that imitate AWS skip such checks.
//  4. What a call may leave behind can be named before the call is made
//     (Order.Handle), so that a crash can never lose the name of a live credential.
//  5. Maybe reports true unless it is certain that nothing exists upstream.
//  6. A secret leaves a Credential only by Reveal. No error carries an upstream
//     answer's body.
//
// mint/awssts and mint/vault are the two Minters.
package mint
