// Command valetkey-target is a real S3, IAM and STS for one developer's machine: what "valetkeyd dev" and "make demo" mint
// for. S3 and IAM are versitygw's, as they are: nobody here wrote what evaluates a policy or answers a call. What is ours is
// the STS in front, since theirs fetches a provider's keys over the internet alone; it asks their evaluation of the role's
// trust policy, and stores a session in their store.
//
// Laws:
//
//  1. It listens on loopback alone.
//  2. A session is made for a JWT-SVID that verifies against the given keys (signature, life, audience, issuer), for a role
//     that exists by the very ARN, and where the role's trust policy allows it. A session policy is parsed by versitygw and
//     has at most 2,048 bytes. What of a request is not understood is refused, never ignored.
//  3. It knows no long-term key: the root's is made at the start, stays in this process and is on no disk.
//  4. It ends when its standard input does, and so with whoever started it.
//
// The configuration is one JSON object on standard input. Once all answers, it says where on standard output, as one line
// of JSON, and nothing else there.
//
// It is a module of its own: what versitygw needs (an HTTP framework, LDAP, Kafka, NATS and statsd clients) is no part of
// the broker.
package main
