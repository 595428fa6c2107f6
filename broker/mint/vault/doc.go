// Package vault mints HashiCorp Vault tokens and dynamic secrets: part of step 7 of 9.
//
// It trusts the verified order for what may be done, and Vault for enforcing it. Laws:
//
//  1. Each issuance has its own ACL policy, named before it is written. The token has that
//     policy alone: no default policy, no parent, no renewal, and an explicit maximum life.
//  2. A dynamic secret is read with such a token, never with the broker's own, so that its
//     lease ends with that token at the deadline, whatever life the engine gave it, and
//     survives the broker's next login.
//  3. A secret without a lease does not end, and is refused.
//  4. A failure half way takes back what was written. What cannot be taken back is reported
//     as possibly there (mint.Maybe). A token that outlives its policy can do nothing.
//  5. A wrapped secret is never seen by the broker: it gets the wrapping token, and ends both
//     by accessor: the wrapping, and the secret with the token that it was read with. Vault
//     ends that token at once, and takes its secret's account back soon after.
//
// The broker's own Vault policy needs, and nothing else:
//
//	path "sys/policies/acl/vk-*"       { capabilities = ["create", "update", "delete"] }
//	path "auth/token/create-orphan"    { capabilities = ["create", "update", "sudo"] }
//	path "auth/token/revoke-accessor"  { capabilities = ["create", "update"] }
//	path "sys/leases/revoke"           { capabilities = ["create", "update"] }
//
// With Config.TokenRole set it needs update on auth/token/create/ROLE in place of create-orphan
// and sudo; give that role allowed_policies_glob=vk-*, orphan=true.
package vault
