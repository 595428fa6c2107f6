package valetkey_test

import (
	"errors"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/valetkey/valetkey/broker/brokertest"
	"github.com/valetkey/valetkey/clients/valetkey"
	"github.com/valetkey/valetkey/clients/valetkey/database"
	valetkeyv1 "github.com/valetkey/valetkey/proto/valetkey/v1"
)

// TestControlCharacters has a broker name what would be a line of its own in a file.
func TestControlCharacters(t *testing.T) {
	h := start(t)
	between := &meddler{ClientConnInterface: h.Dial(brokertest.Agent)}
	task := open(t, dial(t, h, valetkey.WithConn(between), valetkey.WithoutReceiptChecks()))
	evil := "eu-west-1\ncredential_process = touch /tmp/owned"
	changed := func(change func(*valetkeyv1.Credential)) {
		between.set(func(m *meddler) {
			m.after = func(_ string, reply proto.Message) error {
				if r, ok := reply.(interface {
					GetCredential() *valetkeyv1.Credential
				}); ok && r.GetCredential() != nil {
					change(r.GetCredential())
				}
				return nil
			}
		})
	}
	refused := func(t *testing.T, valid bool, err error) {
		t.Helper()
		if valid || !errors.Is(err, valetkey.ErrControlCharacter) || strings.Contains(err.Error(), "owned") {
			t.Errorf("a credential: %v, error: %v", valid, err)
		}
	}
	aws := func(set func(*valetkeyv1.AwsCredential)) func(*valetkeyv1.Credential) {
		return func(c *valetkeyv1.Credential) { set(c.GetAws()) }
	}
	// The harness mints for AWS alone.
	vault := func(set func(*valetkeyv1.VaultCredential)) func(*valetkeyv1.Credential) {
		return func(c *valetkeyv1.Credential) {
			v := &valetkeyv1.VaultCredential{Token: "t", Accessor: "a", Address: "http://127.0.0.1:1"}
			c.Kind = &valetkeyv1.Credential_Vault{Vault: v}
			set(v)
		}
	}
	team := valetkey.Params{"team": {"web"}}
	for name, c := range map[string]struct {
		scope  string
		params valetkey.Params
		change func(*valetkeyv1.Credential)
	}{
		"region":        {"s3-prefix-read", params, aws(func(a *valetkeyv1.AwsCredential) { a.Region = evil })},
		"endpoint":      {"s3-prefix-read", params, aws(func(a *valetkeyv1.AwsCredential) { a.EndpointUrl = "http://a\r" + evil })},
		"key id":        {"s3-prefix-read", params, aws(func(a *valetkeyv1.AwsCredential) { a.AccessKeyId += "\x00" })},
		"key":           {"s3-prefix-read", params, aws(func(a *valetkeyv1.AwsCredential) { a.SecretAccessKey += "\u2028" })},
		"session token": {"s3-prefix-read", params, aws(func(a *valetkeyv1.AwsCredential) { a.SessionToken += "\x7f" })},
		"address":       {"vault-kv-read", team, vault(func(v *valetkeyv1.VaultCredential) { v.Address = "http://a\n" + evil })},
		"namespace":     {"vault-kv-read", team, vault(func(v *valetkeyv1.VaultCredential) { v.Namespace = "a\u0085" + evil })},
		"token":         {"vault-kv-read", team, vault(func(v *valetkeyv1.VaultCredential) { v.Token += "\n" })},
		"accessor":      {"vault-kv-read", team, vault(func(v *valetkeyv1.VaultCredential) { v.Accessor += "\x1b[2J" })},
	} {
		t.Run(name, func(t *testing.T) {
			changed(c.change)
			g, cred, err := task.RequestCredential(t.Context(), c.scope, c.params)
			refused(t, cred.Valid(), err)
			cred, err = g.Mint(t.Context())
			refused(t, cred.Valid(), err)
		})
	}
	for name, data := range map[string]string{
		"username": `{"username": "a\nowned = b", "password": "p"}`, "password": `{"username": "a", "password": "p\n*:*:*:a:owned"}`,
	} {
		t.Run(name, func(t *testing.T) {
			changed(vault(func(v *valetkeyv1.VaultCredential) { v.Token, v.DataJson = "", data }))
			login, err := database.New(task.Source("db-creds", valetkey.Params{"role": {"reader"}})).Login(t.Context())
			refused(t, login.Password() != "", err)
		})
	}
	changed(aws(func(a *valetkeyv1.AwsCredential) { a.Region, a.EndpointUrl = "eu-west-1", "http://[::1]:9000/a b" }))
	_, cred, err := task.RequestCredential(t.Context(), "s3-prefix-read", params)
	must(t, err)
	if cred.Reveal().AWS.Region != "eu-west-1" {
		t.Error("another region")
	}
}
