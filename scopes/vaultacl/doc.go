// Package vaultacl holds Vault ACL policies as values: it reads and prints their HCL, says what they allow, and compares
// them as sets of requests.
//
// Laws:
//   - Parse reads what Vault 1.21 reads and refuses the rest, with a line and a column. A few constructs that Vault
//     takes are refused too, since nothing here could answer for them: control groups, objects and lists as parameter
//     values, and a key that is there twice.
//   - Parse(Marshal(p)) = p, but for positions.
//   - Allows and Capabilities answer as Vault does: one path decides, the most specific one, and the rules that several
//     policies have for it are merged. Adding a policy can therefore take access away, and not only by "deny".
//   - Covers never says Yes in doubt. A No carries a request that Allows has just confirmed on both sides. What stops an
//     answer is named.
//   - A rule set of the broker has one text: rules are sorted by path, capabilities are sorted and unique, and a rule
//     set without rules is an error, never "no restriction".
//
// The rules are those of vault/acl.go and vault/policy.go of Vault 1.21.0 and of
// https://developer.hashicorp.com/vault/docs/concepts/policies; a test of the broker holds the answers against a real
// Vault. Namespaces, Sentinel and the checks of a recovery from another path, which Vault Enterprise alone has, are not
// modelled. The root policy has no text and is no value here. A token that was not told otherwise also carries Vault's
// "default" policy: pass it in.
//
// The package talks to no one. Its functions are safe for concurrent use; its values are not to be changed while in use.
package vaultacl
