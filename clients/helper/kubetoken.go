package helper

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/valetkey/valetkey/clients/valetkey"
)

// errNoServiceAccount is a scope that gives something else, or wraps what it gives.
var errNoServiceAccount = errors.New("this scope gives no service_account_token")

// execVersion is kubectl's from 1.22 on.
const execVersion = "client.authentication.k8s.io/v1"

// execCredential is a credential as kubectl reads it from a process:
// kubernetes.io/docs/reference/config-api/client-authentication.v1/.
type execCredential struct {
	APIVersion string     `json:"apiVersion"`
	Kind       string     `json:"kind"`
	Status     execStatus `json:"status"`
}

// execStatus is what kubectl keeps until ExpirationTimestamp, or until the cluster
// refuses it.
type execStatus struct {
	ExpirationTimestamp string `json:"expirationTimestamp"`
	Token               string `json:"token"`
}

// kubeHandler answers what an exec plugin prints. The socket that it is served on is
// its lock.
func kubeHandler(src source, c KubeCluster) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		cred, err := held(r.Context(), src)
		if err != nil {
			refuse(w, err)
			return
		}
		status, err := c.token(r.Context(), cred.Reveal(), cred.ExpiresAt(), time.Now())
		if err != nil {
			refuse(w, err)
			return
		}
		answer(w, execCredential{APIVersion: execVersion, Kind: "ExecCredential", Status: status})
	})
}

// token is what the cluster takes for a credential that ends then. It ends no later.
func (c KubeCluster) token(ctx context.Context, s valetkey.Secret, ends, now time.Time) (execStatus, error) {
	token, err := "", error(nil)
	switch {
	case c.EKSCluster == "":
		token, err = serviceAccountToken(s)
	case s.AWS == nil:
		err = errNoAWS
	default:
		token, err = eksToken(ctx, s.AWS, c.EKSCluster, c.Region)
		if last := now.Add(eksLife); ends.After(last) {
			ends = last
		}
	}
	if err != nil {
		return execStatus{}, fmt.Errorf("kubeconfig: %w", err)
	}
	return execStatus{ExpirationTimestamp: stamp(ends), Token: token}, nil
}

// serviceAccountToken is what Vault's Kubernetes engine calls it:
// developer.hashicorp.com/vault/api-docs/secret/kubernetes#generate-credentials.
func serviceAccountToken(s valetkey.Secret) (string, error) {
	var data struct {
		Token string `json:"service_account_token"`
	}
	if s.Vault == nil || json.Unmarshal(s.Vault.DataJSON, &data) != nil || data.Token == "" {
		return "", errNoServiceAccount
	}
	return data.Token, nil
}
