// Package actions knows the AWS actions: their access level, the resources they take, and how much harm they can do.
//
// The catalogue is an embedded snapshot (catalogue.txt.gz, made by gen; its date, source and licence are in
// NOTICE.md). Levels come from it; what destroys, what widens rights and what reads secrets comes from our own
// tables in rules.go, since AWS calls DeleteBucket, PassRole and kms:Decrypt all "Write".
//
// Laws:
//   - An action that the snapshot does not know is admin, and no wildcard expands to it.
//   - A table can only raise a class above what the level gives.
package actions
