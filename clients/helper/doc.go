// Package helper is the sidecar: it stands between a broker and programs that were
// not written for one, and gives them a narrow credential where they already look
// for a wide one.
//
// A Session is one task for one command: Open it, run the command with its
// Environ, Close it. An Agent is many tasks from a file, for a host, a pod or a
// user. Both serve with the same parts:
//
//   - the AWS container credentials endpoint, credential_process and, on request,
//     the instance metadata service (IMDSv2 alone);
//   - a Vault-API proxy that adds the token, and a token file;
//   - files: AWS shared config profiles, .pgpass, kubeconfigs and templates.
//
// # Laws
//
//   - One address for each scope of each task, with a secret of its own. What
//     opens one opens no other.
//   - Answers come from memory. No fetch mints: a credential is renewed once, ahead
//     of its end, however many ask.
//   - No program waits for people: while they have to approve, the answer says so.
//     Nobody is asked again for the sake of a file.
//   - While the broker is away the credential that lives is given out, until it is
//     dead, and the status says so. After that the answer is an error.
//   - Only the users that are named may ask, and of no name only the agent's own:
//     Unix sockets and, on Linux, loopback connections are asked whose they are.
//     Elsewhere an address without a secret is not served at all.
//   - Browsers are refused, and so is any Host that is not the address itself, and a
//     request for another protocol. A Vault proxy without a secret wants the header
//     of Vault's own tools.
//   - Files with a secret are 0600, replaced as a whole, and gone when their task
//     is. What ends a task ends all that was made for it; a process that outlives
//     its task gets nothing.
//   - Of a secret nothing is logged, and the status shows none.
package helper
