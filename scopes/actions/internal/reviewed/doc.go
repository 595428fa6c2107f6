// Package reviewed reads people's review of the AWS actions (scopes/actions/review) and holds it against a catalogue.
// gen compiles what it gives into the catalogue that package actions embeds.
//
// Laws:
//   - An action has a class because its name is written down, never because a pattern takes it in.
//   - AWS's level and the verb are enough only where both are listed, and the name holds no listed word.
//   - A class is never under AWS's level.
//   - What the review does not name, or names twice, or names though AWS has it no more, is an error that says what to write.
package reviewed
