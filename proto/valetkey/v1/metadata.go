// Package valetkeyv1 is the wire contract. All but this file is generated from the
// proto files beside it.
package valetkeyv1

// OnBehalfOfAgent is the gRPC metadata key in which a delegate, such as the Vault
// plugin, names the agent that it speaks for: one whole SPIFFE ID. It is a header
// and no field, since every call has it, and the broker reads it in step 1 before
// it looks at a message.
//
// A delegate must send it on every call. From anybody else it is refused with
// CALLER_NOT_ALLOWED, as is an agent that the broker's operator has not listed for
// the delegate.
const OnBehalfOfAgent = "valetkey-on-behalf-of-agent"
