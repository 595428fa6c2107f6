package valetkey_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/valetkey/valetkey/clients/valetkey"
	vkaws "github.com/valetkey/valetkey/clients/valetkey/aws"
	"github.com/valetkey/valetkey/clients/valetkey/database"
	"github.com/valetkey/valetkey/clients/valetkey/vault"
)

// A program opens a task, and gives the AWS SDK a provider in place of a standing
// credential. What it needs to know of the broker is in the environment.
func Example() {
	ctx := context.Background()
	client, err := valetkey.New(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = client.Close() }() // closes the task, and ends what was granted in it

	task, err := client.OpenTask(ctx, valetkey.TaskSpec{Purpose: "weekly report", Environment: "staging"})
	if err != nil {
		fmt.Println(err)
		return
	}
	provider := vkaws.NewProvider(task.Source("s3-prefix-read", valetkey.Params{"bucket": {"prod"}, "prefix": {"reports/"}}))
	storage := s3.New(s3.Options{Region: "eu-central-1", Credentials: provider})
	_ = storage // storage.GetObject works below s3://prod/reports/, and nowhere else

	cred, err := provider.Credential(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(cred)
	fmt.Println("on the record:", cred.Receipt().Verified)
	// Output:
	// [REDACTED]
	// on the record: true
}

// The AWS SDK's config package puts a cache around any provider. Give it a window,
// so that it asks for the next credential before this one ends.
func Example_aws() {
	ctx := context.Background()
	client, err := valetkey.New(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = client.Close() }()
	task, err := client.OpenTask(ctx, valetkey.TaskSpec{Purpose: "weekly report", Environment: "staging"})
	if err != nil {
		fmt.Println(err)
		return
	}
	cfg, err := config.LoadDefaultConfig(ctx,
		config.WithRegion("eu-central-1"),
		config.WithCredentialsProvider(vkaws.NewProvider(task.Source("s3-prefix-read", valetkey.Params{"bucket": {"prod"}, "prefix": {"reports/"}}))),
		config.WithCredentialsCacheOptions(func(o *aws.CredentialsCacheOptions) {
			o.ExpiryWindow, o.ExpiryWindowJitterFrac = 5*time.Minute, 0.5
		}))
	if err != nil {
		fmt.Println(err)
		return
	}
	keys, err := cfg.Credentials.Retrieve(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(keys.Source, keys.CanExpire)
	// Output: valetkey true
}

// A refusal says why, and what to do next. It is not asked for again.
func ExampleError() {
	ctx := context.Background()
	client, err := valetkey.New(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = client.Close() }()
	task, err := client.OpenTask(ctx, valetkey.TaskSpec{Purpose: "tidy up", Environment: "production"})
	if err != nil {
		fmt.Println(err)
		return
	}
	_, _, err = task.RequestCredential(ctx, "s3-bucket-rebuild", valetkey.Params{"bucket": {"prod"}})
	var refused *valetkey.Error
	switch {
	case errors.Is(err, valetkey.ErrNeedsApproval) && errors.As(err, &refused):
		for _, n := range refused.Needs {
			fmt.Printf("ask %d of %s\n", n.Approvals, n.Group)
		}
	case errors.Is(err, valetkey.ErrRateLimited) && errors.As(err, &refused):
		fmt.Println("ask again in", refused.RetryAfter)
	case errors.Is(err, valetkey.ErrUnavailable):
		fmt.Println("nothing was decided:", err)
	}
	// Output: ask 2 of sre
}

// People have to approve this. The program waits for them, as long as its context
// allows, and says for whom.
func ExampleWithWait() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	client, err := valetkey.New(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = client.Close() }()
	task, err := client.OpenTask(ctx, valetkey.TaskSpec{Purpose: "tidy up", Environment: "production"})
	if err != nil {
		fmt.Println(err)
		return
	}
	grant, cred, err := task.RequestCredential(ctx, "s3-bucket-rebuild", valetkey.Params{"bucket": {"prod"}},
		valetkey.WithWait(), valetkey.WithOnPending(func(g *valetkey.Grant) {
			fmt.Println("waiting for", g.Needs())
		}))
	switch {
	case errors.Is(err, valetkey.ErrRejected):
		fmt.Println("people said no")
	case errors.Is(err, valetkey.ErrLapsed):
		fmt.Println("people said nothing in time")
	case err != nil && grant != nil:
		fmt.Println("still waiting, and to be found by its id:", grant.ID())
	case err == nil:
		fmt.Println(cred)
	}
	// Output:
	// waiting for [2 of group sre]
	// [REDACTED]
}

// One call each: ask, wait for people where they have to say something, mint, and
// give back.
func ExampleTask_Request() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	client, err := valetkey.New(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = client.Close() }()
	task, err := client.OpenTask(ctx, valetkey.TaskSpec{Purpose: "weekly report", Environment: "staging"})
	if err != nil {
		fmt.Println(err)
		return
	}
	grant, err := task.Request(ctx, "s3-prefix-read", valetkey.Params{"bucket": {"prod"}, "prefix": {"reports/"}},
		valetkey.WithTTL(5*time.Minute), valetkey.WithJustification("numbers for Monday"))
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := grant.Wait(ctx); err != nil {
		fmt.Println(err)
		return
	}
	cred, err := grant.Mint(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("a secret of", len(cred.Reveal().AWS.SecretAccessKey), "characters")
	if err := grant.Release(ctx); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("and given back")
	// Output:
	// a secret of 26 characters
	// and given back
}

// Vault's own client, with a token that can read one team's secrets and is renewed
// by minting another.
func Example_vault() {
	ctx := context.Background()
	client, err := valetkey.New(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = client.Close() }()
	task, err := client.OpenTask(ctx, valetkey.TaskSpec{Purpose: "deploy", Environment: "staging"})
	if err != nil {
		fmt.Println(err)
		return
	}
	secrets, err := vault.NewClient(ctx, task.Source("vault-kv-read", valetkey.Params{"team": {"web"}}))
	if err != nil {
		fmt.Println(err)
		return
	}
	secret, err := secrets.KVv2("secret").Get(ctx, "web/smtp")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("host:", secret.Data["host"])
	// Output: host: mail.example.org
}

// A database account for as long as its lease lives, and another after that.
func Example_database() {
	ctx := context.Background()
	client, err := valetkey.New(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = client.Close() }()
	task, err := client.OpenTask(ctx, valetkey.TaskSpec{Purpose: "weekly report", Environment: "staging"})
	if err != nil {
		fmt.Println(err)
		return
	}
	accounts := database.New(task.Source("db-creds", valetkey.Params{"role": {"reader"}}))
	db := sql.OpenDB(accounts.Connector(stdlib.GetDefaultDriver(), func(l database.Login) string {
		return (&url.URL{Scheme: "postgres", Host: "db.example.org", User: url.UserPassword(l.Username, l.Password()), Path: "sales"}).String()
	}))
	db.SetConnMaxLifetime(10 * time.Minute) // below the scope's life
	defer func() { _ = db.Close() }()

	login, err := accounts.Login(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(login)
	// Output: v-reader-1 [REDACTED]
}
