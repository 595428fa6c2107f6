package vaultacl_test

import (
	"encoding/json"
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/valetkey/valetkey/scopes/vaultacl"
)

func TestCase(t *testing.T) {
	c, err := vaultacl.ParseCase([]byte(`{"name":"n","policies":["path \"home/{{identity.entity.id}}/\" { capabilities = [\"list\"] }"],
		"operation":"list","path":"home/42","given":{"identity.entity.id":"42"},"verdict":"allow","why":"w"}`))
	if err != nil || c.Name != "n" || c.Why != "w" || c.Verdict == nil || *c.Verdict != vaultacl.Allowed {
		t.Fatalf("%+v, %v", c, err)
	}
	if d, err := c.Evaluate(); err != nil || d.Verdict != vaultacl.Allowed || len(d.Rules) != 1 {
		t.Errorf("%s, %v", d, err)
	}
	c.Request.Given = nil
	if d, err := c.Evaluate(); err != nil || d.Verdict != vaultacl.ImplicitDeny || d.Rules == nil {
		t.Errorf("for another caller: %s, %v", d, err)
	}
	for _, line := range []string{``, `{"verdict":"maybe"}`, `{"opration":"read"}`, `{} {}`, `{"policies":["path"]}`, `{"wrap_ttl":"soon"}`, `{"given":{"a":1}}`} {
		if _, err := vaultacl.ParseCase([]byte(line)); err == nil {
			t.Errorf("%s is a case", line)
		}
	}
	for _, r := range []vaultacl.Request{{}, {Operation: vaultacl.OpRead}, {Operation: "peek", Path: "a"}, {Operation: vaultacl.OpRead, Path: "a", WrapTTL: -1}} {
		if d, err := (vaultacl.Case{Request: r}).Evaluate(); !errors.Is(err, vaultacl.ErrRequest) || d.Verdict == vaultacl.Allowed {
			t.Errorf("%+v: %s, %v", r, d, err)
		}
	}
}

func TestRequestComesBack(t *testing.T) {
	for _, want := range []vaultacl.Request{
		{Operation: vaultacl.OpRead, Path: "a"},
		{
			Operation: vaultacl.OpUpdate, Path: "a<b", Data: map[string]any{"n": json.Number("1.50"), "s": []any{"x"}}, WrapTTL: 90 * time.Second, Sudo: true,
			Given: map[string]string{"identity.entity.id": "1"},
		},
	} {
		text, err := json.Marshal(want)
		var got vaultacl.Request
		if err != nil || json.Unmarshal(text, &got) != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%+v is %s, %v, and comes back as %+v", want, text, err, got)
		}
	}
}
