package awssts_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/credentials"
	awsiam "github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go/middleware"

	"github.com/valetkey/valetkey/broker/brokertest/servers"
	"github.com/valetkey/valetkey/broker/mint"
	"github.com/valetkey/valetkey/broker/mint/awssts"
	"github.com/valetkey/valetkey/broker/mint/internal/minttest"
	"github.com/valetkey/valetkey/scopes/iam"
)

// TestRadosGW revokes sessions of a real role by its policy. Ceph judges aws:userid at every
// request; that AWS takes longer is beside the point.
func TestRadosGW(t *testing.T) {
	ctx := t.Context()
	gw := servers.RadosGW(t)
	key := credentials.NewStaticCredentialsProvider(gw.AccessKey, gw.SecretKey, "")
	root := s3Client(gw.Endpoint, gw.AccessKey, gw.SecretKey, "")
	if _, err := root.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: aws.String("prod")}); err != nil {
		t.Fatal(err)
	}
	roles := awsiam.New(awsiam.Options{BaseEndpoint: aws.String(gw.Endpoint), Region: "us-east-1", Credentials: key, RetryMaxAttempts: 1, APIOptions: []func(*middleware.Stack) error{awssts.PlainBody}})
	const trust, allow = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":["`,
		`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"*"}]}`
	role, err := roles.CreateRole(ctx, &awsiam.CreateRoleInput{
		RoleName:                 aws.String("test"),
		AssumeRolePolicyDocument: aws.String(trust + gw.UserARN + `"]},"Action":["sts:AssumeRole","sts:TagSession"]}]}`),
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := roles.PutRolePolicy(ctx, &awsiam.PutRolePolicyInput{
		RoleName: aws.String("test"), PolicyName: aws.String("allow"), PolicyDocument: aws.String(allow),
	}); err != nil {
		t.Fatal(err)
	}
	desk := minttest.NewDesk(t)
	broker := func(cut bool, now func() time.Time, change ...func(*awssts.Config)) *awssts.Minter {
		return newMinter(t, desk, gw.Endpoint, func(c *awssts.Config) {
			c.RoleARN, c.Credentials, c.Timeout, c.Now = aws.ToString(role.Role.Arn), key, 0, now
			c.Dialect, c.S3Endpoint, c.RoleDeny = iam.DialectAWS, gw.Endpoint, &awssts.RoleDeny{Endpoint: gw.Endpoint, Cut: cut}
			for _, fn := range change {
				fn(c)
			}
		})
	}
	m := broker(false, nil)
	issue := func(o mint.Order) (mint.Handle, func(key string) error) {
		t.Helper()
		cred, err := m.Mint(ctx, desk.Permit(o))
		if err != nil {
			t.Fatal(err)
		}
		sec := cred.Reveal().AWS
		c := s3Client(gw.Endpoint, sec.AccessKeyID, sec.SecretAccessKey, sec.SessionToken)
		return cred.Handle(), func(key string) error { return put(ctx, c, key) }
	}
	refused := func(what string, err error) {
		t.Helper()
		if err == nil {
			t.Errorf("%s: it still works", what)
		} else if status := statusOf(err); status != http.StatusForbidden {
			t.Errorf("%s: status %d, %v", what, status, err)
		}
	}
	order := func() mint.Order { return minttest.Order(prefixPermissions(), 5*time.Minute) }
	lost := order()
	a, putA := issue(order())
	_, putB := issue(order())
	_, putLost := issue(lost)
	for name, try := range map[string]func(string) error{"a": putA, "b": putB, "lost": putLost} {
		if err := try("a/" + name); err != nil {
			t.Fatalf("session %s before: %v", name, err)
		}
	}
	refused("outside the prefix", putA("b/one"))

	mustDeny(t, m, a)
	refused("a revoked session", putA("a/two"))
	mustDeny(t, m, lost.Handle(mint.ProviderAWS)) // all that is left of a minting that was never answered
	refused("a revoked orphan", putLost("a/two"))
	mustDeny(t, broker(false, nil), a) // by a broker that started anew
	if err := putB("a/two"); err != nil {
		t.Errorf("another session of the role died too: %v", err)
	}

	policy := func() (string, error) {
		out, err := roles.GetRolePolicy(ctx, &awsiam.GetRolePolicyInput{RoleName: aws.String("test"), PolicyName: aws.String(denyPolicy)})
		if err != nil {
			return "", err
		}
		return aws.ToString(out.PolicyDocument), nil
	}
	if text, err := policy(); err != nil || strings.Count(text, a.SessionName) != 1 {
		t.Errorf("the policy: %s, %v", text, err)
	}
	// Once its deadline is over, the entry goes; here by a clock that is two hours ahead, so
	// that the session, which the server lets live, shows that nothing else had stopped it.
	// Where the answer tells the server's time, a clock ahead drops nothing.
	later := broker(false, func() time.Time { return time.Now().Add(2 * time.Hour) })
	if outcome, err := later.Revoke(ctx, a); err != nil || outcome != mint.DeadlineOnly {
		t.Errorf("a session that is over by our clock alone: %v %v", outcome, err)
	}
	refused("a session that is over by our clock alone", putA("a/three"))
	later = broker(false, func() time.Time { return time.Now().Add(2 * time.Hour) }, func(c *awssts.Config) { c.RoleDeny.Endpoint = undated(t, gw.Endpoint) })
	if outcome, err := later.Revoke(ctx, a); err != nil || outcome != mint.DeadlineOnly {
		t.Errorf("an ended session: %v %v", outcome, err)
	}
	if text, err := policy(); err == nil {
		t.Errorf("ended entries are still there: %s", text)
	}
	if err := putA("a/three"); err != nil {
		t.Errorf("the session died of something else: %v", err)
	}

	revokesOncePermitted(t, gw, roles, trust, func(cred aws.CredentialsProvider, now func() time.Time) *awssts.Minter {
		return broker(false, now, func(c *awssts.Config) { c.Credentials = cred })
	})

	// A policy without room: a session lives on until there is some.
	var users []string
	for i := range 187 {
		users = append(users, fmt.Sprintf("AROA%017d:vk-%026d", i, i))
	}
	full := `{"Version":"2012-10-17","Statement":[{"Sid":"VK%s","Effect":"Deny","Action":"*","Resource":"*",` +
		`"Condition":{"StringEquals":{"aws:userid":["` + strings.Join(users, `","`) + `"]}}}]}`
	fillUp := func(until time.Time) {
		t.Helper()
		if _, err := roles.PutRolePolicy(ctx, &awsiam.PutRolePolicyInput{
			RoleName: aws.String("test"), PolicyName: aws.String(denyPolicy), PolicyDocument: aws.String(fmt.Sprintf(full, until.UTC().Format("200601021504"))),
		}); err != nil {
			t.Fatal(err)
		}
	}
	fillUp(time.Now().Add(20 * time.Minute))
	var clock movedClock
	waiting := broker(false, clock.now, func(c *awssts.Config) { c.RoleDeny.Endpoint = undated(t, gw.Endpoint) })
	c, putC := issue(minttest.Order(prefixPermissions(), 50*time.Minute))
	mustRefuse(t, waiting, c, "are full")
	if err := putC("a/four"); err != nil {
		t.Errorf("a session that found no room: %v", err)
	}
	clock.move(30 * time.Minute)
	mustDeny(t, waiting, c)
	refused("the session that there is room for now", putC("a/five"))

	oneAgentIsCut(t, broker(false, nil), issue, func() {
		if _, err := roles.DeleteRolePolicy(ctx, &awsiam.DeleteRolePolicyInput{RoleName: aws.String("test"), PolicyName: aws.String(denyPolicy)}); err != nil {
			t.Fatal(err)
		}
	})

	// Where it is allowed, every session so far ends, and later ones live.
	fillUp(time.Date(2099, 1, 1, 0, 0, 0, 0, time.UTC))
	if outcome, err := broker(true, nil).RevokeFirst(ctx, a); err != nil || outcome != mint.RoleCut {
		t.Fatalf("a full policy of %d characters: %v %v", len(full), outcome, err)
	}
	refused("the session that found no room", putA("a/four"))
	refused("another session before the cut", putB("a/four"))
	minttest.Eventually(t, 2*time.Minute, "a session from after the cut works", func() bool {
		_, putD := issue(order())
		return putD("a/four") == nil
	})
	refused("another session before the cut", putB("a/five"))
}

// oneAgentIsCut: an agent that ends sessions without end has all of its own cut by one pattern and
// one time, which Ceph keeps together; its later sessions work, and another agent's all the time.
func oneAgentIsCut(t *testing.T, m *awssts.Minter, issue func(mint.Order) (mint.Handle, func(string) error), empty func()) {
	t.Helper()
	empty()
	order := func(agent string) mint.Order {
		o := minttest.Order(prefixPermissions(), 5*time.Minute)
		o.SessionName = minttest.SessionName(agent)
		return o
	}
	_, putGreedy := issue(order("greedy"))
	_, putOther := issue(order("other"))
	cut := false
	for i := 0; i < 200 && !cut; i++ {
		outcome, err := m.Revoke(t.Context(), order("greedy").Handle(mint.ProviderAWS))
		if err != nil {
			t.Fatalf("release %d: %v", i+1, err)
		}
		cut = outcome == mint.AgentCut
	}
	if !cut {
		t.Fatal("200 releases of one agent cut nothing")
	}
	if err := putGreedy("a/greedy"); statusOf(err) != http.StatusForbidden {
		t.Errorf("a session of the agent that was cut: %v", err)
	}
	if err := putOther("a/other"); err != nil {
		t.Errorf("another agent's session: %v", err)
	}
	minttest.Eventually(t, 2*time.Minute, "a session from after the cut works", func() bool {
		_, put := issue(order("greedy"))
		return put("a/greedy") == nil
	})
	if err := putGreedy("a/greedy"); statusOf(err) != http.StatusForbidden {
		t.Errorf("a session of the agent that was cut, later: %v", err)
	}
	h, put := issue(order("other")) // and is revoked in its turn
	mustDeny(t, m, h)
	if err := put("a/other"); statusOf(err) != http.StatusForbidden {
		t.Errorf("a revoked session of another agent: %v", err)
	}
}

// revokesOncePermitted: a broker whose own role may not change the other one is refused, and
// goes on once it may.
func revokesOncePermitted(
	t *testing.T, gw servers.RadosGWServer, roles *awsiam.Client, trust string, broker func(aws.CredentialsProvider, func() time.Time) *awssts.Minter,
) {
	t.Helper()
	ctx := t.Context()
	own, err := roles.CreateRole(ctx, &awsiam.CreateRoleInput{
		RoleName:                 aws.String("broker"),
		AssumeRolePolicyDocument: aws.String(trust + gw.UserARN + `"]},"Action":["sts:AssumeRole","sts:TagSession"]}]}`),
	})
	if err != nil {
		t.Fatal(err)
	}
	may := func(what string) {
		t.Helper()
		if _, err := roles.PutRolePolicy(ctx, &awsiam.PutRolePolicyInput{
			RoleName: aws.String("broker"), PolicyName: aws.String("may"),
			PolicyDocument: aws.String(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"` + what + `","Resource":"*"}]}`),
		}); err != nil {
			t.Fatal(err)
		}
	}
	may("s3:*")
	api := sts.New(sts.Options{
		BaseEndpoint: aws.String(gw.Endpoint), Region: "us-east-1", Credentials: credentials.NewStaticCredentialsProvider(gw.AccessKey, gw.SecretKey, ""),
	})
	out, err := api.AssumeRole(ctx, &sts.AssumeRoleInput{RoleArn: own.Role.Arn, RoleSessionName: aws.String("broker")})
	if err != nil {
		t.Fatal(err)
	}
	key := credentials.NewStaticCredentialsProvider(aws.ToString(out.Credentials.AccessKeyId), aws.ToString(out.Credentials.SecretAccessKey), aws.ToString(out.Credentials.SessionToken))
	var clock movedClock
	m, h := broker(key, clock.now), aHandle(5*time.Minute)
	mustRefuse(t, m, h, "IAM answered 403")
	may("iam:*")
	clock.move(askAgain)
	mustDeny(t, m, h)
}

// undated is a server in front of another, whose answers do not tell the time.
func undated(t *testing.T, endpoint string) string {
	t.Helper()
	u, err := url.Parse(endpoint)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(u) // it keeps the Host, which is signed
	proxy.ModifyResponse = func(r *http.Response) error { r.Header.Del("Date"); return nil }
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header()["Date"] = nil
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(srv.Close)
	return srv.URL
}

func statusOf(err error) int {
	var resp *awshttp.ResponseError
	if errors.As(err, &resp) {
		return resp.HTTPStatusCode()
	}
	return 0
}
