package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/spiffe/go-spiffe/v2/svid/jwtsvid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"

	"github.com/valetkey/valetkey/broker/brokertest/servers"
)

// enforcer is the S3 that holds production, and refuses.
type enforcer struct {
	name     string
	server   string // as it says in its answers
	endpoint string
	operator aws.Credentials // of the one who may do anything there
}

// openFull starts MinIO and Vault.
func (p *player) openFull(ctx context.Context) (err error) {
	minio := servers.MinIO(p.stage)
	p.by = enforcer{"MinIO", "MinIO", minio.Endpoint, aws.Credentials{AccessKeyID: minio.AccessKey, SecretAccessKey: minio.SecretKey}}
	if p.vault, p.secrets, err = openVault(ctx, p.stage); err != nil {
		return fmt.Errorf("filling Vault: %w", err)
	}
	p.secrets = append(p.secrets, minio.SecretKey)
	return nil
}

// openDev starts the broker with the S3, IAM and STS that it brings, and signs the operator in.
func (p *player) openDev(ctx context.Context) (err error) {
	if p.broker, err = startBroker(ctx, p.stage, enforcer{}, nil); err != nil {
		return err
	}
	raw, err := os.ReadFile(filepath.Join(p.broker.dir, "target.json"))
	if err != nil {
		return err
	}
	var at struct{ S3, STS, Gateway string }
	if err := json.Unmarshal(raw, &at); err != nil {
		return fmt.Errorf("reading where S3 is: %w", err)
	}
	p.by = enforcer{name: "versitygw", server: "VERSITYGW", endpoint: at.S3}
	if p.by.operator, err = p.signIn(ctx, at.STS); err != nil {
		return fmt.Errorf("signing the operator in: %w", err)
	}
	p.say("It is %s, which evaluates and refuses by its own code; the STS in front of it is valetkey's.", at.Gateway)
	p.say("Nobody has a key of it. The operator is spiffe://example.org/operator, and takes its role on by that.")
	return nil
}

// signIn gives the operator's JWT-SVID for the operator's role.
func (p *player) signIn(ctx context.Context, endpoint string) (aws.Credentials, error) {
	token, err := workloadapi.FetchJWTSVID(ctx, jwtsvid.Params{Audience: "sts.amazonaws.com"},
		workloadapi.WithAddr("unix://"+filepath.Join(p.broker.dir, "operator.sock")))
	if err != nil {
		return aws.Credentials{}, err
	}
	out, err := sts.New(sts.Options{Region: "us-east-1", BaseEndpoint: aws.String(endpoint)}).AssumeRoleWithWebIdentity(ctx, &sts.AssumeRoleWithWebIdentityInput{
		RoleArn: aws.String("arn:aws:iam::000000000000:role/operator"), RoleSessionName: aws.String("operator"), WebIdentityToken: aws.String(token.Marshal()),
	})
	if err != nil {
		return aws.Credentials{}, err
	}
	if out.Credentials == nil {
		return aws.Credentials{}, errors.New("STS answers without a session")
	}
	c := aws.Credentials{
		AccessKeyID: aws.ToString(out.Credentials.AccessKeyId), SecretAccessKey: aws.ToString(out.Credentials.SecretAccessKey),
		SessionToken: aws.ToString(out.Credentials.SessionToken),
	}
	p.secrets = append(p.secrets, c.SecretAccessKey, c.SessionToken)
	return c, nil
}
