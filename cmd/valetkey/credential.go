package main

import (
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/valetkey/valetkey/clients/valetkey"
	valetkeyv1 "github.com/valetkey/valetkey/proto/valetkey/v1"
)

// processCredential is what AWS SDKs read from credential_process, version 1.
type processCredential struct {
	Version         int
	AccessKeyID     string `json:"AccessKeyId"`
	SecretAccessKey string
	SessionToken    string
	Expiration      string
}

// onTheWire is a credential and its receipt as the broker sent them, for printing.
// The end is by this machine's clock, which is the one that whoever reads it has.
func onTheWire(c valetkey.Credential) (*valetkeyv1.Credential, *valetkeyv1.Receipt) {
	wire := &valetkeyv1.Credential{ExpiresAt: timestamppb.New(c.ExpiresAt())}
	if s := c.Reveal(); s.AWS != nil {
		wire.Kind = &valetkeyv1.Credential_Aws{Aws: &valetkeyv1.AwsCredential{
			AccessKeyId: s.AWS.AccessKeyID, SecretAccessKey: s.AWS.SecretAccessKey, SessionToken: s.AWS.SessionToken,
			Region: s.AWS.Region, EndpointUrl: s.AWS.Endpoint,
		}}
	} else if s.Vault != nil {
		wire.Kind = &valetkeyv1.Credential_Vault{Vault: &valetkeyv1.VaultCredential{
			Token: s.Vault.Token, Accessor: s.Vault.Accessor, Address: s.Vault.Address, Namespace: s.Vault.Namespace,
			DataJson: string(s.Vault.DataJSON), LeaseId: s.Vault.LeaseID, WrappingToken: s.Vault.WrappingToken,
		}}
	}
	r := c.Receipt()
	return wire, &valetkeyv1.Receipt{Index: r.Index, Record: r.Record, InclusionProof: r.InclusionProof, Checkpoint: string(r.Checkpoint)}
}

// sayUnchecked tells people that nobody has looked at the receipt, if so.
func sayUnchecked(out *output, c valetkey.Credential) {
	if !c.Receipt().Verified {
		out.say("valetkey: the receipt is not checked: only the broker's word says that this credential is on the record.")
	}
}

// printCredential is the one place that writes a secret out. whole is the
// answer that the credential came in, for the json format.
func printCredential(out *output, format string, c *valetkeyv1.Credential, whole proto.Message) error {
	switch format {
	case "json":
		return out.message(whole)
	case "credential-process":
		aws := c.GetAws()
		if aws == nil {
			return &usageError{"credential-process is a format of AWS; use env or json for this provider"}
		}
		return out.value(processCredential{
			Version: 1, AccessKeyID: aws.GetAccessKeyId(), SecretAccessKey: aws.GetSecretAccessKey(),
			SessionToken: aws.GetSessionToken(), Expiration: c.GetExpiresAt().AsTime().UTC().Format(time.RFC3339),
		})
	default:
		for _, kv := range environment(c) {
			if kv[1] == "" {
				continue
			}
			if _, err := fmt.Fprintf(out.stdout, "export %s=%s\n", kv[0], quote(kv[1])); err != nil {
				return fmt.Errorf("printing: %w", err)
			}
		}
		return nil
	}
}

// environment names the variables that the providers' own tools read, and
// VALETKEY_ ones where those tools have none.
func environment(c *valetkeyv1.Credential) [][2]string {
	if aws := c.GetAws(); aws != nil {
		return [][2]string{
			{"AWS_ACCESS_KEY_ID", aws.GetAccessKeyId()},
			{"AWS_SECRET_ACCESS_KEY", aws.GetSecretAccessKey()},
			{"AWS_SESSION_TOKEN", aws.GetSessionToken()},
			{"AWS_REGION", aws.GetRegion()},
			{"AWS_ENDPOINT_URL_S3", aws.GetEndpointUrl()},
			{"AWS_CREDENTIAL_EXPIRATION", c.GetExpiresAt().AsTime().UTC().Format(time.RFC3339)},
		}
	}
	v := c.GetVault()
	return [][2]string{
		{"VAULT_ADDR", v.GetAddress()},
		{"VAULT_TOKEN", v.GetToken()},
		{"VALETKEY_VAULT_DATA", v.GetDataJson()},
		{"VALETKEY_VAULT_WRAPPING_TOKEN", v.GetWrappingToken()},
	}
}

// quote makes one word of a POSIX shell out of any text.
func quote(s string) string {
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
