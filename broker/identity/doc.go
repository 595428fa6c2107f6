// Package identity is step 1 of 9: it decides who is calling.
//
// It takes the TLS peer of a gRPC call, or a JWT-SVID in its metadata where a
// listener is configured for that, and gives an [Agent]. Only
// [Authenticator.Authenticate] fills an Agent; the next steps refuse the zero
// one.
//
// What it trusts: the bundles of the Workload API or of the configured files,
// and the operator's list of trust domains and path templates. Nothing that the
// caller says about itself counts until one of those bundles has verified it.
//
// Laws:
//
//  1. An SVID is held against the time and the newest bundle on every call. A
//     handshake that was good an hour ago proves nothing now. Only signatures that
//     were checked under the very same authorities are not computed again.
//  2. A trust domain that is not on the list is refused, also when its bundle is
//     known through federation.
//  3. An ID has one role: an agent by template, an operator, an approver or a
//     delegate, on every listener alike. One with two is refused at load, and one
//     with none at every call.
//  4. An X509-SVID has exactly one URI SAN and is no CA (X509-SVID sections 2, 4, 5).
//  5. A JWT-SVID counts only where AllowJWT is set, only with our audience, and for
//     agents alone: whoever sees a token can send it again.
//  6. A delegate's SVID makes no Agent of itself: it names an agent that the
//     operator has listed for it, on every call, or is refused. Only the agent's
//     own path gives attributes. Nobody speaks for an operator or a delegate.
//  7. Anything unreadable, absent or doubled is a refusal, never a default.
//
// The handshake ([ServerTLS]) lets every caller through whose SVID a known
// bundle verifies, so that a refusal reaches it as a status with a reason and
// reaches the ledger as a record. A refusal inside the handshake would reach a
// gRPC client as "broken pipe" and leave no trace.
//
// A proxy that ends TLS in front of a JWT listener may present an SVID of its
// own. A call without a bearer token is then the proxy's call, so give a proxy an
// ID that fits no template.
package identity
