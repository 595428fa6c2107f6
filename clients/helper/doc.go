// Package helper holds the sidecar's parts: it stands between a broker and programs that
// were not written for one, and gives them a narrow credential where they already look for
// a wide one. There is no code here.
//
//   - session is one task for one command, agent many tasks from a file;
//   - both serve with serve, write with files, and run and guard with proc, none of which
//     knows them.
package helper
