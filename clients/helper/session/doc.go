// Package session gives one command the credentials of one task: Open it, run the command
// with its Environ, Close it.
//
// It decides what a command finds in its surroundings, and when all of that ends. It trusts
// the command with what it was granted, and with nothing else that its user has: start
// files of a shell come before what was granted, never after.
//
// # Laws
//
//   - What Open made before an error is undone, and what waits for people is given back.
//   - The environment has no other credential, and files that lead nowhere stand in the
//     place of the user's own.
//   - What ends a session ends all that was made for it: addresses, files, the task. Where
//     this process is killed, a guard does so.
package session
