package valetkey_test

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/valetkey/valetkey/broker/brokertest"
	"github.com/valetkey/valetkey/clients/logverify"
	"github.com/valetkey/valetkey/clients/valetkey"
	valetkeyv1 "github.com/valetkey/valetkey/proto/valetkey/v1"
)

// TestReceiptThatProvesNothing has somebody between agent and broker change one
// thing of an answer. No credential may come of it.
func TestReceiptThatProvesNothing(t *testing.T) {
	h := start(t)
	between := &meddler{ClientConnInterface: h.Dial(brokertest.Agent)}
	_, strange, err := note.GenerateKey(rand.Reader, "valetkey.test/log")
	must(t, err)
	task := open(t, dial(t, h, valetkey.WithConn(between)))
	var earlier *valetkeyv1.RequestGrantResponse
	between.set(func(m *meddler) {
		m.after = func(_ string, reply proto.Message) error {
			if r, ok := reply.(*valetkeyv1.RequestGrantResponse); ok {
				earlier = proto.Clone(r).(*valetkeyv1.RequestGrantResponse)
			}
			return nil
		}
	})
	_, _, err = task.RequestCredential(t.Context(), "s3-prefix-read", params)
	must(t, err)

	for name, change := range map[string]func(*valetkeyv1.RequestGrantResponse){
		"no receipt":            func(r *valetkeyv1.RequestGrantResponse) { r.Receipt = nil },
		"an empty receipt":      func(r *valetkeyv1.RequestGrantResponse) { r.Receipt = &valetkeyv1.Receipt{} },
		"an earlier receipt":    func(r *valetkeyv1.RequestGrantResponse) { r.Receipt = earlier.Receipt },
		"an earlier answer":     func(r *valetkeyv1.RequestGrantResponse) { proto.Reset(r); proto.Merge(r, earlier) },
		"an earlier credential": func(r *valetkeyv1.RequestGrantResponse) { r.Credential = earlier.Credential },
		"another access key":    func(r *valetkeyv1.RequestGrantResponse) { r.Credential.GetAws().AccessKeyId = "AKIAOTHER" },
		"no access key":         func(r *valetkeyv1.RequestGrantResponse) { r.Credential.GetAws().AccessKeyId = "" },
		"a longer life": func(r *valetkeyv1.RequestGrantResponse) {
			r.Credential.ExpiresAt = timestamppb.New(time.Now().Add(time.Hour))
		},
		"another grant":           func(r *valetkeyv1.RequestGrantResponse) { r.Grant.Id = earlier.Grant.Id },
		"another envelope":        func(r *valetkeyv1.RequestGrantResponse) { r.Grant.EnvelopeDigest = strings.Repeat("0", 64) },
		"another version":         func(r *valetkeyv1.RequestGrantResponse) { r.Grant.ScopeVersion += "0" },
		"another agent":           func(r *valetkeyv1.RequestGrantResponse) { r.Grant.AgentSpiffeId += "0" },
		"a record of its own":     func(r *valetkeyv1.RequestGrantResponse) { r.Receipt.Record = append(r.Receipt.Record, ' ') },
		"another type of record":  func(r *valetkeyv1.RequestGrantResponse) { edit(r, "type", "issuance.failed") },
		"a record without a name": func(r *valetkeyv1.RequestGrantResponse) { edit(r, "issuance_id", "") },
		"another index":           func(r *valetkeyv1.RequestGrantResponse) { r.Receipt.Index-- },
		"an index past the end":   func(r *valetkeyv1.RequestGrantResponse) { r.Receipt.Index += 1000 },
		"a bit of the proof":      func(r *valetkeyv1.RequestGrantResponse) { r.Receipt.InclusionProof[0][5] ^= 1 },
		"a short proof":           func(r *valetkeyv1.RequestGrantResponse) { r.Receipt.InclusionProof = r.Receipt.InclusionProof[1:] },
		"a hash of 31 bytes": func(r *valetkeyv1.RequestGrantResponse) {
			r.Receipt.InclusionProof[0] = r.Receipt.InclusionProof[0][1:]
		},
		"no checkpoint": func(r *valetkeyv1.RequestGrantResponse) { r.Receipt.Checkpoint = "" },
		"an unsigned checkpoint": func(r *valetkeyv1.RequestGrantResponse) {
			r.Receipt.Checkpoint, _, _ = strings.Cut(r.Receipt.Checkpoint, "\n\n")
		},
		"a changed checkpoint": func(r *valetkeyv1.RequestGrantResponse) {
			r.Receipt.Checkpoint = strings.Replace(r.Receipt.Checkpoint, "\n", "\n1", 1)
		},
		"an earlier checkpoint":    func(r *valetkeyv1.RequestGrantResponse) { r.Receipt.Checkpoint = earlier.Receipt.Checkpoint },
		"another log's checkpoint": func(r *valetkeyv1.RequestGrantResponse) { forge(t, r) },
	} {
		t.Run(name, func(t *testing.T) {
			between.set(func(m *meddler) {
				m.after = func(_ string, reply proto.Message) error {
					if r, ok := reply.(*valetkeyv1.RequestGrantResponse); ok {
						change(r)
					}
					return nil
				}
			})
			_, cred, err := task.RequestCredential(t.Context(), "s3-prefix-read", params)
			if !errors.Is(err, logverify.ErrVerification) || cred.Valid() {
				t.Errorf("a credential: %v, error: %v", cred.Valid(), err)
			}
			for _, s := range h.Minter.Secrets() {
				if strings.Contains(fmt.Sprint(err), s) {
					t.Error("the error shows the secret")
				}
			}
		})
	}

	between.set(func(m *meddler) { m.after = nil })
	_, _, err = task.RequestCredential(t.Context(), "s3-prefix-read", params)
	must(t, err)
	other := dial(t, h, valetkey.WithLedgerKey(strange))
	if _, _, err = open(t, other).RequestCredential(t.Context(), "s3-prefix-read", params); !errors.Is(err, valetkey.ErrReceipt) {
		t.Errorf("under another key: %v", err)
	}
	loose := dial(t, h, valetkey.WithoutReceiptChecks(), valetkey.WithConn(between))
	between.set(func(m *meddler) {
		m.after = func(_ string, reply proto.Message) error {
			if r, ok := reply.(*valetkeyv1.RequestGrantResponse); ok {
				r.Receipt.InclusionProof = nil
			}
			return nil
		}
	})
	_, cred, err := open(t, loose).RequestCredential(t.Context(), "s3-prefix-read", params)
	must(t, err)
	if cred.Receipt().Verified {
		t.Error("said to be verified, unlooked at")
	}
}

func edit(r *valetkeyv1.RequestGrantResponse, field, value string) {
	var all map[string]any
	if json.Unmarshal(r.Receipt.Record, &all) != nil {
		return
	}
	all[field] = value
	r.Receipt.Record, _ = json.Marshal(all)
}

// forge makes a log of one record, signed with a key of its own under the log's name.
func forge(t *testing.T, r *valetkeyv1.RequestGrantResponse) {
	t.Helper()
	skey, _, err := note.GenerateKey(rand.Reader, "valetkey.test/log")
	must(t, err)
	signer, err := note.NewSigner(skey)
	must(t, err)
	root := tlog.RecordHash(r.Receipt.Record)
	signed, err := note.Sign(&note.Note{Text: fmt.Sprintf("valetkey.test/log\n1\n%s\n", root)}, signer)
	must(t, err)
	r.Receipt.Index, r.Receipt.InclusionProof, r.Receipt.Checkpoint = 0, nil, string(signed)
}

// TestLostAnswer loses the answer that a credential was in. The call is repeated,
// and what was lost is not delivered twice.
func TestLostAnswer(t *testing.T) {
	h := start(t)
	between := &meddler{ClientConnInterface: h.Dial(brokertest.Agent)}
	task := open(t, dial(t, h, valetkey.WithConn(between)))
	keys := map[string]int{}
	lose := func() {
		left := 1
		between.set(func(m *meddler) {
			m.before = func(_ string, request proto.Message) error {
				if k, ok := request.(interface{ GetIdempotencyKey() string }); ok {
					keys[k.GetIdempotencyKey()]++
				}
				return nil
			}
			m.after = func(method string, _ proto.Message) error {
				if left--; left >= 0 {
					return errLost
				}
				return nil
			}
		})
	}
	lose()
	g, cred, err := task.RequestCredential(t.Context(), "s3-prefix-read", params)
	must(t, err)
	if !cred.Valid() || cred.GrantID() != g.ID() || len(h.Minter.Secrets()) != 2 {
		t.Errorf("%v, and %d minted", cred.Valid(), len(h.Minter.Secrets()))
	}
	lose()
	again, err := g.Mint(t.Context())
	must(t, err)
	if again.ID() == cred.ID() || len(h.Minter.Secrets()) != 4 {
		t.Errorf("%d minted", len(h.Minter.Secrets()))
	}
	repeated := 0
	for _, n := range keys {
		if n == 2 {
			repeated++
		}
	}
	if repeated != 2 || len(keys) != 4 {
		t.Errorf("of %d keys %d came twice", len(keys), repeated)
	}
	lose()
	must(t, g.Release(t.Context()))
	lose()
	must(t, task.Close(t.Context()))
}

// TestShowsNothing prints credentials in every way there is.
func TestShowsNothing(t *testing.T) {
	h := start(t)
	_, cred, err := open(t, dial(t, h)).RequestCredential(t.Context(), "s3-prefix-read", params)
	must(t, err)
	secret := cred.Reveal().AWS.SecretAccessKey
	if secret == "" || secret != h.Minter.Secrets()[0] {
		t.Fatal("Reveal does not tell")
	}
	for _, v := range []any{cred, &cred, cred.Reveal(), *cred.Reveal().AWS, cred.Reveal().AWS, map[string]any{"c": cred}, []valetkey.Credential{cred}, struct{ C valetkey.Credential }{cred}, struct{ c valetkey.Credential }{cred}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			if text := fmt.Sprintf(verb, v); strings.Contains(text, secret) || strings.Contains(text, fmt.Sprintf("%x", secret)) {
				t.Errorf("%s of %T tells", verb, v)
			}
		}
		raw, err := json.Marshal(v)
		must(t, err)
		var logged bytes.Buffer
		logTo(&logged).InfoContext(t.Context(), "a credential", slog.Any("c", v))
		if bytes.Contains(raw, []byte(secret)) || bytes.Contains(logged.Bytes(), []byte(secret)) {
			t.Errorf("%T tells in JSON or a log", v)
		}
	}
}
