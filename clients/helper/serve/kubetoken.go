package serve

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/valetkey/valetkey/clients/helper/files"
	"github.com/valetkey/valetkey/clients/valetkey"
)

// ErrNoServiceAccount is a scope that gives something else, or wraps what it gives.
var ErrNoServiceAccount = errors.New("this scope gives no service_account_token")

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

// Kube answers what an exec plugin prints. The socket that it is served on is
// its lock.
func Kube(src Source, c files.KubeCluster) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		cred, err := held(r.Context(), src)
		if err != nil {
			refuse(w, err)
			return
		}
		status, err := kubeToken(r.Context(), c, cred.Reveal(), cred.ExpiresAt(), time.Now())
		if err != nil {
			refuse(w, err)
			return
		}
		Answer(w, execCredential{APIVersion: files.ExecVersion, Kind: "ExecCredential", Status: status})
	})
}

// kubeToken is what a cluster takes for a credential that ends then. It ends no later.
func kubeToken(ctx context.Context, c files.KubeCluster, s valetkey.Secret, ends, now time.Time) (execStatus, error) {
	token, err := "", error(nil)
	switch {
	case c.EKSCluster == "":
		token, err = ServiceAccountToken(s)
	case s.AWS == nil:
		err = ErrNoAWS
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

// ServiceAccountToken is what Vault's Kubernetes engine calls it:
// developer.hashicorp.com/vault/api-docs/secret/kubernetes#generate-credentials.
func ServiceAccountToken(s valetkey.Secret) (string, error) {
	var data struct {
		Token string `json:"service_account_token"`
	}
	if s.Vault == nil || json.Unmarshal(s.Vault.DataJSON, &data) != nil || data.Token == "" {
		return "", ErrNoServiceAccount
	}
	return data.Token, nil
}

// CheckKube wants a token for the cluster from a credential.
func CheckKube(ctx context.Context, c files.KubeCluster, cred valetkey.Credential) error {
	_, err := kubeToken(ctx, c, cred.Reveal(), cred.ExpiresAt(), time.Now())
	return err
}
