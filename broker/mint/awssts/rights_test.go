package awssts_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/credentials"

	"github.com/valetkey/valetkey/broker/mint"
	"github.com/valetkey/valetkey/broker/mint/awssts"
)

const (
	revoker   = "arn:aws:iam::123456789012:role/valetkey-revoker"
	brokerARN = "arn:aws:iam::123456789012:user/broker"
)

// stsAnswer has the key AKIAREVOKER for the role that revokes.
func (f *fakeIAM) stsAnswer(action string, form url.Values) string {
	result := "<Arn>" + f.caller[form.Get("signer")] + "</Arn><UserId>u</UserId><Account>123456789012</Account>"
	if action == "AssumeRole" || action == "AssumeRoleWithWebIdentity" {
		result = "<Credentials><AccessKeyId>AKIAREVOKER</AccessKeyId><SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken><Expiration>" +
			time.Now().Add(15*time.Minute).UTC().Format(time.RFC3339) + "</Expiration></Credentials><AssumedRoleUser><Arn>" + f.caller["AKIAREVOKER"] + "</Arn><AssumedRoleId>AROAREVOKER:s</AssumedRoleId></AssumedRoleUser>"
	}
	return fmt.Sprintf(`<%[1]sResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><%[1]sResult>%[2]s</%[1]sResult></%[1]sResponse>`, action, result)
}

func (f *fakeIAM) simulated(form url.Values, fault func(int, string) (int, string)) (int, string) {
	may, known := f.may[form.Get("PolicySourceArn")]
	if !known {
		return fault(http.StatusForbidden, "AccessDenied")
	}
	members := ""
	for i := 1; form.Get(fmt.Sprintf("ActionNames.member.%d", i)) != ""; i++ {
		action, resource := form.Get(fmt.Sprintf("ActionNames.member.%d", i)), form.Get("ResourceArns.member.1")
		decision, missing := "implicitDeny", ""
		if slices.Contains(may, "conditions: "+action) {
			missing = "<member>aws:SourceIp</member>"
		}
		if slices.Contains(may, "*") || slices.Contains(may, action) || slices.Contains(may, action+" on "+resource) {
			decision = "allowed"
		}
		members += "<member><EvalActionName>" + action + "</EvalActionName><EvalResourceName>" + resource + "</EvalResourceName><EvalDecision>" + decision + "</EvalDecision><MissingContextValues>" + missing + "</MissingContextValues></member>"
	}
	return http.StatusOK, `<SimulatePrincipalPolicyResponse xmlns="https://iam.amazonaws.com/doc/2010-05-08/"><SimulatePrincipalPolicyResult><IsTruncated>false</IsTruncated><EvaluationResults>` +
		members + `</EvaluationResults></SimulatePrincipalPolicyResult></SimulatePrincipalPolicyResponse>`
}

func onRole(actions ...string) (out []string) {
	for _, a := range actions {
		out = append(out, a+" on "+fakeRole)
	}
	return out
}

// revoking is a broker whose own key may change no role, and a role that may change the agents'.
func revoking(t *testing.T) (*fakeIAM, *awssts.Minter) {
	t.Helper()
	f := newFakeIAM(t)
	f.boundary = "<PermissionsBoundary><PermissionsBoundaryType>PermissionsBoundaryPolicy</PermissionsBoundaryType><PermissionsBoundaryArn>arn:aws:iam::123456789012:policy/agents</PermissionsBoundaryArn></PermissionsBoundary>"
	f.caller = map[string]string{"AKIABROKER": brokerARN, "AKIAREVOKER": "arn:aws:sts::123456789012:assumed-role/valetkey-revoker/valetkeyd-revoker"}
	f.may = map[string][]string{
		brokerARN: {},
		revoker:   onRole("iam:GetRole", "iam:GetRolePolicy", "iam:PutRolePolicy", "iam:DeleteRolePolicy", "iam:ListRolePolicies"),
	}
	m, _ := denyMinter(t, f, func(c *awssts.Config) {
		c.Endpoint, c.Timeout = f.url, 0
		c.Credentials = credentials.NewStaticCredentialsProvider("AKIABROKER", "s", "")
		c.RoleDeny.AssumeRoleARN = revoker
	})
	return f, m
}

// Only the role that is there for it changes the agents' role.
func TestRevokesByARoleOfItsOwn(t *testing.T) {
	f, m := revoking(t)
	f.before = func(action string, w http.ResponseWriter, r *http.Request) bool {
		if strings.HasSuffix(action, "RolePolicy") && r.PostForm.Get("signer") != "AKIAREVOKER" {
			fails(http.StatusForbidden, "AccessDenied")(w, r, nil)
			return true
		}
		return false
	}
	h := aHandle(5 * time.Minute)
	mustDeny(t, m, h)
	if got := f.denied(t, denyPolicy); !slices.Equal(got, []string{userOf(h)}) {
		t.Errorf("denied %v", got)
	}
}

// A web identity of the broker's takes that role on with its JWT-SVID, fetched anew each time, and signs nothing with a key of its own.
func TestRevokesByARoleOfItsOwnByWebIdentity(t *testing.T) {
	f, _ := revoking(t)
	var tokens []string
	fetched := 0
	f.before = func(action string, w http.ResponseWriter, r *http.Request) bool {
		switch {
		case action == "AssumeRoleWithWebIdentity":
			tokens = append(tokens, r.PostForm.Get("RoleArn")+" "+r.PostForm.Get("WebIdentityToken")+" "+r.Header.Get("Authorization"))
		case r.PostForm.Get("signer") != "AKIAREVOKER":
			fails(http.StatusForbidden, "AccessDenied")(w, r, nil)
			return true
		}
		return false
	}
	var fail bool
	m, _ := denyMinter(t, f, func(c *awssts.Config) {
		c.Endpoint, c.Timeout, c.Credentials, c.RoleDeny.AssumeRoleARN = f.url, 0, nil, revoker
		c.WebIdentity = &awssts.WebIdentity{Audience: "sts", Fetch: func(_ context.Context, audience string) (string, error) {
			if fetched++; fail {
				return "", errors.New("no Workload API")
			}
			return audience + "-svid-" + strconv.Itoa(fetched), nil
		}}
	})
	fail = true
	if outcome, err := m.Revoke(t.Context(), aHandle(5*time.Minute)); !errors.Is(err, mint.ErrUnavailable) {
		t.Fatalf("without an SVID: %v %v", outcome, err)
	}
	fail = false
	h := aHandle(5 * time.Minute)
	mustDeny(t, m, h)
	if got := f.denied(t, denyPolicy); !slices.Equal(got, []string{userOf(h)}) {
		t.Errorf("denied %v", got)
	}
	if want := []string{revoker + " sts-svid-2 "}; !slices.Equal(tokens, want) {
		t.Errorf("took the role on as %q, want %q", tokens, want)
	}
	if got := m.CheckRights(t.Context(), nil); got.Worst() != mint.RightsNote {
		t.Errorf("%v", got)
	}
}

func TestRightsAtAWS(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*fakeIAM)
		worst  mint.Judgement
		says   string
	}{
		"as little as can be":       {func(*fakeIAM) {}, mint.RightsNote, "room for revocations: 8192 characters"},
		"an administrator":          {func(f *fakeIAM) { f.may[brokerARN] = []string{"*"} }, mint.RightsBeyond, "the broker: iam:CreateUser"},
		"writes the role by itself": {func(f *fakeIAM) { f.may[brokerARN] = onRole("iam:PutRolePolicy") }, mint.RightsBeyond, "the broker: iam:PutRolePolicy on " + fakeRole},
		"reads data":                {func(f *fakeIAM) { f.may[brokerARN] = []string{"s3:GetObject"} }, mint.RightsBeyond, "s3:GetObject on arn:aws:s3:::*"},
		"any role's policies":       {func(f *fakeIAM) { f.may[revoker] = append(f.may[revoker], "iam:PutRolePolicy") }, mint.RightsBeyond, "the role that revokes: iam:PutRolePolicy on arn:aws:iam::123456789012:role/*"},
		"takes the boundary away":   {func(f *fakeIAM) { f.may[revoker] = append(f.may[revoker], "iam:DeleteRolePermissionsBoundary") }, mint.RightsBeyond, "iam:DeleteRolePermissionsBoundary"},
		"data under a condition":    {func(f *fakeIAM) { f.may[brokerARN] = []string{"conditions: s3:GetObject"} }, mint.RightsUnknown, "whether it may s3:GetObject on arn:aws:s3:::* depends"},
		"writes under a condition": {func(f *fakeIAM) {
			f.may[revoker] = append(onRole("iam:GetRole", "iam:GetRolePolicy", "iam:DeleteRolePolicy", "iam:ListRolePolicies"), "conditions: iam:PutRolePolicy")
		}, mint.RightsUnknown, "the role that revokes: whether it may iam:PutRolePolicy on " + fakeRole},
		"no boundary":                  {func(f *fakeIAM) { f.boundary = "" }, mint.RightsBeyond, "no permissions boundary"},
		"a revoker that may not write": {func(f *fakeIAM) { f.may[revoker] = onRole("iam:GetRole", "iam:GetRolePolicy") }, mint.RightsMissing, "the role that revokes: iam:PutRolePolicy"},
		"nobody may ask":               {func(f *fakeIAM) { f.may = nil }, mint.RightsUnknown, "iam:SimulatePrincipalPolicy"},
		"no room":                      {func(f *fakeIAM) { f.policies["allow"] = strings.Repeat("x", 9000) }, mint.RightsMissing, "room for revocations: 0 characters"},
		"root":                         {func(f *fakeIAM) { f.caller["AKIABROKER"] = "arn:aws:iam::123456789012:root" }, mint.RightsBeyond, "root user"},
	} {
		t.Run(name, func(t *testing.T) {
			f, m := revoking(t)
			f.set(func() { tc.change(f) })
			got := m.CheckRights(t.Context(), nil)
			if got.Worst() != tc.worst || !slices.ContainsFunc(got, func(one mint.Finding) bool { return one.Judgement == tc.worst && strings.Contains(one.Text, tc.says) }) {
				t.Errorf("want %v %q, got %v", tc.worst, tc.says, got)
			}
			if f.count("PutRolePolicy")+f.count("DeleteRolePolicy") != 0 {
				t.Error("looking changed something")
			}
		})
	}
}
