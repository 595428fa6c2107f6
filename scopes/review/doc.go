// Package review judges catalogs for the people who change them: what a new one gives that the old one did not, and
// where a scope is wider than it has to be.
//
// Laws:
//   - Diff compares what one and the same request gives before and after, at several values of each parameter, and
//     what each parameter takes. A parameter that widens is a gain, and so is a longer life, a lost binding and another
//     role.
//   - What cannot be told is a gain that is not Known, never silence.
//   - A gain's tier comes from the permissions. Where only the parameters widen, it is the scope's.
//   - Lint finds, and decides nothing: no scope is refused for a finding.
//
// The values that stand in for parameters are chosen by type, and from what a scope allows where it lists its values.
// A pattern of one side that the other does not have is compared by examples; see Diff.
//
// The package is pure: it reads no files and talks to no one.
package review
