package serve

import (
	"context"
	"encoding/base64"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/valetkey/valetkey/clients/valetkey"
)

// What an EKS cluster takes for a token, and for how long:
// github.com/kubernetes-sigs/aws-iam-authenticator#api-authorization-from-outside-a-cluster
// and its pkg/token. AWS takes the address for 15 minutes after it was signed,
// whatever X-Amz-Expires says; old clusters want 60 there. "aws eks get-token" has
// its own tokens end a minute sooner, and so has this.
const (
	eksPrefix  = "k8s-aws-v1."
	eksHeader  = "x-k8s-aws-id"
	eksExpires = "60"
	eksLife    = 14 * time.Minute
)

// eksToken is an address of STS's GetCallerIdentity, signed for one cluster. Nobody
// is asked for it.
func eksToken(ctx context.Context, s *valetkey.AWSSecret, cluster, region string) (string, error) {
	// Of no environment or file: neither may lead to another STS.
	client := sts.New(sts.Options{
		Region: region, Credentials: credentials.NewStaticCredentialsProvider(s.AccessKeyID, s.SecretAccessKey, s.SessionToken),
	})
	req, err := sts.NewPresignClient(client).PresignGetCallerIdentity(ctx, &sts.GetCallerIdentityInput{},
		sts.WithPresignClientFromClientOptions(sts.WithAPIOptions(
			// The first is signed as a header; the signer makes the second part of the address.
			smithyhttp.SetHeaderValue(eksHeader, cluster), smithyhttp.SetHeaderValue("X-Amz-Expires", eksExpires),
		)))
	if err != nil {
		return "", fmt.Errorf("signing a token for cluster %s: %w", cluster, err)
	}
	return eksPrefix + base64.RawURLEncoding.EncodeToString([]byte(req.URL)), nil
}
