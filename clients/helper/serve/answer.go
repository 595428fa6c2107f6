package serve

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/valetkey/valetkey/clients/logverify/proof"
	"github.com/valetkey/valetkey/clients/valetkey"
)

// fetchTimeout bounds how long a fetch waits for a first credential. Botocore
// waits 2 seconds and asks again, others longer.
const fetchTimeout = 20 * time.Second

// fetchLook is how long it waits before it sees that people are waited for.
const fetchLook = time.Second

// ErrNoAWS is a scope that gives something else.
var ErrNoAWS = errors.New("this scope gives no AWS credential")

// awsAnswer is a credential as the AWS SDKs read it over HTTP:
// docs.aws.amazon.com/sdkref/latest/guide/feature-container-credentials.html.
type awsAnswer struct {
	AccessKeyID     string `json:"AccessKeyId"`
	SecretAccessKey string
	Token           string
	Expiration      string
}

// processAnswer is a credential as they read it from a process, version 1:
// docs.aws.amazon.com/sdkref/latest/guide/feature-process-credentials.html.
type processAnswer struct {
	Version         int
	AccessKeyID     string `json:"AccessKeyId"`
	SecretAccessKey string
	SessionToken    string
	Expiration      string
}

// held takes a source's credential for a program that asks, from memory where it
// can. It does not wait for people: they take longer than programs do.
func held(ctx context.Context, src Source) (valetkey.Credential, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, fetchTimeout, valetkey.ErrUnavailable)
	defer cancel()
	for {
		if st := src.Status(); st.Pending != nil && st.Renewing && !Lives(st) {
			return valetkey.Credential{}, st.Err
		}
		look, stop := context.WithTimeout(ctx, fetchLook)
		cred, err := src.Credential(look)
		more := look.Err() != nil
		stop()
		switch {
		case err == nil || !more:
			return cred, err
		case ctx.Err() != nil:
			return cred, fmt.Errorf("waiting for a credential: %w", context.Cause(ctx))
		}
	}
}

// Lives says whether a source holds a credential that works.
func Lives(st valetkey.Status) bool {
	return st.CredentialID != "" && time.Now().Before(st.ExpiresAt)
}

// awsOf takes the AWS session of a source.
func awsOf(ctx context.Context, src Source) (*valetkey.AWSSecret, time.Time, error) {
	cred, err := held(ctx, src)
	if err != nil {
		return nil, time.Time{}, err
	}
	s := cred.Reveal().AWS
	if s == nil {
		return nil, time.Time{}, ErrNoAWS
	}
	return s, cred.ExpiresAt(), nil
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// refuse answers with what kept the source from giving a credential.
func refuse(w http.ResponseWriter, err error) {
	code, text := refusalStatus(err)
	var refused *valetkey.Error
	switch {
	case errors.As(err, &refused) && refused.RetryAfter > 0:
		w.Header().Set("Retry-After", strconv.Itoa(int(refused.RetryAfter/time.Second)+1))
	case code == http.StatusServiceUnavailable:
		w.Header().Set("Retry-After", "1")
	}
	AnswerError(w, code, text)
}

// refusalStatus picks what SDKs react to: they ask again after 5xx and 429, and
// show the text of anything else.
func refusalStatus(err error) (int, string) {
	switch {
	case errors.Is(err, ErrNoAWS), errors.Is(err, ErrNoVault), errors.Is(err, ErrNoServiceAccount):
		return http.StatusNotFound, err.Error()
	case Over(err):
		return http.StatusForbidden, "the task is over, and what it had with it: open a new one"
	case errors.Is(err, valetkey.ErrNeedsApproval):
		return http.StatusForbidden, fmt.Sprintf("%v; come again once they have", err)
	case errors.Is(err, valetkey.ErrRateLimited):
		return http.StatusTooManyRequests, err.Error()
	case valetkey.Passing(err):
		return http.StatusServiceUnavailable, err.Error()
	case errors.Is(err, proof.ErrVerification), errors.Is(err, valetkey.ErrNotAsked), errors.Is(err, valetkey.ErrControlCharacter):
		// The broker is there, and gives what is not to be taken. To ask again would mint again.
		return http.StatusForbidden, err.Error()
	}
	if _, no := valetkey.RefusalOf(err); no {
		return http.StatusForbidden, err.Error()
	}
	return http.StatusServiceUnavailable, fmt.Sprintf("%v; see that the broker runs and is where VALETKEY_ADDR says", err)
}
