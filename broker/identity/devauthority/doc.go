// Package devauthority is a whole SPIFFE authority in one process, for
// development and tests: a CA, JWT keys, and a real Workload API on unix sockets
// that any SPIFFE client can use.
//
// It attests nobody. Whoever can open a socket gets that socket's SPIFFE ID, so a
// socket is 0600 and the process on it is trusted by being the same user. Its keys
// live in memory and die with it.
//
// Laws:
//
//  1. One socket, one SPIFFE ID, always of the authority's own trust domain.
//  2. A request without the workload.spiffe.io header is refused (SPIFFE Workload
//     Endpoint, section 3): a browser or proxy tricked into calling gets nothing.
//  3. Nothing is written to disk but the sockets.
package devauthority
