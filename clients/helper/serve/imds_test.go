package serve

import (
	"net/http"
	"testing"
	"time"

	"github.com/valetkey/valetkey/broker/brokertest/clienttest"
	"github.com/valetkey/valetkey/broker/listen"
	"github.com/valetkey/valetkey/clients/valetkey"
)

func TestIMDSv2(t *testing.T) {
	k := clienttest.New(t)
	task, err := k.Client.OpenTask(t.Context(), clienttest.Task)
	must(t, err)
	svc := newIMDS("role", task.Source("s3-prefix-read", valetkey.Params{"bucket": {"prod"}, "prefix": {"a/"}}))
	now := time.Now()
	svc.now = func() time.Time { return now }
	srv, err := OnLoopback("", listen.NewPeers(nil, true), discard(), svc)
	must(t, err)
	t.Cleanup(func() { must(t, srv.Close()) })
	base := srv.URL("")
	status := func(method, path string, header ...string) int {
		code, _ := ask(t, method, base+path, header...)
		return code
	}
	for _, ttl := range []string{"", "0", "-1", "21601", "x"} {
		if code := status(http.MethodPut, "/latest/api/token", imdsTokenTTL, ttl); code != http.StatusBadRequest {
			t.Errorf("a token for %q seconds: %d", ttl, code)
		}
	}
	if code := status(http.MethodGet, "/latest/api/token", imdsTokenTTL, "60"); code != http.StatusMethodNotAllowed {
		t.Errorf("a token by GET: %d", code)
	}
	_, token := ask(t, http.MethodPut, base+"/latest/api/token", imdsTokenTTL, "60")
	for path, want := range map[string]int{
		imdsRoles: 200, imdsRoles + "role": 200, imdsRoles + "other": 404, "/latest/meta-data/instance-id": 404, "/latest/user-data": 404,
	} {
		if code := status(http.MethodGet, path, imdsToken, token); code != want {
			t.Errorf("%s: %d, want %d", path, code, want)
		}
		if code := status(http.MethodGet, path); code != http.StatusUnauthorized {
			t.Errorf("%s by IMDSv1: %d", path, code)
		}
	}
	now = now.Add(61 * time.Second)
	if code := status(http.MethodGet, imdsRoles, imdsToken, token); code != http.StatusUnauthorized {
		t.Errorf("with a token that is over: %d", code)
	}
	for range maxIMDSTokens {
		svc.keep(NewSecret(), time.Hour)
	}
	if code := status(http.MethodPut, "/latest/api/token", imdsTokenTTL, "60"); code != http.StatusTooManyRequests {
		t.Errorf("one token too many: %d", code)
	}
	if k.Minted.Load() != 1 {
		t.Errorf("%d credentials were minted", k.Minted.Load())
	}
}
