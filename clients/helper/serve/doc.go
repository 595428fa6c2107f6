// Package serve gives credentials to the programs of one machine, at addresses where they
// already look: the AWS container credentials endpoint, credential_process, the instance
// metadata service, an exec plugin of kubectl, a Vault-API proxy. A Shelf puts the
// credentials of many tasks at such addresses, each under a name.
//
// It decides whom an address answers, and what that gets while there is no credential. It
// trusts what the kernel says of a connection's user, and the SDK's receipts. It opens no
// task, and asks for nothing: what a Source gives is what it serves.
//
// # Laws
//
//   - An address answers the users that are named, or whoever has its secret. What opens
//     one opens no other.
//   - Answers come from memory. No fetch mints, and none waits for people: while they have
//     to approve, the answer says so.
//   - While the broker is away the credential that lives is given out, until it is dead.
//   - Browsers are refused, and so is any Host that is not the address itself, and a
//     request for another protocol. A Vault proxy without a secret wants the header of
//     Vault's own tools.
//   - Of a secret nothing is logged.
package serve
