// Package evidence is what a person signs to approve or reject a request, and
// how anybody checks it: a statement in RFC 8785 JSON under an OpenSSH signature
// (PROTOCOL.sshsig), as "ssh-keygen -Y sign" makes it.
//
// It knows no broker, no store and no clock: what it needs is in the ledger, where
// a verifier that shares no code with it finds the same.
//
// Laws:
//   - A statement is about one request of one broker, one digest, one person, one
//     decision and the groups that it counts for, and says when it was signed and
//     until when it is worth something. No part of it can be read in two ways: only its canonical
//     form is accepted.
//   - A signature in another namespace, such as one of a Git commit, is none here.
//   - A security key's signature counts only with the touch that it attests.
package evidence
