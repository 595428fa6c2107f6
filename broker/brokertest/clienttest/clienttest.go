// Package clienttest is a whole broker and a client of it, for the tests of what is built on
// the client. It decides nothing, and is in no program.
package clienttest

import (
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/valetkey/valetkey/broker/brokertest"
	"github.com/valetkey/valetkey/broker/evidence"
	limits "github.com/valetkey/valetkey/broker/guard"
	"github.com/valetkey/valetkey/broker/mint"
	"github.com/valetkey/valetkey/clients/valetkey"
)

// Task is what tests open.
var Task = valetkey.TaskSpec{Purpose: "a test", Environment: "staging"}

// Kit is a whole broker, a client of it, and how often it has minted.
type Kit struct {
	H      *brokertest.Harness
	Client *valetkey.Client
	Minted atomic.Int64
}

// New makes a broker that limits nobody, and its client.
func New(t *testing.T) *Kit {
	t.Helper()
	k := &Kit{H: brokertest.NewRunning(t, brokertest.Config{Guard: Unlimited})}
	k.H.Minter.AfterMint = func(mint.Order) error {
		k.Minted.Add(1)
		return nil
	}
	k.Client = k.Dial(t)
	return k
}

// Unlimited limits nobody.
var Unlimited = limits.Config{RatePerMinute: 1e6, Burst: 1e5}

// Dial makes a client of the kit's broker. opts come after.
func (k *Kit) Dial(t *testing.T, opts ...valetkey.Option) *valetkey.Client {
	t.Helper()
	c, err := valetkey.New(t.Context(), append([]valetkey.Option{
		valetkey.WithAddr(k.H.Addr()), valetkey.WithLedgerKey(k.H.Key.VerifierKey()), valetkey.WithRetryFor(2 * time.Second),
		valetkey.WithIdentity(k.H.Authority.Source(spiffeid.RequireFromString(brokertest.Agent))),
		valetkey.WithBrokerID(spiffeid.RequireFromString("spiffe://example.org/valetkeyd")), valetkey.WithLogger(slog.New(slog.DiscardHandler)),
	}, opts...)...)
	Must(t, err)
	t.Cleanup(func() { _ = c.Close() }) // some tests end the broker first
	return c
}

// People are the two of group sre who have to approve a rebuild.
type People [2]brokertest.Person

// NewWithPeople is New with them, and with a client whose clock is now.
func NewWithPeople(t *testing.T, now func() time.Time) (*Kit, People) {
	t.Helper()
	k, p := New(t), People{brokertest.NewPerson(t, "bob", "sre"), brokertest.NewPerson(t, "carol", "sre")}
	k.H.SetPeople(p[:]...)
	k.H.Stop()
	k.H.Start()
	k.Client = k.Dial(t, valetkey.WithClock(now))
	return k, p
}

// Approve has both say yes.
func (k *Kit) Approve(t *testing.T, p People, grant string) {
	t.Helper()
	for _, person := range p {
		_, err := k.H.Decide(person, grant, evidence.Approve)
		Must(t, err)
	}
}

// AWSAnswer is what the container credentials endpoint gives.
type AWSAnswer struct {
	AccessKeyID     string `json:"AccessKeyId"`
	SecretAccessKey string
	Token           string
	Expiration      string
}

// Ask asks an address, and wants the answer not to be kept.
func Ask(t testing.TB, method, url string, header ...string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	Must(t, err)
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	Must(t, err)
	defer func() { Must(t, resp.Body.Close()) }()
	body, err := io.ReadAll(resp.Body)
	Must(t, err)
	if strings.Contains(string(body), "SecretAccessKey") && resp.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("%s: the answer may be kept", url)
	}
	return resp.StatusCode, string(body)
}

// Took fails a test where what began then has taken longer than it may.
func Took(t *testing.T, what string, began time.Time, most time.Duration) {
	t.Helper()
	if d := time.Since(began); d > most {
		t.Errorf("%s took %v, and may take %v", what, d, most)
	}
}

// Discard is a log that nobody reads.
func Discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

// Read is the text of a file.
func Read(t *testing.T, path string) string {
	t.Helper()
	raw, err := os.ReadFile(path)
	Must(t, err)
	return string(raw)
}

// WriteFile makes a file in a folder of its own.
func WriteFile(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	Must(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

// Exists says whether something has that name.
func Exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// Other is a user who is not this one.
const Other = 65534

// OfOther makes a folder that another user can change: theirs, where this is root.
func OfOther(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "theirs")
	Must(t, os.Mkdir(dir, 0o700))
	if os.Geteuid() != 0 {
		Must(t, os.Chmod(dir, 0o777))
		return dir
	}
	Must(t, os.Chown(dir, Other, Other))
	return dir
}

// AsRoot says whether what takes root can be tried.
func AsRoot(t *testing.T) bool {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Log("not root: nothing is done for other users here")
	}
	return os.Geteuid() == 0
}

// Must fails a test with an error.
func Must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
