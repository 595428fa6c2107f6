// Command valetkey is the command line of agents, approvers and operators.
//
// It decides nothing: it asks a broker, checks a ledger, or checks catalog and
// policy files. Results go to standard output and everything said to people to
// standard error, so that output can be piped. A secret is printed only by
// mint and by request --mint, because the caller asked for it, and only when its
// receipt proves that it is on the record, or nobody wants to know.
//
// It leaves with 0 when done, 1 on an error, 2 on wrong usage, 3 when it is
// denied, 4 when people have to approve first, and 5 when a ledger or a receipt
// does not verify, or a case is not decided as its table or its line expects. The
// commands that judge policies and catalogs leave with 0 for yes, allowed or
// nothing gained, 3 for no, not allowed or something gained or found, and 4 for
// unknown or a gain of the destructive or admin tier.
package main
