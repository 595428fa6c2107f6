// Package files writes what tools find credentials by: whole files, parts of files
// that others write too, sockets, and the folders that they are in.
//
// It decides who owns a path and whether it may be replaced. It trusts root, and the
// folders that nobody but root and the owner can change. It asks no broker.
//
// # Laws
//
//   - A file with a secret is 0600 from its first byte on, and replaced as a whole.
//   - Nothing of another user's is replaced or removed, and no link is followed for
//     one: what root does for a user it does in no folder that a third one can change.
//   - A part of a file is its owner's; what others have in the file stays.
//   - No path comes into a config file that could begin a line of its own.
//   - What a killed process left of a file that it was writing can be found, and goes.
package files
