// Package actions knows the AWS actions: their access level, the resources they take, and how much harm they can do.
//
// The catalogue is an embedded snapshot (catalogue.txt, made by gen; its date, source and licence are in
// NOTICE.md). Levels come from it; classes come from people, who wrote each action down with a reason (review, which gen
// takes into the snapshot), since AWS calls DeleteBucket, PassRole and kms:Decrypt all "Write".
//
// Laws:
//   - An action that nobody reviewed is admin, and one that the snapshot does not know too; no wildcard expands to that.
//   - A class is never under what AWS's level gives, and every class above read says why.
package actions
