package e2e_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// devAgent is the agent of "valetkeyd dev".
const devAgent = "spiffe://example.org/agent/alice/dev"

// revocationReaders run docs/revocation.md, each of its commands while an agent holds a
// credential that works on MinIO.
func (p *docs) revocationReaders() map[string]reader {
	const doc = "docs/revocation.md, "
	thaw := func(path string) string { return "valetkey unfreeze " + path + " --cause over" }
	return map[string]reader{
		// The configurations are loaded by cmd/valetkeyd's tests, the probe, the policy and the token
		// role are a real Vault's in broker/mint/vault's.
		doc + "Vault: a revoked lease is no dead credential, 1": picture,
		doc + "Vault: a revoked lease is no dead credential, 2": picture,
		doc + "Vault: the broker's own rights, 1":               picture,
		doc + "Vault: the broker's own rights, 2":               picture,

		doc + "AWS: deny entries on the role, 1": picture,
		doc + "AWS: deny entries on the role, 3": picture,
		doc + "AWS: deny entries on the role, 4": picture,
		doc + "Room, and whose it is, 1":         picture,

		doc + "What the broker may do upstream, against what it needs, 1": configCheckLive,
		doc + "AWS: deny entries on the role, 2":                          picture,

		doc + "`valetkey revoke ID --cause TEXT`":                 p.ending(nil, ""),
		doc + "`valetkey revoke --agent SPIFFE_ID --cause TEXT`":  p.ending(map[string]string{"SPIFFE_ID": devAgent}, ""),
		doc + "`valetkey revoke --path PREFIX --cause TEXT`":      p.ending(map[string]string{"PREFIX": "spiffe://example.org/agent/alice"}, ""),
		doc + "`valetkey revoke --owner NAME --cause TEXT`":       p.ending(map[string]string{"NAME": "alice"}, ""),
		doc + "`valetkey freeze PREFIX --cause TEXT`":             p.ending(map[string]string{"PREFIX": "spiffe://example.org/agent"}, thaw("spiffe://example.org/agent")),
		doc + "`valetkey freeze PREFIX --keep-live --cause TEXT`": p.keeping,
		doc + "`valetkey unfreeze PREFIX --cause TEXT`":           p.thawing,
	}
}

// holding is a grant that the dev folder's agent has minted from, and what its credential can list.
func (p *docs) holding(t *testing.T) (grant string, list func() error) {
	t.Helper()
	out := p.shell(t, p.agent(), `valetkey request s3-prefix-read bucket=logs prefix=2026/ --task "$(valetkey task open -e staging doc)" -o json`)
	if grant = grantID.FindString(out.stdout); grant == "" {
		t.Fatalf("nothing was granted: %s%s", out.stdout, out.stderr)
	}
	var c struct{ AccessKeyID, SecretAccessKey, SessionToken string }
	must(t, json.Unmarshal([]byte(p.shell(t, p.agent(), "valetkey mint "+grant+" --format credential-process").stdout), &c))
	client := s3Client(p.minio.Endpoint, c.AccessKeyID, c.SecretAccessKey, c.SessionToken)
	list = func() error {
		_, err := client.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: aws.String("logs"), Prefix: aws.String("2026/")})
		return err
	}
	must(t, list())
	return grant, list
}

// ending runs a command that ends what is live, and after is what undoes the rest of it.
func (p *docs) ending(by map[string]string, after string) reader {
	return func(t *testing.T, text string) {
		grant, list := p.holding(t)
		replace := map[string]string{"TEXT": "incident"}
		for old, now := range by {
			replace[old] = now
		}
		if by == nil {
			replace["ID"] = grant
		}
		if out := p.shell(t, p.person("operator"), replaced(t, text, replace)); !strings.Contains(out.stdout, "revoked") {
			t.Errorf("it prints:\n%s", out.stdout)
		}
		eventually(t, revocationLimit, "MinIO refuses what was revoked", func() bool { return forbidden(list()) })
		if after != "" {
			p.shell(t, p.person("operator"), after)
		}
		if out := p.shell(t, p.person("operator"), "valetkey grants --live"); strings.Contains(out.stdout, grant) {
			t.Errorf("it is live still:\n%s", out.stdout)
		}
	}
}

func (p *docs) keeping(t *testing.T, text string) {
	grant, list := p.holding(t)
	out := p.shell(t, p.person("operator"), replaced(t, text, map[string]string{"PREFIX": "spiffe://example.org/agent", "TEXT": "incident"}))
	if !strings.Contains(out.stdout, "0 grants") {
		t.Errorf("it prints:\n%s", out.stdout)
	}
	must(t, list())
	if out := p.shell(t, p.agent(), "valetkey mint "+grant+" 2>&1 || [ $? -eq 3 ]"); !strings.Contains(out.stdout, "FROZEN") {
		t.Errorf("a minting says:\n%s", out.stdout)
	}
}

func (p *docs) thawing(t *testing.T, text string) {
	out := p.shell(t, p.person("operator"), replaced(t, text, map[string]string{"PREFIX": "spiffe://example.org/agent", "TEXT": "over"}))
	if !strings.Contains(out.stdout, "may ask again") {
		t.Errorf("it prints:\n%s", out.stdout)
	}
	p.holding(t)
}

// configCheckLive asks servers that do not answer: what the broker may do there is not known.
func configCheckLive(t *testing.T, text string) {
	l := newLocal(t)
	words := strings.Fields(replaced(t, text, map[string]string{"/etc/valetkey/valetkeyd.yaml": l.path("valetkeyd.yaml")}))
	out, code := run(t, nil, program(t, words[0]), words[1:]...)
	if code != 3 || !strings.Contains(out.stdout, ": unknown: ") || !strings.Contains(out.stderr, "not all of what the broker may do") {
		t.Errorf("exits %d: %s%s", code, out.stdout, out.stderr)
	}
}
