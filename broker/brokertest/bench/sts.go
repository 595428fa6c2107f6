package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

const (
	roleARN = "arn:aws:iam::000000000000:role/bench"
	region  = "us-east-1"
	life    = 900 * time.Second
)

const identityAnswer = `<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetCallerIdentityResult><Arn>arn:aws:iam::000000000000:user/bench</Arn><UserId>AIDABENCH</UserId><Account>000000000000</Account></GetCallerIdentityResult><ResponseMetadata><RequestId>0</RequestId></ResponseMetadata></GetCallerIdentityResponse>`

const sessionAnswer = `<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult><AssumedRoleUser><Arn>arn:aws:sts::000000000000:assumed-role/bench/%[1]s</Arn><AssumedRoleId>AROABENCH:%[1]s</AssumedRoleId></AssumedRoleUser><Credentials><AccessKeyId>ASIABENCH0000000000</AccessKeyId><SecretAccessKey>bench-secret-of-nothing</SecretAccessKey><SessionToken>bench-token-of-nothing</SessionToken><Expiration>%[2]s</Expiration></Credentials></AssumeRoleResult><ResponseMetadata><RequestId>0</RequestId></ResponseMetadata></AssumeRoleResponse>`

// noLatencySTS answers at once, from a template, and checks nothing.
func noLatencySTS() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := r.ParseForm(); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "text/xml")
		switch r.PostForm.Get("Action") {
		case "GetCallerIdentity":
			_, _ = io.WriteString(w, identityAnswer)
		case "AssumeRole":
			seconds, _ := strconv.Atoi(r.PostForm.Get("DurationSeconds"))
			ends := time.Now().Add(time.Duration(seconds) * time.Second).UTC().Format(time.RFC3339)
			_, _ = fmt.Fprintf(w, sessionAnswer, r.PostForm.Get("RoleSessionName"), ends)
		default:
			http.Error(w, "no such action", http.StatusBadRequest)
		}
	})
}

// shim passes everything on to MinIO but the one action that MinIO lacks and Vault
// insists on. All three ways to MinIO go through it, so that it favours none.
func shim(minio string) (http.Handler, error) {
	target, err := url.Parse(minio)
	if err != nil {
		return nil, err
	}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(p *httputil.ProxyRequest) {
			p.SetURL(target)
			p.Out.Host = p.In.Host // it is signed
		},
		Transport: &http.Transport{MaxIdleConns: maxConns, MaxIdleConnsPerHost: maxConns},
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		if form, err := url.ParseQuery(string(body)); err == nil && form.Get("Action") == "GetCallerIdentity" {
			w.Header().Set("Content-Type", "text/xml")
			_, _ = io.WriteString(w, identityAnswer)
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		proxy.ServeHTTP(w, r)
	}), nil
}

// maxConns is above the callers there are, so that none waits for a connection.
const maxConns = 256

// upstream is one STS for all ways to it.
type upstream struct {
	name, endpoint, key, secret string
	// dialect is the daemon's word for it; policy is what the others send: the same
	// document that the daemon compiles.
	dialect, policy string
}

func serveUpstream(t *bench, u upstream, h http.Handler) upstream {
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	u.endpoint = s.URL
	return u
}

// rawCaller calls AssumeRole with the SDK alone.
func rawCaller(u upstream) func(int) (op, error) {
	client := sts.New(sts.Options{
		Region: region, BaseEndpoint: aws.String(u.endpoint),
		Credentials: aws.NewCredentialsCache(credentials.NewStaticCredentialsProvider(u.key, u.secret, "")),
		HTTPClient:  &http.Client{Transport: &http.Transport{MaxIdleConns: maxConns, MaxIdleConnsPerHost: maxConns}},
	})
	return func(i int) (op, error) {
		in := &sts.AssumeRoleInput{
			RoleArn: aws.String(roleARN), RoleSessionName: aws.String("bench-" + strconv.Itoa(i)),
			DurationSeconds: aws.Int32(int32(life / time.Second)), Policy: aws.String(u.policy),
		}
		return func(ctx context.Context) error {
			out, err := client.AssumeRole(ctx, in)
			if err == nil && out.Credentials == nil {
				err = fmt.Errorf("%s gave no credentials", u.name)
			}
			return err
		}, nil
	}
}
