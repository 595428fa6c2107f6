package serve

import (
	"encoding/base64"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/valetkey/valetkey/clients/helper/files"
	"github.com/valetkey/valetkey/clients/valetkey"
)

var eksSession = valetkey.AWSSecret{AccessKeyID: "ASIAEXAMPLE", SecretAccessKey: "of-a-test", SessionToken: "a+session/token=="}

// TestEKSToken holds a token against the same signer, asked for the same address.
func TestEKSToken(t *testing.T) {
	for name, v := range map[string]string{
		"AWS_ENDPOINT_URL": "http://127.0.0.1:1", "AWS_ENDPOINT_URL_STS": "http://127.0.0.1:1", "AWS_REGION": "us-west-2", "AWS_USE_FIPS_ENDPOINT": "true",
	} {
		t.Setenv(name, v) // none of them may lead elsewhere
	}
	for region, host := range map[string]string{
		"eu-central-1": "sts.eu-central-1.amazonaws.com", "us-east-1": "sts.us-east-1.amazonaws.com", "cn-north-1": "sts.cn-north-1.amazonaws.com.cn",
	} {
		token, err := eksToken(t.Context(), &eksSession, "prod", region)
		must(t, err)
		encoded, ok := strings.CutPrefix(token, "k8s-aws-v1.")
		raw, err := base64.RawURLEncoding.DecodeString(encoded)
		must(t, err)
		u, err := url.Parse(string(raw))
		must(t, err)
		q := u.Query()
		at, err := time.Parse("20060102T150405Z", q.Get("X-Amz-Date"))
		must(t, err)
		if !ok || u.Scheme != "https" || u.Host != host || u.Path != "/" || time.Since(at).Abs() > time.Minute {
			t.Errorf("%s: the token is for %s", region, u.Host)
		}
		for key, want := range map[string]string{
			"Action": "GetCallerIdentity", "Version": "2011-06-15", "X-Amz-Expires": "60", "X-Amz-SignedHeaders": "host;x-k8s-aws-id",
			"X-Amz-Security-Token": eksSession.SessionToken,
			"X-Amz-Credential":     "ASIAEXAMPLE/" + at.Format("20060102") + "/" + region + "/sts/aws4_request",
		} {
			if q.Get(key) != want {
				t.Errorf("%s: %s is %q, want %q", region, key, q.Get(key), want)
			}
		}
		if u.RawQuery != signedAgain(t, u, at, region, "prod").RawQuery {
			t.Errorf("%s: the signature is not of cluster prod", region)
		}
		if q.Get("X-Amz-Signature") == signedAgain(t, u, at, region, "staging").Query().Get("X-Amz-Signature") {
			t.Errorf("%s: the signature is of any cluster", region)
		}
	}
}

// signedAgain signs what a token asks for, for a cluster.
func signedAgain(t *testing.T, u *url.URL, at time.Time, region, cluster string) *url.URL {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+u.Host+"/?Action=GetCallerIdentity&Version=2011-06-15&X-Amz-Expires=60", nil)
	must(t, err)
	req.Header.Set(eksHeader, cluster)
	const empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	signed, _, err := v4.NewSigner().PresignHTTP(t.Context(), aws.Credentials{
		AccessKeyID: eksSession.AccessKeyID, SecretAccessKey: eksSession.SecretAccessKey, SessionToken: eksSession.SessionToken,
	}, req, empty, "sts", region, at)
	must(t, err)
	out, err := url.Parse(signed)
	must(t, err)
	return out
}

// TestKubeTokenEnds is that no token is said to live longer than its credential.
func TestKubeTokenEnds(t *testing.T) {
	now := time.Date(2026, 11, 24, 12, 0, 0, 999, time.UTC)
	eks := files.KubeCluster{EKSCluster: "prod", Region: "eu-central-1"}
	account := valetkey.Secret{Vault: &valetkey.VaultSecret{DataJSON: []byte(`{"service_account_token":"of-vault"}`)}}
	for name, c := range map[string]struct {
		cluster files.KubeCluster
		secret  valetkey.Secret
		life    time.Duration
		want    time.Duration // 0 for an error
		says    string
	}{
		"EKS, a long life":       {eks, valetkey.Secret{AWS: &eksSession}, time.Hour, 14 * time.Minute, ""},
		"EKS, a short one":       {eks, valetkey.Secret{AWS: &eksSession}, 5 * time.Minute, 5 * time.Minute, ""},
		"EKS, one of seconds":    {eks, valetkey.Secret{AWS: &eksSession}, 9700 * time.Millisecond, 9 * time.Second, ""},
		"a service account":      {files.KubeCluster{}, account, time.Hour, time.Hour, ""},
		"EKS, but of Vault":      {eks, account, time.Hour, 0, ErrNoAWS.Error()},
		"an account, but of AWS": {files.KubeCluster{}, valetkey.Secret{AWS: &eksSession}, time.Hour, 0, ErrNoServiceAccount.Error()},
		"a login": {
			files.KubeCluster{}, valetkey.Secret{Vault: &valetkey.VaultSecret{DataJSON: []byte(`{"username":"u"}`)}}, time.Hour, 0, ErrNoServiceAccount.Error(),
		},
		"a wrapped account": {files.KubeCluster{}, valetkey.Secret{Vault: &valetkey.VaultSecret{WrappingToken: "w"}}, time.Hour, 0, ErrNoServiceAccount.Error()},
	} {
		got, err := kubeToken(t.Context(), c.cluster, c.secret, now.Add(c.life), now)
		if c.want == 0 {
			if err == nil || !strings.Contains(err.Error(), c.says) || got != (execStatus{}) {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		must(t, err)
		if want := now.Truncate(time.Second).Add(c.want).Format(time.RFC3339); got.ExpirationTimestamp != want || got.Token == "" {
			t.Errorf("%s: it ends at %s, want %s", name, got.ExpirationTimestamp, want)
		}
	}
}
