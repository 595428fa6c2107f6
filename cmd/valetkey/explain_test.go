package main

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	valetkeyv1 "github.com/valetkey/valetkey/proto/valetkey/v1"
)

// A broker's answer is explained, and asked about, as that of a catalog is.
func TestExplainAndCanAskTheBroker(t *testing.T) {
	e := &edge{explain: &valetkeyv1.ExplainScopeResponse{
		Scope:       &valetkeyv1.Scope{Name: "s3-read", Version: "sha256:1", Description: "read\x1b[2J", MaxTtl: durationpb.New(time.Hour)},
		Tier:        valetkeyv1.Tier_TIER_READ,
		Permissions: `{"aws":{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::logs/*"}]},"dialect":"aws"}`,
		PolicySize:  400, PolicyLimit: 2048, Ttl: durationpb.New(15 * time.Minute),
		Needs: []*valetkeyv1.Need{{Group: "sre", Approvals: 2}}, SourceCidrs: []string{"203.0.113.0/24"},
	}}
	call := start(t, e)
	code, stdout, stderr := call("explain", "s3-read", "bucket=logs", "--environment", "production", "--ttl", "15m")
	if code != exitOK {
		t.Fatalf("exit %d, %s", code, stderr)
	}
	for _, want := range []string{"read: s3:GetObject on arn:aws:s3:::logs/*", "1648 left", "needs approval: 2 of group sre", "works from   203.0.113.0/24"} {
		if !strings.Contains(stdout, want) {
			t.Errorf("%q lacks %q", stdout, want)
		}
	}
	if strings.Contains(stdout, "\x1b") {
		t.Errorf("an escape reaches the terminal: %q", stdout)
	}
	r := e.requests[0].(*valetkeyv1.ExplainScopeRequest)
	if r.GetEnvironment() != "production" || r.GetTtl().AsDuration() != 15*time.Minute || r.GetParameters()["bucket"].GetValues()[0] != "logs" {
		t.Errorf("sent %v", r)
	}
	_, stdout, _ = call("explain", "s3-read", "-o", "json")
	var got map[string]any
	if err := json.Unmarshal([]byte(stdout), &got); err != nil || got["tier"] != "TIER_READ" || got["decided"] != true || got["risk"] == nil {
		t.Errorf("json: %v, %s", err, stdout)
	}
	for _, k := range []struct {
		args []string
		code int
		say  string
	}{
		{[]string{"--action", "s3:GetObject", "--resource", "arn:aws:s3:::logs/x"}, exitNeedsApproval, "yes: statement 1"},
		{[]string{"--action", "s3:PutObject", "--resource", "arn:aws:s3:::logs/x"}, exitNo, "no: the action s3:PutObject"},
		{[]string{"--action", "s3:GetObject", "--resource", "arn:aws:s3:::logs/x", "--context", "aws:SourceIp=10.0.0.1"}, exitNo, "outside the networks"},
	} {
		code, stdout, stderr := call(append([]string{"can", "s3-read", "bucket=logs"}, k.args...)...)
		if code != k.code || !strings.Contains(stdout, k.say) || !strings.Contains(stderr, "needs approval: 2 of group sre") {
			t.Errorf("can %q: exit %d, %q, %q", k.args, code, stdout, stderr)
		}
	}
	for _, text := range []string{"", "{}", `{"aws":{}}`, "not JSON"} {
		e.explain.Permissions = text
		if code, stdout, _ := call("explain", "s3-read"); code != exitError || stdout != "" {
			t.Errorf("permissions %q: exit %d, %q", text, code, stdout)
		}
	}
}

func TestCodeSpan(t *testing.T) {
	for in, want := range map[string]string{
		"":                "(empty)",
		" \n ":            "(empty)",
		"a":               "`a`",
		"`a``b`":          "``` `a``b` ```",
		"a\n\n- b":        "`a  - b`",
		"x\u202ey\u200bz": "`x\ufffdy\ufffdz`",
	} {
		if got := codeSpan(in); got != want {
			t.Errorf("codeSpan(%q) = %q, want %q", in, got, want)
		}
	}
}
