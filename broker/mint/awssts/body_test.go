package awssts_test

import (
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/valetkey/valetkey/broker/mint/awssts"
	"github.com/valetkey/valetkey/broker/mint/internal/minttest"
)

// watched counts requests whose writing failed although they were answered.
type watched struct {
	client http.Client
	failed atomic.Int32
}

func (c *watched) Do(r *http.Request) (*http.Response, error) {
	trace := &httptrace.ClientTrace{WroteRequest: func(i httptrace.WroteRequestInfo) {
		if i.Err != nil {
			c.failed.Add(1)
		}
	}}
	return c.client.Do(r.WithContext(httptrace.WithClientTrace(r.Context(), trace)))
}

// TestQuickAnswersCloseNoConnection: with the SDK's own body, about one call in ten fails here.
func TestQuickAnswersCloseNoConnection(t *testing.T) {
	t.Setenv("AWS_CA_BUNDLE", "") // the SDK takes no client of ours together with it
	client := &watched{}
	f, sts, desk := newFakeIAM(t), newFakeSTS(t, good(func(s *session) { s.token = strings.Repeat("x", 4096) })), minttest.NewDesk(t)
	m := newMinter(t, desk, sts.url, func(c *awssts.Config) {
		c.RoleARN, c.RoleDeny, c.HTTPClient, c.Timeout = fakeRole, &awssts.RoleDeny{Endpoint: f.url}, client, 0
	})
	for range 100 {
		cred, err := m.Mint(t.Context(), desk.Permit(minttest.Order(prefixPermissions(), 5*time.Minute)))
		if err != nil {
			t.Fatal(err)
		}
		mustDeny(t, m, cred.Handle())
	}
	if n := client.failed.Load(); n > 0 {
		t.Errorf("%d writes failed", n)
	}
}
