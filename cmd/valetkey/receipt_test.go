package main

import (
	"context"
	"crypto/rand"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/valetkey/valetkey/broker/brokertest"
	"github.com/valetkey/valetkey/broker/guard"
	valetkeyv1 "github.com/valetkey/valetkey/proto/valetkey/v1"
)

// meddler is a connection to a broker on which somebody changes what comes back.
type meddler struct {
	grpc.ClientConnInterface

	change func(answer proto.Message) // nil for nobody
	last   proto.Message              // as it was passed on
}

func (m *meddler) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	err := m.ClientConnInterface.Invoke(ctx, method, args, reply, opts...)
	answer, ok := reply.(proto.Message)
	if err == nil && ok && m.change != nil {
		m.change(answer)
	}
	m.last = answer
	return err
}

// TestReceipts has the commands that print a credential ask a real broker, with and
// without somebody in between: what is not proven to be on the record is not printed.
func TestReceipts(t *testing.T) {
	t.Setenv("VALETKEY_LEDGER_KEY", "")
	h := brokertest.NewRunning(t, brokertest.Config{Guard: guard.Config{RatePerMinute: 600_000, Burst: 10_000}})
	between := &meddler{ClientConnInterface: h.Dial(brokertest.Agent)}
	ask := asWho(t, between)
	call := func(args ...string) (int, string, string) {
		t.Helper()
		code, out, text := ask(args...)
		for _, s := range h.Minter.Secrets() {
			if strings.Contains(text, s) {
				t.Errorf("valetkey %s tells the secret on standard error", args[0])
			}
		}
		return code, out, text
	}
	_, out, _ := call("task", "open", "a test", "-e", "staging")
	task := strings.TrimSpace(out)
	wish := []string{"request", "s3-prefix-read", "bucket=prod", "prefix=reports/", "--task", task}
	code, out, text := call(wish...)
	grant := regexp.MustCompile(`grant_[a-z0-9]{26}`).FindString(out)
	if code != exitOK || grant == "" {
		t.Fatalf("a request that mints nothing needs no key: exit %d, %s", code, text)
	}
	commands := map[string][]string{"request": append(wish, "--mint"), "mint": {"mint", grant}}
	for name, args := range commands {
		if code, out, text := call(args...); code != exitUsage || out != "" || !strings.Contains(text, "no ledger key: give --ledger-key") {
			t.Errorf("%s without a key: exit %d, %d bytes printed, %q", name, code, len(out), text)
		}
	}
	if n := len(h.Minter.Secrets()); n != 0 {
		t.Errorf("%d were minted for commands that could not check", n)
	}
	t.Setenv("VALETKEY_LEDGER_KEY", h.Key.VerifierKey())
	for name, args := range commands {
		t.Run(name, func(t *testing.T) { proven(t, h, between, call, args) })
	}
}

func proven(t *testing.T, h *brokertest.Harness, between *meddler, call func(...string) (int, string, string), args []string) {
	t.Helper()
	defer func() { between.change = nil }()
	code, out, text := call(args...)
	if code != exitOK || !strings.Contains(out, h.Minter.Secrets()[len(h.Minter.Secrets())-1]) || !strings.Contains(text, "record ") || strings.Contains(text, "not checked") {
		t.Errorf("exit %d, %q", code, text)
	}
	_, out, _ = call(append(args, "-o", "json")...)
	again := between.last.ProtoReflect().New().Interface()
	if err := protojson.Unmarshal([]byte(out), again); err != nil || !proto.Equal(again, between.last) {
		t.Errorf("in JSON it is not what the broker answered (%v)", err)
	}
	for name, change := range map[string]func(*valetkeyv1.Credential, *valetkeyv1.Receipt){
		"no receipt":         func(_ *valetkeyv1.Credential, r *valetkeyv1.Receipt) { proto.Reset(r) },
		"another record":     func(_ *valetkeyv1.Credential, r *valetkeyv1.Receipt) { r.Record = append(r.Record, ' ') },
		"a bit of the proof": func(_ *valetkeyv1.Credential, r *valetkeyv1.Receipt) { r.InclusionProof[0][5] ^= 1 },
		"no checkpoint":      func(_ *valetkeyv1.Credential, r *valetkeyv1.Receipt) { r.Checkpoint = "" },
		"another credential": func(c *valetkeyv1.Credential, _ *valetkeyv1.Receipt) { c.GetAws().AccessKeyId = "AKIAOTHER" },
	} {
		between.change = func(answer proto.Message) {
			if a, ok := answer.(interface {
				GetCredential() *valetkeyv1.Credential
				GetReceipt() *valetkeyv1.Receipt
			}); ok {
				change(a.GetCredential(), a.GetReceipt())
			}
		}
		for _, format := range [][]string{{}, {"-o", "json"}, {"--format", "json"}, {"--format", "credential-process"}} {
			code, out, text := call(append(args, format...)...)
			if code != exitVerification || out != "" || !strings.Contains(text, "the receipt proves nothing") || !strings.Contains(text, "Next: check --ledger-key") {
				t.Errorf("%s, %v: exit %d, %d bytes printed, %q", name, format, code, len(out), text)
			}
		}
		if code, out, text := call(append(args, "--no-receipt-checks")...); code != exitOK || out == "" || !strings.Contains(text, "not checked") {
			t.Errorf("%s, with no wish to know: exit %d, %q", name, code, text)
		}
	}
	between.change = nil
	_, strange, err := note.GenerateKey(rand.Reader, "valetkey.test/log")
	if err != nil {
		t.Fatal(err)
	}
	if code, out, _ := call(append(args, "--ledger-key", strange)...); code != exitVerification || out != "" {
		t.Errorf("another ledger's key: exit %d, %d bytes printed", code, len(out))
	}
}
