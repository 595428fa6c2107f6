// Package proc runs commands and guards what they were given: it passes signals on, ends
// process groups and what has left them, and has a guard outlive whoever is killed.
//
// It decides when a command is over and what ends with it. It trusts the kernel, and of a
// process's number only the one that it was given with the time at which the process began.
//
// # Laws
//
//   - A guard holds no secret and knows no broker: it is told by a pipe what is open, and
//     closes it by what its caller gave it.
//   - A guard acts where it was told nothing: only a word says that all is well.
//   - A signal goes on to the command once, and never by way of a terminal a second time.
//   - What a command leaves in its group, or under its keeper, ends with it.
//   - No process is ended by a number that may be another's by now.
package proc
