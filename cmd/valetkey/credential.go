package main

import (
	"errors"
	"fmt"
	"os"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/valetkey/valetkey/clients/environ"
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

// formatFlag is how mint, and request --mint, print a credential.
type formatFlag struct {
	Format string `help:"How to print the credential: for a shell to evaluate (env, which is for sh, bash and zsh, or fish, csh, powershell), for a file (dotenv, docker), json, or credential-process. Default: env, and json with -o json." enum:"env,sh,bash,zsh,fish,csh,tcsh,powershell,dotenv,docker,json,credential-process," default:""`
}

// The formats that are no environment.
const (
	formatCredentialJSON = "json"
	formatProcess        = "credential-process"
)

// as is the format that is asked for, by either flag.
func (f formatFlag) as(out *output) (string, error) {
	switch {
	case !out.json() && f.Format == "":
		return string(environ.FormatPOSIX), nil
	case !out.json():
		return f.Format, nil
	case f.Format == "" || f.Format == formatCredentialJSON:
		return formatCredentialJSON, nil
	}
	return "", &usageError{"-o json and --format " + f.Format + " are two formats: say one of them"}
}

// printCredential is the one place that writes a secret out: all of it, or nothing.
// whole is the answer that the credential came in, for the json format.
func printCredential(out *output, format string, c *valetkeyv1.Credential, whole proto.Message) error {
	switch format {
	case formatCredentialJSON:
		return out.message(whole)
	case formatProcess:
		aws := c.GetAws()
		if aws == nil {
			return &usageError{"credential-process is a format of AWS; use env or json for this provider"}
		}
		return out.value(processCredential{
			Version: 1, AccessKeyID: aws.GetAccessKeyId(), SecretAccessKey: aws.GetSecretAccessKey(),
			SessionToken: aws.GetSessionToken(), Expiration: c.GetExpiresAt().AsTime().UTC().Format(time.RFC3339),
		})
	}
	script, err := delivery(c).Environment().Script(environ.Formats[format], os.Environ())
	if errors.Is(err, environ.ErrFormat) || errors.Is(err, environ.ErrNotCleared) {
		return &usageError{err.Error()}
	}
	if err != nil {
		return err
	}
	if _, err := out.stdout.Write(script); err != nil {
		return fmt.Errorf("printing: %w", err)
	}
	return nil
}

// delivery is what a credential gives to who reads it.
func delivery(c *valetkeyv1.Credential) environ.Delivery {
	if aws := c.GetAws(); aws != nil {
		return environ.Delivery{AWS: &environ.AWS{
			AccessKeyID: aws.GetAccessKeyId(), SecretAccessKey: aws.GetSecretAccessKey(), SessionToken: aws.GetSessionToken(),
			Expires: c.GetExpiresAt().AsTime(), Region: aws.GetRegion(), Endpoint: aws.GetEndpointUrl(),
		}}
	}
	v := c.GetVault()
	d := environ.Delivery{
		Vault: &environ.Vault{Address: v.GetAddress(), Token: v.GetToken(), Namespace: v.GetNamespace()}, Also: map[string]string{},
	}
	// No tool looks for these.
	for name, value := range map[string]string{"VALETKEY_VAULT_DATA": v.GetDataJson(), "VALETKEY_VAULT_WRAPPING_TOKEN": v.GetWrappingToken()} {
		if value != "" {
			d.Also[name] = value
		}
	}
	return d
}
