// Package mcp is a server of the Model Context Protocol that a coding agent is
// given in place of credentials: it opens tasks, asks a broker for access, and
// says where tools find what they got. It is a client of the broker like any
// other, and decides nothing.
//
// # Laws
//
//   - No answer holds a secret. An agent gets handles, and the names and places
//     that its tools take credentials from. The one tool that could show a secret
//     by what it runs is run_command: it is off until the operator turns it on,
//     and the values of all credentials of all sessions are taken out of what it
//     prints.
//   - No answer names a person who approves. What people rejected is not asked for
//     again by the same handle.
//   - A handle is random, lives in one session, and means nothing in another.
//     What stands behind it is looked at again, at the broker, whenever it is
//     used. Nothing that a client sends back is taken for a state of this server.
//   - A session that ends takes its commands and tasks with it, and they their
//     credentials. So does a server that is killed: a guard sees to it.
//   - What was revoked is not replaced by what nobody has asked for.
//   - Text of the catalog, of the broker and of commands is data: it is cut to a
//     length, its control characters are replaced, and nothing here branches on it.
//   - Every refusal has a reason that programs can read, and a line that says
//     what to do next.
//   - HTTP is for loopback only: a bearer token, the server's own name in Host,
//     and no browser.
//
// # What it cannot do
//
// An agent that runs commands of its own, in a shell of the same user, can ask
// whatever its tools ask. The secret then is in that shell and not in the model's
// context, until a command prints it there. A command of run_command is such a
// process, too: it reads and writes the user's files. What protects then is what protects
// everywhere: the credential is narrow, lives for minutes, and is on the record.
package mcp
