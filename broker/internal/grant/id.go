package grant

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"github.com/valetkey/valetkey/broker/store"
)

// NewID is kind, then 48 bits of milliseconds and 80 of randomness in an
// alphabet that sorts as it counts, so that newest first is an index scan.
func NewID(kind string, now time.Time) string {
	var raw [16]byte
	ms := now.UnixMilli()
	for i := range 6 {
		raw[i] = byte(ms >> (8 * (5 - i)) & 0xff)
	}
	_, _ = rand.Read(raw[6:]) // never fails: crypto/rand ends the process instead
	return kind + "_" + strings.ToLower(base32.HexEncoding.WithPadding(base32.NoPadding).EncodeToString(raw[:]))
}

// Content is a digest of what an idempotency key stands for.
func Content(parts ...any) string {
	// Go syntax: strings are quoted and maps are in the order of their keys, so
	// equal content, and only that, is equal text.
	sum := sha256.Sum256(fmt.Appendf(nil, "%#v", parts))
	return hex.EncodeToString(sum[:])
}

// CoolingKey is what the same request is told by, whatever its task: who asks, for
// what, with which parameters. g has a Case.
func CoolingKey(g store.Grant) string { return Content("cooling", g.Case.Subject, g.Scope, g.Params) }
