// Command demo replays a 13-hour outage twice on a real S3: an agent that is asked to
// fix one report deletes and recreates the environment. First it holds the
// operator's own rights, then what valetkeyd gives it, and what people let it have. At the end the real aws
// command works through valetkey, unchanged. The S3, with its IAM and STS, is what "valetkeyd dev" brings; with -full
// the same story is told on MinIO, and on Vault with the real vault command.
//
// Laws:
//
//  1. Every claim it prints is checked first; the first that does not hold ends the
//     demo with a non-zero exit.
//
//  2. The broker, the command line, versitygw or MinIO, Vault, aws and vault are the real
//     binaries, each a process of its own. The agent's commands see no credential but what they are given.
//
//  3. All of it is on loopback ports and in one temporary folder, and all of it
//     is gone at the end.
//
//  4. What needs Vault is left out where there is none, and it says so.
//
// It needs valetkey, valetkeyd and valetkey-target in PATH, and awscli from "make servers", in full MinIO and Vault too;
// "make demo" and "make demo-full" see to all.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	full := flag.Bool("full", false, "on MinIO and Vault instead of what valetkeyd dev brings")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	began := time.Now()
	err := onStage(ctx, func(ctx context.Context, s *stage) error { return play(ctx, &player{stage: s, full: *full}) })
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "\ndemo: FAILED: %v\n", err)
		os.Exit(1)
	}
	fmt.Printf("\nAll went as told, in %.0f seconds. Everything is stopped and removed.\n", time.Since(began).Seconds())
}

// play is the whole story; each act is in acts.go.
func play(ctx context.Context, p *player) error {
	where, tools := "What valetkeyd dev brings: a real S3 with the bucket \"production\"", "A tool that knows nothing of valetkey: aws"
	if p.full {
		where, tools = "A real MinIO with the bucket \"production\", and a real Vault", "Tools that know nothing of valetkey: aws and vault"
	}
	for i, act := range []struct {
		title string
		run   func(context.Context) error
	}{
		{where, p.production},
		{"The incident: the agent holds the operator's own rights", p.incident},
		{"The same agent behind valetkey: one task, one prefix", p.prefix},
		{"It still wants to recreate the environment", p.rebuild},
		{"Somebody reads what it wants, and says no", p.rejected},
		{"Two people let it rebuild another bucket", p.approved},
		{"A stolen copy of a credential", p.stolen},
		{"Somebody widens the scope in a pull request", p.widened},
		{tools, p.tools},
		{"The record of all this", p.record},
		{"Somebody edits the record", p.forgery},
	} {
		p.title(i+1, act.title)
		if err := act.run(ctx); err != nil {
			return fmt.Errorf("step %d: %w", i+1, err)
		}
	}
	return nil
}
