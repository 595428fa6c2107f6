// Package vaultplugin is a secrets engine for Vault that asks a broker for each
// credential, so that "vault read valetkey/creds/s3-prefix-read bucket=b prefix=p"
// gives one that is narrowed for that request, decided by the broker's policy and
// on its record.
//
// # Who is asking
//
// Vault has authenticated the caller. The plugin has an SVID of its own, and speaks
// for the agent that the mount's agent_template makes of the caller's identity
// entity. The broker's operator lists for which agents it may speak at all, so a
// Vault that is lost is lost for those, and for no others. Records name both.
//
// # Laws
//
//   - Only Vault's own identity makes an agent: no field of a request does. What a
//     template puts in is one whole segment of the SPIFFE ID, or the request is
//     refused.
//   - The plugin decides nothing. A refusal of the broker is passed on as it is, and
//     never asked for again.
//   - Intent before effect: what a crash between the minting and the lease would
//     leave is in Vault's write-ahead log first, and rolled back.
//   - What people have approved is handed over once. Where that fails and something
//     may have been minted, the request is ended, and asked for again. A caller who
//     hangs up does not cost the approval: that credential is nobody's, and dies with
//     the grant.
//   - A lease's end is the end of its grant. It never lives longer than its
//     credential.
//   - Storage holds no secret: ids, parameters and public keys alone.
package vaultplugin
