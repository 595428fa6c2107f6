package evidence_test

import (
	"reflect"
	"strings"
	"testing"

	"github.com/valetkey/valetkey/broker/evidence"
)

// TestEnvelopesText holds the form that people have signed: another text would have another digest.
func TestEnvelopesText(t *testing.T) {
	least := evidence.Envelope{V: 1, Permissions: []byte(`{"b":1,"a":[]}`)}
	for want, e := range map[string]evidence.Envelope{
		`{"agent":"","environment":"","on_behalf_of":"","parameters":null,"permissions":{"a":[],"b":1},"role":"","scope":"","source_cidrs":null,` +
			`"task":"","tier":"","ttl_seconds":0,"v":1}`: least,
		`{"agent":"spiffe://example.org/a","delegate":"spiffe://example.org/d","environment":"e","on_behalf_of":"o","parameters":{"k":["<v>"]},` +
			`"permissions":{},"regions":["r"],"role":"ro","scope":"s@sha256:1","source_cidrs":["10.0.0.0/8"],"task":"t","tier":"write","ttl_seconds":60,"v":1}`: {
			V: 1, Agent: "spiffe://example.org/a", Delegate: "spiffe://example.org/d", Task: "t", Environment: "e", OnBehalfOf: "o", Scope: "s@sha256:1", Role: "ro",
			Tier: "write", Parameters: map[string][]string{"k": {"<v>"}}, Permissions: []byte("{}"), SourceCIDRs: []string{"10.0.0.0/8"},
			Regions: []string{"r"}, TTLSeconds: 60,
		},
	} {
		got, err := e.Canonical()
		if err != nil || string(got) != want {
			t.Errorf("%s, %v, want %s", got, err, want)
		}
		e.Permissions = []byte(strings.ReplaceAll(string(e.Permissions), `{"b":1,"a":[]}`, `{"a":[],"b":1}`))
		if back, err := evidence.ParseEnvelope(want); err != nil || !reflect.DeepEqual(back, e) {
			t.Errorf("%s is read as %+v, %v", want, back, err)
		}
		for _, no := range []string{want + " ", strings.Replace(want, `"v":1`, `"v":2`, 1), strings.Replace(want, `"v":1`, `"v":1,"w":1`, 1), strings.Replace(want, `"tier"`, `"tieR"`, 1), ""} {
			if _, err := evidence.ParseEnvelope(no); err == nil {
				t.Errorf("%s is taken", no)
			}
		}
	}
}
