package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/versity/versitygw/backend/meta"
	"github.com/versity/versitygw/backend/posix"
	"github.com/versity/versitygw/embedgw"
	"github.com/versity/versitygw/iamapi"
	"github.com/versity/versitygw/iamapi/private"
	"github.com/versity/versitygw/iamapi/storage"
)

const (
	region = "us-east-1"
	// rootName is stable, since buckets keep who made them; its secret is not.
	rootName = "valetkey-target-root"

	startLimit = 30 * time.Second
	pollEvery  = 10 * time.Millisecond
	stopLimit  = 2 * time.Second
	// socketLimit is what Linux takes as the path of a Unix socket.
	socketLimit = 107
)

// addresses are what the target answers with.
type addresses struct {
	S3      string `json:"s3"`
	STS     string `json:"sts"`
	IAM     string `json:"iam"`
	Gateway string `json:"gateway"`
}

// target is all that runs.
type target struct {
	at     addresses
	failed chan error
	stops  []func() error
}

// open starts the store, IAM, S3 and the STS front, and waits until each answers.
func open(ctx context.Context, c config) (*target, error) {
	t := &target{failed: make(chan error, 4)}
	if err := t.open(ctx, c); err != nil {
		return nil, errors.Join(err, t.close())
	}
	return t, nil
}

func (t *target) open(ctx context.Context, c config) error {
	for _, name := range []string{"", "iam", "data", "meta", "versions"} {
		if err := os.MkdirAll(filepath.Join(c.Dir, name), 0o700); err != nil {
			return err
		}
	}
	unlock, err := lock(ctx, filepath.Join(c.Dir, "lock"))
	if err != nil {
		return err
	}
	t.stops = append(t.stops, unlock)
	store, err := storage.New(storage.Config{Dir: filepath.Join(c.Dir, "iam")})
	if err != nil {
		return fmt.Errorf("opening the IAM store: %w", err)
	}
	if err := setUp(ctx, store, c); err != nil {
		return err
	}
	if c.S3, c.IAM, err = chosen(c.S3, c.IAM); err != nil {
		return err
	}
	root := iamapi.RootCredentials{Access: rootName, Secret: secret(30)}
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	if err := t.iam(ctx, store, root, c.IAM); err != nil {
		return fmt.Errorf("starting IAM: %w", err)
	}
	if err := t.s3(ctx, c, store, root); err != nil {
		return fmt.Errorf("starting S3: %w", err)
	}
	if err := t.sts(c, store); err != nil {
		return fmt.Errorf("starting STS: %w", err)
	}
	t.at.Gateway = gateway()
	return nil
}

// iam serves IAM's own API, where the one thing to sign with is a session.
func (t *target) iam(ctx context.Context, store storage.Storer, root iamapi.RootCredentials, at string) error {
	up := make(chan struct{})
	api, err := iamapi.New(store, root, iamapi.WithQuiet(), iamapi.WithOIDCThumbprintAutoFetchDisabled(), iamapi.WithOnListen(func() { close(up) }))
	if err != nil {
		return err
	}
	t.stops = append(t.stops, api.Shutdown)
	go func() { t.failed <- ended("IAM", api.ServeMultiPort([]string{at})) }()
	t.at.IAM = "http://" + at
	select {
	case <-up:
		return nil
	case err := <-t.failed:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// s3 serves S3, which asks IAM about each call on a socket of its own, and puts the first buckets there.
func (t *target) s3(ctx context.Context, c config, store storage.Storer, root iamapi.RootCredentials) error {
	socket := filepath.Join(c.Dir, "iam.sock")
	if len(socket) > socketLimit {
		return fmt.Errorf("%s is too long a path for a socket", socket)
	}
	api, err := private.New(store, root, private.WithPrivateQuiet(), private.WithPrivateSocketPerm(0o600))
	if err != nil {
		return err
	}
	if err := os.Remove(socket); err != nil && !errors.Is(err, os.ErrNotExist) { // the lock is ours: it is a dead one's
		return err
	}
	t.stops = append(t.stops, api.Shutdown)
	go func() { t.failed <- ended("IAM for S3", serve(api.ServeMultiPort, []string{socket})) }()
	err = t.until(ctx, func() error { _, err := os.Stat(socket); return err })
	if err != nil {
		return err
	}
	sidecar, err := meta.NewSideCar(filepath.Join(c.Dir, "meta"))
	if err != nil {
		return err
	}
	backend, err := posix.New(filepath.Join(c.Dir, "data"), sidecar, posix.PosixOpts{
		SideCarDir: filepath.Join(c.Dir, "meta"), VersioningDir: filepath.Join(c.Dir, "versions"),
	})
	if err != nil {
		return err
	}
	running, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	t.stops = append(t.stops, func() error { stop(); <-done; return nil })
	go func() {
		defer close(done)
		t.failed <- ended("S3", embedgw.RunVersityGW(running, backend, &embedgw.Config{
			RootUserAccess: root.Access, RootUserSecret: root.Secret, Region: region, Ports: []string{c.S3}, Quiet: true,
			MaxConnections: 1024, MaxRequests: 512, MultipartMaxParts: 10_000, StandaloneIAMEndpoint: socket,
		}))
	}()
	t.at.S3 = "http://" + c.S3
	client := s3.New(s3.Options{
		Region: region, BaseEndpoint: aws.String(t.at.S3), UsePathStyle: true, RetryMaxAttempts: 1,
		Credentials: credentials.NewStaticCredentialsProvider(root.Access, root.Secret, ""),
	})
	var have *s3.ListBucketsOutput
	// Signed, so that it is this one's own S3 that answers.
	if err := t.until(ctx, func() (err error) { have, err = client.ListBuckets(ctx, &s3.ListBucketsInput{}); return err }); err != nil {
		return err
	}
	return fill(ctx, client, have, c.Buckets)
}

// fill makes the buckets that are not there yet.
func fill(ctx context.Context, client *s3.Client, have *s3.ListBucketsOutput, buckets map[string]map[string]string) error {
	for _, b := range have.Buckets {
		delete(buckets, aws.ToString(b.Name))
	}
	for name, objects := range buckets {
		if _, err := client.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: aws.String(name)}); err != nil {
			return fmt.Errorf("making bucket %q: %w", name, err)
		}
		for key, text := range objects {
			if _, err := client.PutObject(ctx, &s3.PutObjectInput{Bucket: aws.String(name), Key: aws.String(key), Body: strings.NewReader(text)}); err != nil {
				return fmt.Errorf("writing %s to bucket %q: %w", key, name, err)
			}
		}
	}
	return nil
}

func (t *target) sts(c config, store storage.Storer) error {
	l, err := net.Listen("tcp", c.STS) //nolint:forbidigo // broker/listen is no part of this module; config.check holds it to loopback
	if err != nil {
		return err
	}
	server := &http.Server{
		Handler:           &front{store: store, cfg: c, log: slog.Default(), now: time.Now},
		ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10,
	}
	t.stops = append(t.stops, server.Close)
	go func() { t.failed <- ended("STS", server.Serve(l)) }()
	t.at.STS = "http://" + l.Addr().String()
	return nil
}

// ended is why a server is not there any more.
func ended(name string, err error) error {
	if err == nil {
		err = errors.New("it ended")
	}
	return fmt.Errorf("%s: %w", name, err)
}

// until polls ok, and gives up where a server has ended.
func (t *target) until(ctx context.Context, ok func() error) error {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		last := ok()
		if last == nil {
			return nil
		}
		select {
		case err := <-t.failed:
			return err
		case <-ctx.Done():
			return errors.Join(ctx.Err(), last)
		case <-tick.C:
		}
	}
}

// wait is over when a server has ended, or ctx has.
func (t *target) wait(ctx context.Context) error {
	select {
	case err := <-t.failed:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// close ends what runs, the last first, and gives up on what does not end.
func (t *target) close() error {
	done := make(chan error, 1)
	go func() {
		var err error
		for i := len(t.stops) - 1; i >= 0; i-- {
			err = errors.Join(err, t.stops[i]())
		}
		done <- err
	}()
	select {
	case err := <-done:
		return err
	case <-time.After(stopLimit):
		return errors.New("it did not end in time")
	}
}

// serve calls a function whose second argument is of a type that only its module can name, with the zero value: a Unix
// socket needs no TLS.
func serve[T any](listen func([]string, T) error, at []string) error {
	var none T
	return listen(at, none)
}

// chosen are the addresses with a port each, for servers that do not tell which one they took. All are held until all are
// chosen, so that they differ.
func chosen(s3, iam string) (string, string, error) {
	first, err := net.Listen("tcp", s3) //nolint:forbidigo // closed below: it serves nobody
	if err != nil {
		return "", "", fmt.Errorf("S3: %w", err)
	}
	second, err := net.Listen("tcp", iam) //nolint:forbidigo // closed below: it serves nobody
	if err != nil {
		return "", "", errors.Join(fmt.Errorf("IAM: %w", err), first.Close())
	}
	return first.Addr().String(), second.Addr().String(), errors.Join(first.Close(), second.Close())
}
