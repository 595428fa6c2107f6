package session

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/valetkey/valetkey/broker/brokertest"
	"github.com/valetkey/valetkey/broker/brokertest/clienttest"
	"github.com/valetkey/valetkey/clients/helper/serve"
	"github.com/valetkey/valetkey/clients/valetkey"
)

var (
	must, ask, read           = clienttest.Must, clienttest.Ask, clienttest.Read
	eventually, took, discard = brokertest.Eventually, clienttest.Took, clienttest.Discard
	newKit, newKitWithPeople  = clienttest.New, clienttest.NewWithPeople
)

// hangs is how long what has to end without an answer may take: what Close still
// says to the broker, and a busy machine.
const hangs = serve.CloseTimeout + 2*time.Second

// sessionOf opens one that reads a prefix.
func sessionOf(t *testing.T, k *clienttest.Kit) *Session {
	t.Helper()
	s, err := Open(t.Context(), Config{
		Client: k.Client, Task: clienttest.Task, Scopes: []serve.ScopeSpec{reads("reports/")},
		Dir: t.TempDir(), Program: "/usr/bin/valetkey", Log: slog.New(slog.DiscardHandler),
	})
	must(t, err)
	return s
}

func reads(prefix string) serve.ScopeSpec {
	return serve.ScopeSpec{Scope: "s3-prefix-read", Params: valetkey.Params{"bucket": {"prod"}, "prefix": {prefix}}}
}

func variables(env []string) map[string]string {
	out := map[string]string{}
	for _, kv := range env {
		k, v, _ := strings.Cut(kv, "=")
		out[k] = v
	}
	return out
}
