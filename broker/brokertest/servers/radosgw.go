package servers

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// RadosGWServer is a running Ceph RADOS Gateway over one memory store: S3, STS and IAM with
// real roles, whose inline policies it judges at every request.
type RadosGWServer struct {
	Endpoint  string // http://127.0.0.1:port, for S3, STS and IAM alike
	UserARN   string // the user below, who may do everything with roles
	AccessKey string
	SecretKey string
}

// cephConfig is a cluster of one monitor and one memory store, without authentication: it
// listens on loopback. A Unix socket would not fit a test's folder, so there is none.
const cephConfig = `[global]
fsid = %[1]s
mon host = v1:127.0.0.1:%[2]d
mon initial members = a
mon data = %[3]s/mon
osd data = %[3]s/osd
public network = 127.0.0.0/8
auth cluster required = none
auth service required = none
auth client required = none
admin socket =
pid file =
log to file = false
log to stderr = true
mon cluster log to file = false
mon data avail crit = 1
mon allow pool size one = true
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 1
osd pool default pgp num = 1
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
osd class update on start = false
osd crush update on start = false
osd objectstore = memstore
osd class load list = *
osd class default list = *
rgw s3 auth use sts = true
rgw sts key = %[4]s
rgw enable apis = s3, sts, iam
rgw data = %[3]s/rgw
`

// RadosGW starts a gateway, its monitor and its store, which live until t's clean-up.
func RadosGW(t TB) RadosGWServer {
	t.Helper()
	c := ceph{dir: t.TempDir()}
	s := RadosGWServer{UserARN: "arn:aws:iam:::user/valetkey", AccessKey: "valetkey-test-root", SecretKey: randomSecret(t)}
	launch(t, "ceph-mon", c.dir, 1, func(ports []int) launchPlan {
		if err := c.makeMonitor(t, ports[0]); err != nil {
			t.Fatalf("starting ceph-mon: %v", err)
		}
		return launchPlan{args: c.args("-f", "-i", "a"), ready: func(ctx context.Context) error {
			_, err := c.run(ctx, "ceph", "fsid")
			return err
		}}
	})
	ctx, cancel := context.WithTimeout(context.Background(), startLimit)
	defer cancel()
	for _, step := range [][]string{
		{"ceph", "osd", "new", c.store},
		{"ceph", "osd", "crush", "add", "osd.0", "1.0", "host=local", "root=default"},
		{"ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", c.store},
	} {
		if _, err := c.run(ctx, step[0], step[1:]...); err != nil {
			t.Fatalf("starting ceph-osd: %v", err)
		}
	}
	launch(t, "ceph-osd", c.dir, 0, func([]int) launchPlan {
		return launchPlan{once: true, args: c.args("-f", "-i", "0"), ready: func(ctx context.Context) error {
			said, err := c.run(ctx, "ceph", "osd", "stat")
			if err == nil && !strings.Contains(said, "1 up") {
				err = fmt.Errorf("store is not up: %s", said)
			}
			return err
		}}
	})
	if _, err := c.run(ctx, "radosgw-admin", "user", "create", "--uid=valetkey", "--display-name=valetkey",
		"--access-key="+s.AccessKey, "--secret-key="+s.SecretKey, "--caps=roles=*"); err != nil {
		t.Fatalf("starting radosgw: %v", err)
	}
	ports := launch(t, "radosgw", c.dir, 1, func(ports []int) launchPlan {
		endpoint := loopback(ports[0])
		return launchPlan{
			args:  c.args("-f", "--rgw-frontends", "beast endpoint="+endpoint),
			ready: func(ctx context.Context) error { return httpReady(ctx, http.DefaultClient, "http://"+endpoint) },
		}
	})
	s.Endpoint = "http://" + loopback(ports[0])
	return s
}

// ceph runs commands against one cluster.
type ceph struct {
	dir   string
	store string // the store's UUID
}

func (c *ceph) args(more ...string) []string {
	return append([]string{"-c", filepath.Join(c.dir, "ceph.conf")}, more...)
}

func (c *ceph) makeMonitor(t TB, port int) error {
	t.Helper()
	secret := randomSecret(t)
	uuid := func(last string) string {
		return fmt.Sprintf("%s-%s-4%s-8%s-%s%s", secret[:8], secret[8:12], secret[12:15], secret[15:18], secret[18:29], last)
	}
	cluster := uuid("0")
	c.store = uuid("1")
	for _, name := range []string{"mon", "osd", "rgw"} {
		path := filepath.Join(c.dir, name)
		if err := os.RemoveAll(path); err != nil { // an earlier try's, on a port that was taken
			return err
		}
		if err := os.Mkdir(path, 0o700); err != nil {
			return err
		}
	}
	config := fmt.Sprintf(cephConfig, cluster, port, c.dir, randomSecret(t)[:16])
	if err := os.WriteFile(filepath.Join(c.dir, "ceph.conf"), []byte(config), 0o600); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), startLimit)
	defer cancel()
	monmap := filepath.Join(c.dir, "monmap")
	if _, err := c.run(ctx, "monmaptool", "--create", "--clobber", "--fsid", cluster,
		"--addv", "a", fmt.Sprintf("[v1:127.0.0.1:%d]", port), monmap); err != nil {
		return err
	}
	_, err := c.run(ctx, "ceph-mon", "--mkfs", "-i", "a", "--monmap", monmap)
	return err
}

// notYet is what a monitor that has just begun says now and then.
const notYet = "problem getting command descriptions"

// run is once, again where the monitor is not ready after all.
func (c *ceph) run(ctx context.Context, name string, args ...string) (string, error) {
	for {
		out, err := c.once(ctx, name, args...)
		if err == nil || !strings.Contains(err.Error(), notYet) {
			return out, err
		}
		select {
		case <-ctx.Done():
			return "", err
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// once gives what a command printed. Its arguments can hold a secret, and are in no error.
func (c *ceph) once(ctx context.Context, name string, args ...string) (string, error) {
	binary, err := Binary(name)
	if err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, binary, c.args(args...)...)
	cmd.Dir = c.dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + c.dir}
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Run(); err != nil {
		text := said.String()
		return "", fmt.Errorf("running %s: %w\n%s", name, err, text[max(0, len(text)-2<<10):])
	}
	return out.String(), nil
}
