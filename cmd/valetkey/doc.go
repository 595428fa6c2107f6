// Command valetkey is the command line of agents, approvers and operators.
//
// It decides nothing: it asks a broker, checks a ledger, or checks catalog and
// policy files. Results go to standard output and everything said to people to
// standard error, so that output can be piped. A secret is printed only by
// mint and by request --mint, because the caller asked for it, and only when its
// receipt proves that it is on the record, or nobody wants to know.
//
// Each exit code means one thing: 0 that it is done, or yes; 1 an error; 2 wrong
// usage; 3 no: denied, not allowed, not covered, something gained or found; 4
// that people have to approve first; 5 that a ledger or a receipt does not verify,
// or a case is not decided as its table or its line expects; 6 that neither a yes
// nor a no could be shown.
package main
