// Package valetkey is the Go SDK: a program asks a broker for a credential that can
// do one task, and uses it where it would have used a standing one.
//
// # First steps
//
// The program needs an identity, which a SPIFFE Workload API gives it, and to know
// the broker. Both are in the environment that its operator prepares:
//
//	SPIFFE_ENDPOINT_SOCKET=unix:///run/spire/api.sock
//	VALETKEY_ADDR=broker.example.org:8443
//	VALETKEY_BROKER_ID=spiffe://example.org/valetkeyd
//	VALETKEY_LEDGER_KEY=log.example.org/valetkey+5c2d…
//
// Then it opens a task, and takes what the task needs:
//
//	client, err := valetkey.New(ctx)
//	defer client.Close() // closes the task, and ends what was granted in it
//
//	task, err := client.OpenTask(ctx, valetkey.TaskSpec{Purpose: "weekly report", Environment: "staging"})
//	s3client := s3.New(s3.Options{Region: "eu-central-1", Credentials: aws.NewProvider(task.Source("s3-prefix-read", valetkey.Params{
//		"bucket": {"prod"}, "prefix": {"reports/"},
//	}))})
//
// The packages aws, vault and database below this one make what the AWS SDK, Vault's
// client and database/sql take, and each stands on a Source, one credential kept
// fresh; below that Task.Request, Grant.Wait,
// Grant.Mint and Grant.Release, one call each. Client.Scopes lists what may be
// asked for, and Task.Explain says what a request would give and need.
//
// # When the answer is no
//
// A refusal is an *Error, and errors.Is knows one sentinel for each reason:
//
//	var refused *valetkey.Error
//	switch {
//	case errors.Is(err, valetkey.ErrNeedsApproval): // people first: grant.Wait, or WithWait
//	case errors.Is(err, valetkey.ErrRejected): // they said no
//	case errors.Is(err, valetkey.ErrLapsed): // they said nothing in time
//	case errors.Is(err, valetkey.ErrRateLimited) && errors.As(err, &refused): // in refused.RetryAfter
//	case errors.Is(err, valetkey.ErrDenied): // task.Explain says why
//	case errors.Is(err, valetkey.ErrUnavailable): // no answer; nothing was decided
//	}
//
// A grant that waits for people goes on waiting when the program does not:
// Client.Grant finds it again by its id, and Grant.Release gives it back. A Source
// asks people once for each life that they approve.
//
// # Laws
//
//   - The SVID and the bundles come from the SPIFFE Workload API, and are
//     followed as they rotate: each call goes over a connection of the newest
//     SVID. No key is read from a flag or a file.
//   - The broker is checked by its SPIFFE ID: the one that is expected, or,
//     where none is named, any member of the caller's own trust domain. Name
//     it wherever other workloads of that domain could answer in its place.
//     TLS 1.3, always.
//   - No grant is minted from that is of something else than was asked for, and no
//     credential handed out that has a control character where text is to be.
//   - No credential is handed out whose receipt does not prove that this minting
//     is on the record: in the ledger of the pinned key, which has only grown
//     since the last receipt. The two ways to do without have to be typed out:
//     WithLedgerTrustOnFirstUse and WithoutReceiptChecks.
//   - A refusal is an answer, and is never asked for again in the same call. A call
//     whose answer was lost is sent again with the same idempotency key, with
//     jitter. A credential whose answer was lost is not delivered twice: it dies
//     with its grant, and another is minted.
//   - Times are told by this machine's clock, and lives are measured by the
//     broker's: a clock that is wrong here makes no credential live longer, and
//     no program mint in a loop.
//   - A Credential shows nothing however it is printed. Reveal is the only way out.
//
// The generated clients are there too, as Client.Agent and Client.Operator, for
// what this package does not wrap; they send once, and check no receipt.
package valetkey
