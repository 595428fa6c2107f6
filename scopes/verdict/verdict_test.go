package verdict_test

import (
	"encoding/json"
	"testing"

	"github.com/valetkey/valetkey/scopes/verdict"
)

func TestWordsComeBack(t *testing.T) {
	type both struct {
		Verdict verdict.Verdict
		Answer  verdict.Answer
	}
	for want, is := range map[string]both{
		`{"Verdict":"implicit_deny","Answer":"unknown"}`: {},
		`{"Verdict":"allow","Answer":"yes"}`:             {verdict.Allowed, verdict.Yes},
		`{"Verdict":"explicit_deny","Answer":"no"}`:      {verdict.ExplicitDeny, verdict.No},
	} {
		text, err := json.Marshal(is)
		var back both
		if err != nil || string(text) != want || json.Unmarshal(text, &back) != nil || back != is {
			t.Errorf("%v is %s, %v, and comes back as %v", is, text, err, back)
		}
	}
	if got := verdict.Verdict(3).String() + verdict.Answer(-1).String(); got != "implicit_denyunknown" {
		t.Errorf("what is no value is %s", got)
	}
	for _, no := range []string{`{"Verdict":"Allow"}`, `{"Verdict":""}`, `{"Answer":"maybe"}`, `{"Answer":1}`} {
		if err := json.Unmarshal([]byte(no), new(both)); err == nil {
			t.Errorf("%s is read", no)
		}
	}
}
