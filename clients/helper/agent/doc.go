// Package agent keeps the credentials of many tasks where programs look for them, for a
// host, a pod or a user: as a file says, and as long as it runs.
//
// It decides what is opened, renewed, written and ended when its file changes. It trusts
// that file, and a journal that is this user's alone.
//
// # Laws
//
//   - A change ends what is gone and leaves what is as it was. A file that does not check
//     changes nothing.
//   - Nobody is asked again for the sake of a file: who fetches is a reason, and a reload.
//   - Files with a secret are gone when their task is. What a killed agent has left, the
//     next one ends.
//   - The status shows no secret, and waits for no broker.
package agent
