package servers

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

// MinIOServer is a running MinIO with one empty disk.
type MinIOServer struct {
	Endpoint  string // http://127.0.0.1:port, S3 and STS alike
	AccessKey string // of the root user
	SecretKey string
}

// MinIO starts a MinIO that lives until t's clean-up. env adds settings such as
// "MINIO_IDENTITY_OPENID_CONFIG_URL=...".
func MinIO(t TB, env ...string) MinIOServer {
	t.Helper()
	dir := t.TempDir()
	s := MinIOServer{AccessKey: "valetkey-test-root", SecretKey: randomSecret(t)}
	ports := launch(t, "minio", dir, 2, func(ports []int) launchPlan {
		return launchPlan{
			env: append([]string{
				"MINIO_ROOT_USER=" + s.AccessKey,
				"MINIO_ROOT_PASSWORD=" + s.SecretKey,
				"MINIO_BROWSER=off",
				"MINIO_UPDATE=off",
			}, env...),
			args: []string{
				"server", "--quiet", "--address", loopback(ports[0]), "--console-address", loopback(ports[1]),
				"--certs-dir", filepath.Join(dir, "certs"), filepath.Join(dir, "data"),
			},
			ready: func(ctx context.Context) error {
				return minioReady(ctx, "http://"+loopback(ports[0]), s)
			},
		}
	})
	s.Endpoint = "http://" + loopback(ports[0])
	return s
}

// minioReady asks for a session, which is what works last: MinIO's health pages
// say yes while S3 still answers 503, and S3 answers before STS does.
func minioReady(ctx context.Context, endpoint string, s MinIOServer) error {
	client := sts.New(sts.Options{
		Region:           "us-east-1",
		BaseEndpoint:     aws.String(endpoint),
		Credentials:      credentials.NewStaticCredentialsProvider(s.AccessKey, s.SecretKey, ""),
		RetryMaxAttempts: 1,
	})
	_, err := client.AssumeRole(ctx, &sts.AssumeRoleInput{
		RoleArn:         aws.String("arn:aws:iam::000000000000:role/ready"),
		RoleSessionName: aws.String("ready"),
	})
	if err != nil {
		return fmt.Errorf("asking %s for a session: %w", endpoint, err)
	}
	return nil
}

func httpReady(ctx context.Context, client *http.Client, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return fmt.Errorf("asking %s: %w", url, err)
	}
	resp, err := client.Do(req)
	if err != nil {
		return err // it names the URL
	}
	if err := resp.Body.Close(); err != nil {
		return fmt.Errorf("asking %s: %w", url, err)
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("asking %s: status %s", url, resp.Status)
	}
	return nil
}
