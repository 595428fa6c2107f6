package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/versity/versitygw/iamapi/iamerr"
	"github.com/versity/versitygw/iamapi/policy"
	"github.com/versity/versitygw/iamapi/storage"
	"github.com/versity/versitygw/iamapi/types"
)

// account is the one that versitygw has.
const account = "000000000000"

// maxSession is each role's: AWS's default.
const maxSession = time.Hour

func roleARN(name string) string { return "arn:aws:iam::" + account + ":role/" + name }

func providerARN(url string) string { return "arn:aws:iam::" + account + ":oidc-provider/" + url }

// setUp makes the provider and the roles, or brings those of an earlier start up to date.
func setUp(ctx context.Context, store storage.Storer, c config) error {
	if err := makeProvider(ctx, store, c); err != nil {
		return fmt.Errorf("making the OIDC provider: %w", err)
	}
	for _, r := range c.Roles {
		if err := makeRole(ctx, store, c, r); err != nil {
			return fmt.Errorf("making role %q: %w", r.Name, err)
		}
	}
	return nil
}

func makeProvider(ctx context.Context, store storage.Storer, c config) error {
	arn := providerARN(c.provider())
	// Made anew, so that no audience of an earlier start is left.
	if err := store.DeleteOIDCProvider(ctx, arn); err != nil && !absent(err) {
		return err
	}
	_, err := store.CreateOIDCProvider(ctx, types.OIDCProvider{
		Arn: arn, Url: c.provider(), ClientIDList: []string{c.Audience}, CreateDate: time.Now().UTC().Truncate(time.Second),
	})
	return err
}

func makeRole(ctx context.Context, store storage.Storer, c config, r roleConfig) error {
	trust, err := trustPolicy(c, r)
	if err != nil {
		return err
	}
	if _, err := store.GetRole(ctx, r.Name); absent(err) {
		// 20 characters, as AWS's ids of roles have.
		_, err = store.CreateRole(ctx, types.Role{
			Path: "/", RoleName: r.Name, RoleID: "AROA" + rand.Text()[:17], Arn: roleARN(r.Name), AssumeRolePolicyDocument: trust,
			CreateDate: time.Now().UTC().Truncate(time.Second), MaxSessionDuration: int32(maxSession / time.Second),
		})
		if err != nil {
			return err
		}
	} else if err != nil {
		return err
	} else if _, err := store.UpdateAssumeRolePolicy(ctx, storage.UpdateAssumeRolePolicyInput{RoleName: r.Name, PolicyDocument: trust}); err != nil {
		return err
	}
	for name, doc := range r.Policies {
		if err := policy.Parse(string(doc)); err != nil {
			return fmt.Errorf("policy %q: %w", name, err)
		}
		if err := store.PutRolePolicy(ctx, storage.PutRolePolicyInput{RoleName: r.Name, PolicyName: name, PolicyDocument: string(doc)}); err != nil {
			return fmt.Errorf("policy %q: %w", name, err)
		}
	}
	return nil
}

// trustPolicy lets the subjects take a role on, with a token for the audience.
func trustPolicy(c config, r roleConfig) (string, error) {
	doc, err := json.Marshal(map[string]any{
		"Version": "2012-10-17",
		"Statement": []any{map[string]any{
			"Effect":    "Allow",
			"Principal": map[string]any{"Federated": providerARN(c.provider())},
			"Action":    policy.AssumeRoleWithWebIdentityAction,
			"Condition": map[string]any{"StringEquals": map[string]any{
				c.provider() + ":aud": c.Audience, c.provider() + ":sub": r.Subjects,
			}},
		}},
	})
	if err != nil {
		return "", err
	}
	return string(doc), policy.ParseTrust(string(doc))
}

// absent is true for IAM's word that there is no such thing.
func absent(err error) bool {
	var e iamerr.Error
	return errors.As(err, &e) && e.Code == "NoSuchEntity"
}
